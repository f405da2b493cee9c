/* A scripted system for the debug helper: it stands in the place of driver/windows/debug/debugging.c and
 * system.c, so that a test says in which order debug events come, what the system knows of each process and
 * how time passes, and sees what the helper does about it. Everything else of the helper is the real one.
 *
 * Knows the helper's seams; must not know what the tests expect. */
#ifndef SCRIPTED_SYSTEM_H
#define SCRIPTED_SYSTEM_H

#include "debugger.h"

enum { CONTROLLER = 7, NO_CONTINUATION = 0 };

/* A process as the system knows it. */
struct scripted {
    uint32_t pid, parent_pid;
    uint64_t start_time; /* times are in units of 100 ns, from 1 on */
    const char *path;    /* NULL: there is no name for it */
    bool is_unknowable;  /* nothing can be said of it at all */
    bool is_strict;      /* it has asked for exceptions on wrong handles */
    bool is_listed;      /* it lives */
    enum debugged_by debugger;
    /* What the helper did: */
    bool is_killed, is_let_go, is_taken, is_hidden;
    UINT kill_status;
    DWORD continued_with; /* of its last event; NO_CONTINUATION: it is held */
};

/* A new process; the id is its first thread's too. */
struct scripted *script_process(uint32_t pid, uint32_t parent_pid, const char *path);
void script_exists(struct scripted *process, enum debugged_by debugger); /* without an event */
void script_creation(struct scripted *process);
void script_end(struct scripted *process);
void script_exception(struct scripted *process, DWORD code, uint64_t address, bool is_first_chance);
void script_other(struct scripted *process, DWORD event_code);
uint32_t scripted_events_left(void);
void script_time(uint64_t ms); /* passes */
void script_memory(bool is_there);
void script_listing(bool can_be_had); /* of processes */

#define SCRIPTED_RAISING_FUNCTION UINT64_C(0x7fff00001000)

#endif
