/* Starts cbprocess-guard, speaks with it, and maps what it hands over. Knows nothing of rules and events. */
#ifndef CBPI_GUARD_PROCESS_H
#define CBPI_GUARD_PROCESS_H

#include "cbp_machine.h"

#include <stdbool.h>

struct cbpi_guard {
    int socket;
    int process; /* its pidfd: it is readable once the guard has ended */
    uint32_t process_id;
    uint32_t abilities;                  /* CBP_GUARD_CAN_ */
    int descriptors[CBP_GUARD_FD_COUNT]; /* -1: it has none */
    struct cbp_machine_shared *shared;
    struct cbp_machine_settings *settings; /* this and the slots are memory of BPF maps */
    struct cbp_machine_slot *slots;
    struct cbp_machine_decided *decided; /* CBP_MACHINE_DECIDED_COUNT of them, likewise */
    uint64_t room_known_ns;              /* held_files.c: until then there are descriptors enough to read */
    uint64_t descriptor_limit;           /* as it was then */
    int busy_number;                     /* if an event has one above this, it looks again at once */
};

/* Starts the guard that lies in that folder and loads the programs that lie beside it. Nothing is attached
 * yet. CBP_ERROR_PRIVILEGE_NOT_HELD (its sentence names the missing capability),
 * CBP_ERROR_FS_DRIVER_REQUIRED (a file or libbpf is missing), CBP_ERROR_NOT_SUPPORTED (the kernel),
 * CBP_ERROR_DRIVER_FAILED_PRIOR_UNLOAD's like: see cbpi_fail() in guard_process.c for each. */
uint32_t cbpi_guard_start(const char *folder, struct cbpi_guard *guard);

/* Starts the guard and asks it for nothing but the lists of tasks (CBP_GUARD_TASKS): links[0] is that of
 * processes, links[1] the one with command lines, or -1. The guard has ended when this returns. */
uint32_t cbpi_guard_list_tasks(const char *folder, int links[2]);

/* Makes one request (CBP_GUARD_) and waits for its reply, 5 s at most, or a minute if programs are
 * loaded. text may be NULL. One at a time. */
uint32_t cbpi_guard_request(struct cbpi_guard *guard, uint32_t type, uint64_t value, const char *text,
                            uint32_t text_size);

/* Detaches everything and ends the guard; what is held goes on. */
void cbpi_guard_stop(struct cbpi_guard *guard);

/* Closes this process's copies in the child of a fork, and touches the guard in no other way. */
void cbpi_guard_forget(struct cbpi_guard *guard);

/* Takes the dispatcher's sign of life. False: the guard has ended. */
bool cbpi_guard_beat(struct cbpi_guard *guard);

/* ---- gate.c: tasks that wait in the gate ---- */

/* A task that waits. Its slot may be another task's once the guard has let it go, so the state, which has a
 * generation, says whether an answer still counts. */
struct cbpi_gate_place {
    uint32_t slot; /* of guard->slots */
    uint64_t state;
};

/* Reads one page request. False: there is none. The place waits for cbpi_gate_answer(). */
bool cbpi_gate_read(struct cbpi_guard *guard, struct cbpi_gate_place *place);
/* Sets the deadline of a place (0: none) and what becomes of it then. */
void cbpi_gate_set_deadline(struct cbpi_guard *guard, const struct cbpi_gate_place *place,
                            uint64_t deadline_ns, bool refuses);
/* Lets the task go on. CBP_ERROR_TIMEOUT: the guard has done that. The slot is the programs' again. */
uint32_t cbpi_gate_answer(struct cbpi_guard *guard, const struct cbpi_gate_place *place, bool refuses);
/* Says whether an answer would still count. */
bool cbpi_gate_is_open(const struct cbpi_guard *guard, const struct cbpi_gate_place *place);

/* ---- held_files.c: executions that wait in fanotify ---- */

struct cbpi_file_event {
    uint32_t held;  /* its place in shared->held; the state is OPEN, with the given deadline */
    int descriptor; /* of the file */
    uint32_t thread_id;
};

enum { CBPI_FILE_EVENTS_MAX = 4 };

/* Reads the events of a group (0 or 1) that wait, so many at most, and gives their number. *is_empty: none is left.
 * It is also set if the controller has too few descriptors; the guard has been asked to read then. deadline_ns
 * as in cbp_machine_held. */
uint32_t cbpi_held_files_read(struct cbpi_guard *guard, uint32_t group, uint64_t deadline_ns,
                              struct cbpi_file_event *events, bool *is_empty);
void cbpi_held_file_set_deadline(struct cbpi_guard *guard, uint32_t held, uint64_t deadline_ns, bool refuses);
/* Answers, closes the descriptor and frees the place. CBP_ERROR_TIMEOUT: the guard has answered. */
uint32_t cbpi_held_file_answer(struct cbpi_guard *guard, uint32_t held, bool refuses);
bool cbpi_held_file_is_open(const struct cbpi_guard *guard, uint32_t held);

#endif
