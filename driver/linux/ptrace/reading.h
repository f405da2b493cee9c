/* Reads what an execution is about, before anything is done with it: from the task's memory, from /proc, from
 * the files that it goes through. Calls no ptrace, knows no rules and does not touch the helper's data, so
 * any thread can read into a structure of its own. A reading that lacked memory has a chain without files. */
#ifndef CBP_READING_H
#define CBP_READING_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "digest.h"
#include "look_up.h"
#include "proc_files.h"
#include "text.h"

/* A system call has stopped before it happens. */
struct syscall_entry {
    uint64_t number;
    uint64_t arguments[6];
    uint32_t architecture; /* AUDIT_ARCH_ */
    uint32_t filter_data;  /* the mark of the filter that stopped it */
    bool is_32bit;         /* pointers in the task's memory have 4 bytes */
};

/* ---- task_memory.c, arguments.c: strings and lists in a task's memory ---- */
enum { TASK_PAGE_SIZE = 4096, WINDOW_SIZE = 16 * TASK_PAGE_SIZE };

/* A window shows a part of a task's memory: strings of an argument list mostly lie side by side. */
struct window {
    uint32_t tid;
    uint64_t address;
    size_t size;
    size_t next_read; /* grows while strings come in order */
    char bytes[WINDOW_SIZE];
};

size_t cbpd_read_memory(uint32_t tid, uint64_t address, void *buffer, size_t size);
/* execve finds its lists at these addresses; 0: there is none. */
struct argument_places {
    uint64_t arguments, environment;
    bool is_32bit;
    size_t name_size;   /* of the name that the kernel will use, with its NUL */
    size_t prefix_size; /* of what scripts' headers put in place of the first argument */
};

/* ---- resolve.c: what an execve would execute ---- */
enum resolution { RESOLVED, BOUND_TO_FAIL, UNKNOWN };

enum { CHAIN_FILE_MAX = 8, CHAIN_HEADER_SIZE = 4096 };

/* An execution goes through this file; the chain has its names. */
struct chain_file {
    uint32_t path_at, path_size;   /* where the file lies */
    uint32_t given_at, given_size; /* the name that the task, or a script's header, gave */
    uint64_t device, inode;
    bool is_deleted; /* its path led to it before, but no longer does */
};

/* A chain has the files from the one that execve is given to the program that runs: mostly one. */
struct chain {
    uint32_t file_count;
    struct chain_file files[CHAIN_FILE_MAX];
    struct text names;  /* each with its NUL */
    struct text prefix; /* what scripts' headers put before the arguments, each with its NUL */
    uint32_t dropped;   /* arguments that the prefix replaces: 1 for a script, else 0 */
    bool is_foreign;    /* the last file needs an interpreter that only the kernel knows */
    bool is_unreadable; /* the last file can be executed, but not read */
    unsigned char header[CHAIN_HEADER_SIZE + 1];
};

/* A link of /proc leads to such a file. */
struct located_file {
    char path[PATH_MAX];
    size_t path_size;
    struct file_identity identity;
    bool is_deleted;
};
/* Reads where a link of /proc leads, and leaves the identity. False: that is not known, or cut off. */
bool cbpd_locate(const char *link, uint32_t tid, struct located_file *file);

void cbpd_chain_clear(struct chain *chain);
bool cbpd_chain_add(struct chain *chain, const struct located_file *file, const char *given);
/* Reads the chain of a path given to execve. The kernel will call the program name. */
enum resolution cbpd_read_chain(const struct place *place, int folder_fd, const char *path, int flags,
                                const char *name, struct chain *chain);

/* ---- reading.c: an execution as a whole ---- */

/* The entry of execve decides about these facts, which are compared with what is executed. */
struct execution_facts {
    struct digest arguments; /* of the list that the program gets */
    struct digest chain;     /* of every file in the chain, and of their names */
    bool is_direct;          /* no script leads to the program */
};

struct stop_registers {
    uint64_t stack_pointer;
    bool is_32bit;
};

struct reading {
    struct place place; /* of the task that executes */
    struct chain chain;
    bool is_vague;         /* a file of the chain, or a name, is not known */
    const char *arguments; /* as the caller gave them, each with its NUL */
    uint32_t arguments_size;
    bool is_complete;     /* all arguments are known */
    const char *given;    /* after execve: AT_EXECFN; empty: not known */
    uint32_t user_id;     /* after execve, and before that is known, the one before */
    bool is_short;        /* a wish: look only at the program itself after execve */
    bool needs_path_only; /* a wish: after execve the program's file need not be identified */
    bool has_registers;   /* without them, little can be read after execve */
    struct stop_registers registers;
    bool has_approved;
    struct execution_facts approved; /* by the entry */
    struct execution_facts facts;    /* at the entry */
    /* These keep their memory for the next execution. */
    struct text path, name, list, composed, words;
    struct window window;
};

/* Reads an execution at the entry of execve. Anything but RESOLVED is left to the kernel and to the stop
 * after execve. Without memory it is RESOLVED to a chain without files. */
enum resolution cbpd_read_entry(struct reading *reading, const struct syscall_entry *entry);
/* Reads an execution at the stop after execve. True: it is what the entry approved. False: chain and arguments
 * are valid. */
bool cbpd_read_stop(struct reading *reading);
/* Reads the chain of a running program, as far as it is still known. given (may be empty) is the path that it
 * was started by, which a short reading does not look at. */
void cbpd_read_running(struct reading *reading, const char *given);
/* Frees the memory that a reading keeps. */
void cbpd_free_reading(struct reading *reading);

/* ---- arguments.c ---- */
bool cbpd_read_string(struct reading *reading, uint64_t address, struct text *text);
/* Reads the list of arguments, each with its NUL. False: they cannot be read, or the kernel will refuse them
 * and their environment as too long. */
bool cbpd_read_argument_list(struct reading *reading, const struct argument_places *places);
/* Reads given name and arguments from the stack of a program that has just been executed. */
void cbpd_read_new_stack(struct reading *reading);

#endif
