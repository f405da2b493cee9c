/* A process that others act upon, for handles.c, and what has become of it: it keeps writing what it sees of
 * itself into memory that its observer shares. It has a second thread. Knows nothing of cbprocess. */
#ifndef HANDLE_TARGET_H
#define HANDLE_TARGET_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAILED 99
#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "handles: line %d: %s (errno %d)\n", __LINE__, #condition, errno);               \
            exit(FAILED);                                                                                    \
        }                                                                                                    \
    } while (0)

enum { SIGNAL_COUNT = 65, TEXT_SIZE = 5, PIDFD_THREAD_FLAG = O_EXCL, IOPRIO_WHO_OF_PROCESS = 1 };

static const char target_text[TEXT_SIZE] = "taken";
static volatile uint64_t target_word = 1111;

/* What one thread sees of itself. */
struct seen {
    volatile uint32_t turn; /* counts the looks */
    volatile int32_t nice, ioprio, policy, cpu_count;
};

struct target {
    int32_t process_id, thread_id;             /* as the target itself sees them */
    int32_t shown_process_id, shown_thread_id; /* as /proc shows them */
    uint64_t word_address;                     /* of a word in memory of its own */
    int32_t descriptor;                        /* of a pipe with a known text in it */
    volatile uint32_t ready, leave;
    volatile uint32_t stopped; /* by a signal, as its creator knows who watches it for somebody else */
    volatile uint64_t word, core_limit;
    volatile uint32_t signals[SIGNAL_COUNT]; /* how often each arrived that is counted */
    struct seen leader, thread;
};

static struct target *own_target;

/* The caller's process and thread id in the namespace that /proc was mounted in. */
static inline void shown_ids(int32_t *process_id, int32_t *thread_id)
{
    char link[64];
    ssize_t size = readlink("/proc/thread-self", link, sizeof link - 1);
    CHECK(size > 0);
    link[size] = 0;
    CHECK(sscanf(link, "%d/task/%d", process_id, thread_id) == 2);
}

static inline void target_count(int number)
{
    __atomic_add_fetch(&own_target->signals[number], 1, __ATOMIC_SEQ_CST);
}

static inline void target_look(struct seen *seen)
{
    cpu_set_t cpus;
    struct rlimit core;
    seen->nice = getpriority(PRIO_PROCESS, 0);
    seen->ioprio = (int32_t) syscall(SYS_ioprio_get, IOPRIO_WHO_OF_PROCESS, 0);
    seen->policy = sched_getscheduler(0);
    seen->cpu_count = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus) : -1;
    own_target->word = target_word;
    own_target->core_limit = getrlimit(RLIMIT_CORE, &core) == 0 ? core.rlim_cur : 0;
    __atomic_add_fetch(&seen->turn, 1, __ATOMIC_SEQ_CST);
    usleep(2000);
}

static inline void *target_thread(void *argument)
{
    struct target *target = argument;
    int32_t process_id;
    shown_ids(&process_id, &target->shown_thread_id);
    target->thread_id = (int32_t) syscall(SYS_gettid);
    for (;;)
        target_look(&target->thread);
    return NULL;
}

/* Starts the second thread and fills in what an observer needs; the caller then keeps looking. */
static inline void target_begin(struct target *target)
{
    static const int counted[] = {SIGURG, SIGCHLD, SIGWINCH, SIGCONT, SIGUSR1};
    struct rlimit core;
    int ends[2], thread_id;
    pthread_t thread;
    own_target = target;
    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++)
        CHECK(signal(counted[i], target_count) != SIG_ERR);
    CHECK(pipe(ends) == 0 && write(ends[1], target_text, TEXT_SIZE) == TEXT_SIZE);
    CHECK(getrlimit(RLIMIT_CORE, &core) == 0);
    core.rlim_cur = core.rlim_max < 65536 ? core.rlim_max : 65536;
    CHECK(setrlimit(RLIMIT_CORE, &core) == 0);
    shown_ids(&target->shown_process_id, &thread_id);
    prctl(PR_SET_PTRACER, -1); /* so that who is no ancestor may trace it under Yama */
    target->process_id = getpid();
    target->word_address = (uint64_t) (uintptr_t) &target_word;
    target->descriptor = ends[0];
    CHECK(pthread_create(&thread, NULL, target_thread, target) == 0);
    while (target->thread.turn == 0)
        usleep(1000);
    target_look(&target->leader);
    __atomic_store_n(&target->ready, 1, __ATOMIC_SEQ_CST);
}

/* Is a target until it is told to leave. */
static inline _Noreturn void target_live(struct target *target)
{
    while (!target->leave)
        target_look(&target->leader);
    _exit(0);
}

/* Sends pidfds of the process and of its second thread (or nothing in its place, where the system has none),
 * which the target takes of itself, so that nobody else has to open it. */
static inline void target_send_pidfds(const struct target *target, int socket)
{
    int found[2] = {(int) syscall(SYS_pidfd_open, target->process_id, 0),
                    (int) syscall(SYS_pidfd_open, target->thread_id, PIDFD_THREAD_FLAG)};
    size_t size = found[1] < 0 ? sizeof found[0] : sizeof found;
    char control[CMSG_SPACE(sizeof found)] = {0}, byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(size)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    CHECK(found[0] >= 0);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(header), found, size);
    CHECK(sendmsg(socket, &message, 0) == 1);
    close(found[0]);
    close(found[1]);
}

static inline void target_receive_pidfds(int socket, int pidfds[2])
{
    char control[CMSG_SPACE(2 * sizeof(int))], byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    CHECK(recvmsg(socket, &message, 0) == 1);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    CHECK(header && header->cmsg_type == SCM_RIGHTS);
    pidfds[0] = pidfds[1] = -1;
    memcpy(pidfds, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
}

/* Makes a child that is a target, in a process group of its own. */
static inline void target_fork(struct target *target, int pidfds[2])
{
    int sockets[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    fflush(stdout);
    pid_t parent = getpid(), process = fork();
    CHECK(process >= 0);
    if (process == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
            _exit(FAILED);
        CHECK(setpgid(0, 0) == 0);
        target_begin(target);
        target_send_pidfds(target, sockets[1]);
        target_live(target);
    }
    target_receive_pidfds(sockets[0], pidfds);
    close(sockets[0]);
    close(sockets[1]);
}

/* The state letter that /proc shows of a process, 0 if it has gone; *tracer is its tracer's id. */
static inline char target_state(int32_t shown_process_id, int *tracer)
{
    char path[64], line[256], state = 0;
    snprintf(path, sizeof path, "/proc/%d/status", shown_process_id);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file)) {
        sscanf(line, "State: %c", &state);
        sscanf(line, "TracerPid: %d", tracer);
    }
    fclose(file);
    return state;
}

/* Whether a child of the caller's has been stopped by a signal. Its creator is told so, tracer or not, and of
 * the stops that it owes to a tracer it is never told. */
static inline bool target_is_stopped(const struct target *target)
{
    siginfo_t found = {0};
    return waitid(P_PID, (id_t) target->process_id, &found, WSTOPPED | WNOHANG | WNOWAIT) == 0 &&
           found.si_pid != 0;
}

/* Waits until it is sure what the target does: "running", "stopped" or "ended". A traced one that stands may
 * be about to be let go by a busy tracer: its state says nothing. */
static inline const char *target_fate(const struct target *target)
{
    uint32_t leader = target->leader.turn, thread = target->thread.turn;
    int tracer;
    for (int i = 0; i < 4000; i++) {
        char state = target_state(target->shown_process_id, &tracer);
        if (state == 0 || state == 'Z' || state == 'X')
            return "ended";
        if (target->leader.turn >= leader + 3 && target->thread.turn >= thread + 3)
            return "running";
        if ((state == 'T' && tracer == 0) || target->stopped || target_is_stopped(target))
            return "stopped";
        usleep(5000);
    }
    return "unknown";
}

#endif
