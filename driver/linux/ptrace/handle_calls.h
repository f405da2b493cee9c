/* Describes what a system call asks of other processes and threads. Knows no rules and no events. */
#ifndef CBP_HANDLE_CALLS_H
#define CBP_HANDLE_CALLS_H

#include "syscalls.h"
#include "tracer.h"

enum handle_aim {
    AIM_ONE,
    AIM_GROUP,    /* a process group */
    AIM_USER,     /* all processes of a user */
    AIM_EVERYBODY /* all that the caller can signal */
};

struct handle_call {
    struct tracer *self;
    struct task *task; /* the caller */
    const struct syscall_entry *entry;
    enum syscall_kind kind;
    struct id_view view; /* the caller's */
    enum handle_aim aim;
    uint32_t tid;            /* AIM_ONE: the target; a process is named by its first thread */
    uint32_t other_tid;      /* AIM_ONE: a second target; 0: none */
    uint32_t group;          /* AIM_ONE: the thread group that it must be in; 0: any */
    uint32_t process_group;  /* AIM_GROUP: the group's id in the view */
    bool process_group_ours; /* AIM_GROUP: the id is one of the helper's namespace */
    uint32_t user_id;        /* AIM_USER: the user; AIM_EVERYBODY: the caller's */
    uint32_t effective_user_id;
    bool is_thread;      /* the operation is on one thread */
    bool becomes_thread; /* it is on one thread unless the target is a first thread */
    bool is_duplication;
    bool by_descriptor;      /* the target was named by a descriptor, or in memory that others can write */
    bool wants_first_thread; /* AIM_ONE: the kernel takes no thread but a first one */
    bool keeps_descriptor;   /* when the call goes on, only a descriptor names the target */
    uint32_t process_access, thread_access; /* rights for an operation on a process, on a thread */
    int os_error;                           /* not 0: the call is bound to fail with it and must not go on */
    bool is_unknown;                        /* the target cannot be known */
    struct replacement replacement;
};

/* When the call goes on, it does so as a call of that kind, on the caller's architecture. */
static inline void replace_call(struct handle_call *call, enum syscall_kind kind,
                                struct replacement replacement)
{
    call->replacement = replacement;
    call->replacement.architecture = call->entry->architecture;
    call->replacement.number = syscall_number_like(call->entry->architecture, call->entry->number, kind);
}

/* Says whether a process with these ids may signal that one. Source: kill(2). */
static inline bool may_signal(uint32_t user_id, uint32_t effective_user_id, const struct status_facts *target)
{
    return effective_user_id == 0 || effective_user_id == target->user_id ||
           effective_user_id == target->saved_user_id || user_id == target->user_id ||
           user_id == target->saved_user_id;
}

/* Reads the call of which entry, kind and view are given. False: it concerns no other process, whatever may
 * change before it happens. */
bool cbpd_read_handle_call(struct handle_call *call);

/* Says whether a call for many aims at this process. */
enum knowledge cbpd_is_aimed_at(const struct handle_call *call, uint32_t pid,
                                const struct status_facts *facts);

/* Says whether another task may share the task's descriptors and so can exchange them. */
bool cbpd_descriptors_are_shared(struct tracer *self, const struct task *task);

/* ---- descriptors.c: descriptors that are to send signals ---- */
bool cbpd_asks_for_signals(const struct syscall_entry *entry);
/* Says whether processes other than the caller may get the signals without having been named. */
bool cbpd_signals_may_reach_others(struct tracer *self, const struct task *task,
                                   const struct syscall_entry *entry);

/* ---- guard.c: processes out of the tree's reach ---- */
bool cbpd_is_guarded(struct tracer *self, uint32_t pid);
/* Says whether a call must fail. If not, it may have got a replacement that spares the guarded. */
bool cbpd_guard_refuses(struct handle_call *call);
/* Sends the replacement's signal for many. The task's call ends as if it had sent it. */
void cbpd_signal_the_others(struct tracer *self, struct task *task, const struct replacement *instead);

#endif
