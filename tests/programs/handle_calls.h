/* The system calls by which one process does something to another, each in a function, for handles.c: how it
 * is told what to do (options, argument) and where it leaves the result (outcome). Knows nothing of
 * cbprocess. */
#ifndef HANDLE_CALLS_H
#define HANDLE_CALLS_H

#include "handle_target.h"

#include <linux/kcmp.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>

enum { UNSUPPORTED = 98, TARGET_MAX = 4, BAD_DESCRIPTOR = -1 };
enum { IOPRIO_PROCESS = 1, IOPRIO_GROUP = 2, IOPRIO_USER = 3, IOPRIO_IDLE = 3 << 13 };

static struct {
    bool secondary;       /* -t: a secondary thread makes the call */
    bool in_namespace;    /* -n: caller and target are in a PID namespace of their own */
    bool aim_at_thread;   /* -a: at the target's second thread rather than at its first */
    bool at_oneself;      /* -s: the target is the calling process */
    bool gone;            /* -g: the target has ended and been reaped before the call */
    bool by_brother;      /* -o: another child makes the call, not the target's creator */
    bool waits;           /* -w: prints "ready" and waits for a line before the call */
    bool bad_descriptor;  /* -b: pidfds are no descriptors */
    const char *external; /* -e FILE: the target runs already, and this is its memory */
    int external_pidfd;   /* -p FD: a pidfd of it */
    int count;            /* -c COUNT: so many targets */
} options = {.external_pidfd = -1, .count = 1};

struct call;
static struct target *targets;
static int pidfds[TARGET_MAX][2];
static const struct call *chosen;
static const char *argument;

static struct {
    int32_t first_process_id;      /* the first process of the namespace, 0 without one of its own */
    int32_t creator_process_id;    /* of the targets, where that is not the caller */
    int32_t process_id, thread_id; /* of the caller, as /proc shows them */
    long result, got;
    int error;
} outcome;

static pid_t aim(void)
{
    return options.aim_at_thread ? targets->thread_id : targets->process_id;
}

static int pidfd(void)
{
    return options.bad_descriptor ? BAD_DESCRIPTOR : pidfds[0][options.aim_at_thread];
}

static int number(void)
{
    return atoi(argument);
}

static void set(long result)
{
    outcome.error = result < 0 ? errno : 0;
    outcome.result = result;
}

static void call_kill(void)
{
    set(syscall(SYS_kill, aim(), number()));
}

static void call_killpg(void)
{
    set(syscall(SYS_kill, -targets->process_id, number()));
}

static void call_kill_own_group(void)
{
    set(syscall(SYS_kill, 0, number()));
}

/* Everybody: only ever in a namespace of its own. */
static void call_kill_all(void)
{
    CHECK(options.in_namespace && getpid() < 10);
    set(syscall(SYS_kill, -1, number()));
}

static siginfo_t queued(void)
{
    siginfo_t information = {.si_signo = number(), .si_code = SI_QUEUE};
    information.si_pid = getpid();
    information.si_uid = getuid();
    return information;
}

static void call_rt_sigqueueinfo(void)
{
    siginfo_t information = queued();
    set(syscall(SYS_rt_sigqueueinfo, aim(), number(), &information));
}

static void call_rt_tgsigqueueinfo(void)
{
    siginfo_t information = queued();
    set(syscall(SYS_rt_tgsigqueueinfo, targets->process_id, aim(), number(), &information));
}

static void call_tkill(void)
{
    set(syscall(SYS_tkill, aim(), number()));
}

static void call_tgkill(void)
{
    set(syscall(SYS_tgkill, targets->process_id, aim(), number()));
}

/* SIGNAL or SIGNAL:FLAGS */
static void call_pidfd_send_signal(void)
{
    const char *flags = strchr(argument, ':');
    set(syscall(SYS_pidfd_send_signal, pidfd(), number(), NULL, flags ? atoi(flags + 1) : 0));
}

/* Calls it with a descriptor of the process's folder in /proc, which the kernel takes as well. */
static void call_pidfd_send_signal_folder(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d", targets->shown_process_id);
    int folder = open(path, O_DIRECTORY | O_CLOEXEC);
    CHECK(folder >= 0);
    set(syscall(SYS_pidfd_send_signal, folder, number(), NULL, 0));
}

static void call_pidfd_open(void)
{
    set(syscall(SYS_pidfd_open, aim(), options.aim_at_thread ? PIDFD_THREAD_FLAG : 0));
    if (outcome.result >= 0) {
        CHECK(fcntl((int) outcome.result, F_GETFD) == FD_CLOEXEC);
        outcome.result = 0;
    }
}

static void call_pidfd_getfd(void)
{
    char text[TEXT_SIZE] = {0};
    set(syscall(SYS_pidfd_getfd, pidfd(), targets->descriptor, 0));
    if (outcome.result >= 0) {
        CHECK(read((int) outcome.result, text, TEXT_SIZE) == TEXT_SIZE);
        outcome.got = memcmp(text, target_text, TEXT_SIZE) == 0;
        outcome.result = 0;
    }
}

/* attach or seize; what is attached to is let go again. */
static void call_ptrace(void)
{
    int tracer = 0;
    bool attach = strcmp(argument, "attach") == 0;
    set(syscall(SYS_ptrace, attach ? PTRACE_ATTACH : PTRACE_SEIZE, aim(), 0, 0));
    if (outcome.result < 0)
        return;
    target_state(options.aim_at_thread ? targets->shown_thread_id : targets->shown_process_id, &tracer);
    outcome.got = tracer == outcome.process_id || tracer == outcome.thread_id;
    if (!attach)
        CHECK(ptrace(PTRACE_INTERRUPT, aim(), 0, 0) == 0);
    CHECK(waitpid(aim(), NULL, __WALL) == aim());
    CHECK(ptrace(PTRACE_DETACH, aim(), 0, 0) == 0);
}

static void call_process_vm_readv(void)
{
    uint64_t word = 0;
    struct iovec mine = {&word, sizeof word}, its = {(void *) (uintptr_t) targets->word_address, sizeof word};
    set(syscall(SYS_process_vm_readv, aim(), &mine, 1UL, &its, 1UL, 0UL));
    outcome.got = (long) word;
}

static void call_process_vm_writev(void)
{
    uint64_t word = 2222;
    struct iovec mine = {&word, sizeof word}, its = {(void *) (uintptr_t) targets->word_address, sizeof word};
    set(syscall(SYS_process_vm_writev, aim(), &mine, 1UL, &its, 1UL, 0UL));
}

static void call_process_madvise(void)
{
    uintptr_t page = (uintptr_t) targets->word_address & ~(uintptr_t) 4095;
    struct iovec its = {(void *) page, 4096};
    set(syscall(SYS_process_madvise, pidfd(), &its, 1UL, MADV_COLD, 0));
}

static void call_process_mrelease(void)
{
    set(syscall(SYS_process_mrelease, pidfd(), 0));
}

/* set, get or both: of the limit of core files */
static void call_prlimit64(void)
{
    struct rlimit64 {
        uint64_t current, maximum;
    } new = {4096, 65536}, old = {0, 0};
    bool sets = strcmp(argument, "get") != 0, gets = strcmp(argument, "set") != 0;
    set(syscall(SYS_prlimit64, aim(), RLIMIT_CORE, sets ? &new : NULL, gets ? &old : NULL));
    outcome.got = (long) old.current;
}

/* process, group or user */
static void call_setpriority(void)
{
    bool process = argument[0] == 'p', user = argument[0] == 'u';
    CHECK(!user || options.in_namespace);
    set(syscall(SYS_setpriority, process ? PRIO_PROCESS : user ? PRIO_USER : PRIO_PGRP, user ? 0 : aim(), 7));
}

static void call_ioprio_set(void)
{
    bool process = argument[0] == 'p', user = argument[0] == 'u';
    CHECK(!user || options.in_namespace);
    set(syscall(SYS_ioprio_set,
                process ? IOPRIO_PROCESS
                : user  ? IOPRIO_USER
                        : IOPRIO_GROUP,
                user ? (int) getuid() : aim(), IOPRIO_IDLE));
}

static void call_sched_setaffinity(void)
{
    cpu_set_t cpus;
    unsigned first = 0;
    CHECK(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
    while (!CPU_ISSET(first, &cpus))
        first++;
    CPU_ZERO(&cpus);
    CPU_SET(first, &cpus);
    set(syscall(SYS_sched_setaffinity, aim(), sizeof cpus, &cpus));
}

static void call_sched_setparam(void)
{
    struct sched_param parameters = {.sched_priority = 0};
    set(syscall(SYS_sched_setparam, aim(), &parameters));
}

static void call_sched_setscheduler(void)
{
    struct sched_param parameters = {.sched_priority = 0};
    set(syscall(SYS_sched_setscheduler, aim(), SCHED_BATCH, &parameters));
}

static void call_sched_setattr(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = {.size = 48, .policy = SCHED_BATCH, .nice = 3};
    set(syscall(SYS_sched_setattr, aim(), &attributes, 0));
}

/* set or get: where a page is, or that it is to go there */
static void call_move_pages(void)
{
    int status = 0, node = 0;
    void *page = (void *) (uintptr_t) targets->word_address;
    bool sets = strcmp(argument, "set") == 0;
    set(syscall(SYS_move_pages, aim(), 1UL, &page, sets ? &node : NULL, &status, 0));
}

static void call_migrate_pages(void)
{
    set(syscall(SYS_migrate_pages, aim(), 0UL, NULL, NULL));
}

static void call_perf_event_open(void)
{
    struct perf_event_attr event = {.type = PERF_TYPE_SOFTWARE,
                                    .size = sizeof event,
                                    .config = PERF_COUNT_SW_TASK_CLOCK,
                                    .exclude_kernel = 1};
    set(syscall(SYS_perf_event_open, &event, aim(), -1, -1, 0UL));
    if (outcome.result >= 0)
        outcome.result = 0;
}

static void call_kcmp(void)
{
    set(syscall(SYS_kcmp, getpid(), aim(), KCMP_VM, 0UL, 0UL));
    if (outcome.result >= 0)
        outcome.result = 0;
}

static void call_get_robust_list(void)
{
    void *head = NULL;
    size_t size = 0;
    set(syscall(SYS_get_robust_list, aim(), &head, &size));
}

/* process, group or typed: whom a socket that can be read sends SIGURG or SIGIO to. */
static void call_setown(void)
{
    struct {
        int type, id;
    } owner = {1, aim()}, found = {0, 0};
    int sockets[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    if (strcmp(argument, "typed") == 0)
        set(syscall(SYS_fcntl, sockets[0], F_SETOWN_EX, &owner));
    else if (strcmp(argument, "ioctl") == 0)
        set(ioctl(sockets[0], FIOSETOWN, &owner.id));
    else
        set(syscall(SYS_fcntl, sockets[0], F_SETOWN, argument[0] == 'g' ? -aim() : aim()));
    CHECK(fcntl(sockets[0], F_GETOWN_EX, &found) == 0);
    outcome.got = found.id == aim();
}

struct call {
    const char *name;
    bool takes_argument;
    void (*make)(void);
};

static const struct call calls[] = {
    {"kill", true, call_kill},
    {"killpg", true, call_killpg},
    {"kill-own-group", true, call_kill_own_group},
    {"kill-all", true, call_kill_all},
    {"rt_sigqueueinfo", true, call_rt_sigqueueinfo},
    {"rt_tgsigqueueinfo", true, call_rt_tgsigqueueinfo},
    {"tkill", true, call_tkill},
    {"tgkill", true, call_tgkill},
    {"pidfd_send_signal", true, call_pidfd_send_signal},
    {"pidfd_send_signal-folder", true, call_pidfd_send_signal_folder},
    {"pidfd_open", false, call_pidfd_open},
    {"pidfd_getfd", false, call_pidfd_getfd},
    {"ptrace", true, call_ptrace},
    {"process_vm_readv", false, call_process_vm_readv},
    {"process_vm_writev", false, call_process_vm_writev},
    {"process_madvise", false, call_process_madvise},
    {"process_mrelease", false, call_process_mrelease},
    {"prlimit64", true, call_prlimit64},
    {"setpriority", true, call_setpriority},
    {"ioprio_set", true, call_ioprio_set},
    {"sched_setaffinity", false, call_sched_setaffinity},
    {"sched_setparam", false, call_sched_setparam},
    {"sched_setscheduler", false, call_sched_setscheduler},
    {"sched_setattr", false, call_sched_setattr},
    {"move_pages", true, call_move_pages},
    {"migrate_pages", false, call_migrate_pages},
    {"perf_event_open", false, call_perf_event_open},
    {"kcmp", false, call_kcmp},
    {"get_robust_list", false, call_get_robust_list},
    {"setown", true, call_setown},
};

#endif
