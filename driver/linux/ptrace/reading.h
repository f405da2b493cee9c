/* Reads what an execution is about, before anything is done with it: from the task's memory, from /proc, from
 * the files that it goes through. Calls no ptrace, knows no rules and does not touch the helper's data, so
 * any thread can read into a structure of its own. A reading that lacked memory has a chain without files. */
#ifndef CBP_READING_H
#define CBP_READING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "argument_list.h"
#include "call.h"
#include "chain.h"
#include "digest.h"
#include "running.h"

/* A system call has stopped before it happens. */
struct syscall_entry {
    uint64_t number;
    uint64_t arguments[6];
    uint32_t architecture; /* AUDIT_ARCH_ */
    uint32_t filter_data;  /* the mark of the filter that stopped it */
    bool is_32bit;         /* pointers in the task's memory have 4 bytes */
};

/* ---- reading.c: an execution as a whole ---- */

/* The entry of execve decides about these facts, which are compared with what is executed. */
struct execution_facts {
    struct digest arguments; /* of the list that the program gets */
    struct digest chain;     /* of every file in the chain, their names and times of change */
    bool is_direct;          /* no script leads to the program */
    int64_t changed_ns;      /* when the only file has changed last; 0: it cannot be known again by that */
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
    struct known_file known; /* the file that was approved; without a time, if it cannot be known again */
    struct execution_facts facts; /* at the entry */
    /* These keep their memory for the next execution. */
    struct text path, name, composed, words;
    struct list_reader reader;
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
/* Reads given name and arguments from the stack of a program that has just been executed. */
void cbpd_read_new_stack(struct reading *reading);

#endif
