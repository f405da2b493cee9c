/* What a system call asks of other processes and threads. */
#ifndef CBP_HANDLE_CALLS_H
#define CBP_HANDLE_CALLS_H

#include "tracer.h"

enum handle_aim {
    AIM_ONE,
    AIM_GROUP,    /* a process group */
    AIM_USER,     /* all processes of a user */
    AIM_EVERYBODY /* all that can be signalled */
};

struct handle_call {
    enum handle_aim aim;
    uint32_t tid;            /* ONE: of the target, a process's being its first thread's */
    uint32_t other_tid;      /* ONE: of a second target; 0: it has none */
    uint32_t group;          /* ONE: the thread group that it must be in; 0: whichever */
    uint32_t process_group;  /* GROUP: its id in the view */
    bool process_group_ours; /* GROUP: its id in our namespace instead */
    uint32_t user_id;        /* USER; EVERYBODY: the caller's */
    uint32_t effective_user_id;
    bool is_thread;      /* it is about one thread */
    bool becomes_thread; /* it is if its target is no first thread */
    bool is_duplication;
    bool by_descriptor;      /* its target was named by one, or in memory that others can write */
    bool wants_first_thread; /* ONE: another thread is none that the kernel takes */
    bool keeps_descriptor;   /* its target is named by a descriptor, and by nothing else when it goes on */
    uint32_t process_access, thread_access; /* for an operation on a process, on a thread */
    int os_error;                           /* not 0: it is bound to fail, and must not be let through */
    bool is_unknown;                        /* whom it aims at cannot be known */
    struct replacement replacement;
};

/* False: it concerns nobody else, whatever else may change before it happens. */
bool cbpd_read_handle_call(struct tracer *self, struct task *task, const struct syscall_entry *entry,
                           const struct id_view *view, struct handle_call *call);

/* Whether a task's call for many aims at this process. */
enum knowledge cbpd_is_aimed_at(struct tracer *self, const struct handle_call *call,
                                const struct id_view *view, uint32_t pid, const struct status_facts *facts);

/* Whether a task's descriptors may be another's as well, which could exchange them. */
bool cbpd_descriptors_are_shared(struct tracer *self, const struct task *task);

/* ---- asynchronous.c: descriptors that shall send signals ---- */
bool cbpd_asks_for_signals(const struct syscall_entry *entry);
/* Whether others than the caller may get them, without having been named. */
bool cbpd_signals_may_reach_others(struct tracer *self, const struct task *task,
                                   const struct syscall_entry *entry);

/* ---- guard.c: who is out of the tree's reach ---- */
bool cbpd_is_guarded(struct tracer *self, uint32_t pid);
/* Whether a call must fail. If not, it may have got a replacement that spares the guarded. */
bool cbpd_guard_refuses(struct tracer *self, const struct task *task, const struct syscall_entry *entry,
                        const struct id_view *view, struct handle_call *call);
/* Sends the replacement's signal for many; the task's call ends as if it had. */
void cbpd_signal_the_others(struct tracer *self, struct task *task, const struct replacement *instead);

#endif
