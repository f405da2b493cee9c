/* Declares what the files of cbprocess-guard share. The guard has two processes with three threads: the main
 * thread of the first serves requests (requests.c), its watcher keeps deadlines and notices the controller's
 * death (watch.c), and the second process has the gate's pages mapped and notices the first one's (second.c). */
#ifndef CBPD_GUARD_H
#define CBPD_GUARD_H

#include "cbp_constants.h"
#include "cbp_machine.h"
#include "cbp_time.h"

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define GUARD_NAME "cbprocess-guard"

enum { GROUP_COUNT = 2, GROUP_UPPER = 0, GROUP_LOWER = 1, SENTENCE_SIZE = 4096 };

/* The gate's file system. Nothing but these descriptors leads to it. */
struct gate {
    int fuse;      /* /dev/fuse, non-blocking; -1: there is no gate */
    int file;      /* the file whose page N is slot N */
    int abort;     /* fusectl: a write ends every wait in the gate for ever */
    void *address; /* of the pages; the first process has them only while it forks */
};

/* All that is needed to let go of what is held. It does not change once the watcher runs, and the second
 * process has a copy. */
struct holdings {
    struct cbp_machine_shared *shared;
    struct cbp_machine_settings *settings; /* NULL: no program is loaded */
    struct cbp_machine_slot *slots;
    int groups[GROUP_COUNT]; /* -1: there is none */
    struct gate gate;
    int controller; /* a pidfd */
    uint32_t controller_process_id;
};

struct guard {
    struct holdings holdings;
    int shared_memory;
    int tasks_link;    /* of the iterator that the controller gets */
    int socket_number; /* the controller's, under which no fanotify event has its descriptor */
    int second;        /* pidfd of the second process; -1: it does not run */
    uint32_t second_process_id;
    uint32_t abilities; /* CBP_GUARD_CAN_ */
    uint32_t programs;  /* CBP_GUARD_PROGRAM_ bits that are attached */
    uint64_t altitude;
    const char *no_gate;
    char sentence[SENTENCE_SIZE]; /* what failed */
};

/* refusing.c. Makes the sentence of the reply and gives code. */
__attribute__((format(printf, 3, 4))) uint32_t cbpd_refuse_request(struct guard *self, uint32_t code,
                                                                   const char *format, ...);
/* Likewise for errno, with its text behind what could not be done. */
uint32_t cbpd_refuse_request_os(struct guard *self, int error, const char *what);

/* clock.c */
uint64_t cbpd_guard_time_ns(void); /* CLOCK_MONOTONIC */

/* hardening.c */
void cbpd_harden_guard(void);
void cbpd_lock_executable(void); /* a status query sees that a guard runs */

/* preconditions.c: what the kernel and this process must have. */
uint32_t cbpd_check_machine(struct guard *self);
bool cbpd_kernel_is(unsigned major, unsigned minor);
bool cbpd_kernel_has_type(const char *name); /* also a function: BTF names it */
bool cbpd_bpf_lsm_is_active(void);

/* programs.c */
uint32_t cbpd_load_programs(struct guard *self);
uint32_t cbpd_load_task_lists(struct guard *self, int links[CBP_GUARD_TASKS_FD_COUNT]);
uint32_t cbpd_attach_programs(struct guard *self, uint32_t programs);
/* Attaches the gate's programs once more, behind those of others, and then detaches the old ones. */
uint32_t cbpd_attach_gate_again(struct guard *self);
void cbpd_detach_all(struct guard *self);
void cbpd_publish_second(struct guard *self);                 /* programs ask it while the gate is attached */
int cbpd_program_descriptor(enum cbp_guard_descriptor which); /* -1: there is none */

/* groups.c: the fanotify groups, and which files each hears of. */
bool cbpd_make_groups(struct holdings *held); /* false: the kernel has no permission events */
uint32_t cbpd_set_marks(struct guard *self, uint32_t which, const char *paths, size_t paths_size);
bool cbpd_has_marks(void);
void cbpd_mark_news(struct guard *self); /* what has been mounted or replaced since */
/* Says what to poll for news, and after how long they are to be looked for in any case; -1: for ever. */
size_t cbpd_watch_news(struct pollfd *descriptors, size_t room, int *timeout_ms);
void cbpd_move_marks(struct guard *self, int group);
void cbpd_flush_marks(int group);

/* mounts.c: which file systems there are. */
struct mount_round {
    int group;
    bool all_namespaces;
    uint32_t marked_count, lost_count;
};
void cbpd_mark_mounts(struct mount_round *round); /* of this mount namespace, or of all */
#define FILE_EVENTS FAN_OPEN_EXEC_PERM

/* gate_mount.c */
void cbpd_make_gate(struct guard *self); /* self->no_gate says why there is none */

/* second.c */
uint32_t cbpd_start_second(struct guard *self);
void cbpd_end_second(struct guard *self);

/* letting_go.c: async-signal-safe, with system calls that take no memory. */
/* A controller that is gone may have read an event without having written that down, so all numbers that it can
 * have are tried then. */
void cbpd_release_everything(const struct holdings *held, bool controller_is_gone);
void cbpd_let_number_go(int group, int number, bool refuses);
void cbpd_answer_page(int fuse, uint64_t request_id);
void cbpd_let_all_numbers_go(const struct holdings *held);
uint32_t cbpd_drain_group(int group); /* how many it has allowed */

/* expiring.c: what one look at held operations lets go. */
struct expiring {
    const struct holdings *held;
    uint64_t seen_read_count;
    uint64_t stuck_since_ns[GROUP_COUNT]; /* 0: the controller reads */
    uint64_t last_request_id;
    bool was_silent;
    bool any_file, any_unread, any_task; /* which waited at the last look */
};
void cbpd_expire(struct expiring *self, uint64_t now_ns);
bool cbpd_anything_waits(const struct expiring *self); /* what was held still is when marks have gone */

/* watch.c */
uint32_t cbpd_start_watcher(struct guard *self);
void cbpd_wake_watcher(bool holds); /* tells whether anything may be held from now on */

/* neighbours.c: other guards on this machine, by altitude. */
uint32_t cbpd_meet_neighbours(struct guard *self); /* before the first mark, and when the altitude changes */
uint32_t cbpd_tell_gate(struct guard *self);       /* the gate's programs have been attached */
void cbpd_leave_neighbours(void);                  /* of any thread of the guard, and of its second process */
void cbpd_look_at_neighbours(struct guard *self);
int cbpd_neighbours_descriptor(void); /* readable when they may have changed; -1: none are watched */

/* requests.c */
bool cbpd_serve_controller(struct guard *self); /* false: the controller is done */
void cbpd_close_down(struct guard *self);       /* nothing is held and attached afterwards */

#endif
