/* Reads what an execution that waits in fanotify is about: its names, its arguments, the files that the kernel
 * is going to open for it. See execution_reading.c. */
#ifndef CBPI_EXECUTION_READING_H
#define CBPI_EXECUTION_READING_H

#include "argument_list.h"
#include "call.h"
#include "digest.h"
#include "execution.h"
#include "known_programs.h"
#include "looks.h"

/* A call of execve is known again by this, as long as the thread does not return from it. */
struct cbpi_call {
    uint64_t number, arguments[5], stack_pointer;
    struct digest path; /* of the path that it was given */
};

/* The kernel opened this file, and nothing of it is known but what fstat says. */
struct cbpi_opened_file {
    int descriptor;
    struct cbpi_file_version version;
};

struct cbpi_execution_reading {
    struct cbpi_call call;
    bool is_by_kernel;        /* the kernel itself executes: there is no call */
    struct chain chain;       /* the names; the identities are those of stat */
    struct text path, name;   /* the path that the call was given; the kernel's name of the program */
    struct list_reader lists; /* lists.list: the arguments, if are_arguments_known */
    bool are_arguments_known;
    struct text composed; /* the arguments that the program will get */
};

enum cbpi_reading_result {
    CBPI_READING_DONE,
    CBPI_READING_NO_EXECUTION, /* nothing is executed, or it is bound to fail */
    CBPI_READING_FOREIGN,      /* the kernel knows an interpreter, and will open it next */
    CBPI_READING_VAGUE         /* done, but not all files are known */
};

void cbpi_free_reading(struct cbpi_execution_reading *reading);

/* Describes an opened file by fstat. False: that fails. */
bool cbpi_describe_file(int descriptor, struct cbpi_opened_file *file);

/* Reads which call the thread is in; with path and is_by_kernel. False: in none that executes. */
bool cbpi_read_call(struct cbpi_execution_reading *reading, const struct cbp_machine_look *look);

bool cbpi_is_same_call(const struct cbpi_call *a, const struct cbpi_call *b);

/* Reads an execution whose call has been read, from the opened file on. If reading->chain has files already, this
 * one follows them, under its path. */
enum cbpi_reading_result cbpi_read_execution(struct cbpi_execution_reading *reading,
                                             struct cbpi_known_programs *programs,
                                             const struct cbp_machine_look *look,
                                             const struct cbpi_opened_file *file);

/* Fills ids, files and arguments from a reading. */
void cbpi_fill_execution(const struct cbpi_execution_reading *reading, uint32_t process_id,
                         uint32_t thread_id, struct cbpi_execution *execution);

struct cbpi_under_way; /* execution.c's */

enum { CBPI_UNDER_WAY_BUCKETS = 1024 };

struct cbpi_executions {
    struct cbpi_looks looks;
    struct cbpi_execution_reading reading;
    struct cbpi_known_programs programs;
    struct cbpi_under_way *buckets[CBPI_UNDER_WAY_BUCKETS];
};

#endif
