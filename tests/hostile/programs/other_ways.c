/* Tries all the ways to act on a protected server, or on its tracer, that are no call of those which name a
 * process and are decided about: by its descriptors, its creator, its clocks, objects that it owns, files of
 * control groups, another kind of call.
 *
 *     other_ways WAY SERVER [tracer | FOLDER]
 *
 * The victim is the server or, if so said, the tracer. FOLDER: a control group for "cgroup-delegated". */
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <linux/keyctl.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/ptrace.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

#include "ways.h"

enum {
    PIDFD_SELF_NUMBER = -10000, /* Linux 6.15 */
    PIDFD_SIGNAL_GROUP = 4,
    SCHED_CORE = 62,
    SCHED_CORE_CREATE = 1,
    SCHED_CORE_SHARE_TO = 2,
    SCHED_CORE_GROUP = 2,
    USER_FAULTS_ONLY = 1
};
enum { MAPPED_DESCRIPTOR = 10, PAGE = 4096, CLOCK_MS = 300, OTHER_USER = 65534 };

/* ---- What is set in its process before it is protected ---- */

static int ends[2];

static void own_descriptor(void)
{
    CHECK(fcntl(ends[0], F_SETOWN, getpid()) == 0);
}

static void owner_before(void)
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    start("", own_descriptor);
    CHECK(fcntl(ends[0], F_SETSIG, SIGKILL) == 0);
    CHECK(fcntl(ends[0], F_SETFL, O_ASYNC) == 0);
    try(write(ends[1], "x", 1));
}

static int folder, file;
static char path[PATH_MAX], inside[PATH_MAX + 8];

static void watch_folder(void)
{
    CHECK(fcntl(folder, F_NOTIFY, DN_CREATE) == 0);
}

static void notice_before(void)
{
    snprintf(path, sizeof path, "%s.folder", program);
    snprintf(inside, sizeof inside, "%s/file", path);
    CHECK(mkdir(path, 0700) == 0 && (folder = open(path, O_RDONLY)) >= 0);
    start("", watch_folder);
    CHECK(fcntl(folder, F_SETSIG, SIGKILL) == 0);
    try(open(inside, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

static void lease_file(void)
{
    CHECK(fcntl(file, F_SETLEASE, F_RDLCK) == 0);
}

static void lease_before(void)
{
    snprintf(path, sizeof path, "%s.file", program);
    CHECK(close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) == 0);
    CHECK((file = open(path, O_RDONLY)) >= 0);
    start("", lease_file);
    CHECK(fcntl(file, F_SETSIG, SIGKILL) == 0);
    try(open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)); /* waits for the holder: EAGAIN */
}

static int queue;

static void be_notified(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    CHECK(syscall(SYS_mq_notify, queue, &event) == 0);
}

static void message_before(void)
{
    char name[64];
    snprintf(name, sizeof name, "cbp-test-%d", getpid());
    struct mq_attr attributes = {.mq_maxmsg = 1, .mq_msgsize = 8};
    int opened = (int) syscall(SYS_mq_open, name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
    if (opened < 0)
        exit(UNSUPPORTED);
    CHECK(syscall(SYS_mq_unlink, name) == 0 && (queue = dup(opened)) >= 0);
    start("", be_notified);
    try(syscall(SYS_mq_timedsend, queue, "x", 1, 0, NULL));
}

static void die_with_creator(void)
{
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
}

static void *create(void *unused)
{
    start("as it is", die_with_creator);
    return unused;
}

static void creator_ends(void)
{
    pthread_t creator;
    CHECK(pthread_create(&creator, NULL, create, NULL) == 0 && pthread_join(creator, NULL) == 0);
}

static void set_clock(void)
{
    struct itimerval once = {.it_value = {.tv_usec = CLOCK_MS * 1000}};
    signal(SIGALRM, SIG_DFL);
    CHECK(setitimer(ITIMER_REAL, &once, NULL) == 0);
}

static void clock_before(void)
{
    start("", set_clock);
    CHECK(waitid(P_PID, (id_t) server.process, NULL, WEXITED | WNOWAIT) == 0);
}

static int go[2];

static void wait_for_tracer(void)
{
    char byte;
    CHECK(read(go[0], &byte, 1) == 1);
}

static void *seize(void *unused)
{
    /* The server's process is our only child, and is created by now or soon. */
    while (server.process == 0)
        usleep(1000);
    got = try(ptrace(PTRACE_SEIZE, server.process, NULL, NULL));
    CHECK(write(go[1], "x", 1) == 1);
    return unused;
}

static void traced_before(void)
{
    pthread_t tracing;
    CHECK(pipe2(go, O_CLOEXEC) == 0);
    CHECK(pthread_create(&tracing, NULL, seize, NULL) == 0);
    start("", wait_for_tracer);
    CHECK(pthread_join(tracing, NULL) == 0);
}

/* ---- What it has: the user's objects and files ---- */

static void own_objects(void)
{
    key_t key = getppid();
    CHECK(shmget(key, PAGE, IPC_CREAT | 0600) >= 0);
    CHECK(semget(key, 1, IPC_CREAT | 0600) >= 0);
    CHECK(msgget(key, IPC_CREAT | 0600) >= 0);
}

static void remove_objects(void)
{
    key_t key = getpid();
    start("", own_objects);
    got = try(semctl(semget(key, 1, 0), 0, SETVAL, 1)) && try(semctl(semget(key, 1, 0), 0, IPC_RMID)) &&
          try(shmctl(shmget(key, PAGE, 0), IPC_RMID, NULL)) && try(msgctl(msgget(key, 0), IPC_RMID, NULL));
}

static void have_mapped(void)
{
    CHECK(dup2(file, MAPPED_DESCRIPTOR) == MAPPED_DESCRIPTOR);
}

static void truncate_mapped(void)
{
    CHECK((file = memfd_create("mapped", MFD_CLOEXEC)) >= 0 && ftruncate(file, PAGE) == 0);
    start("mapped", have_mapped);
    got = try(ftruncate(file, 0));
}

/* In the server: it reads its file's first byte again and again. */
static _Noreturn void serve_mapped(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    volatile char *text = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, MAPPED_DESCRIPTOR, 0);
    CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && text != MAP_FAILED);
    CHECK(write(STDOUT_FILENO, "r", 1) == 1);
    while (poll(&input, 1, 10) == 0)
        (void) *text;
    _exit(END_OF_SERVER);
}

/* ---- Calls that name a process, or seem to ---- */

/* With one of its threads, with it, with its process group. */
static void share_core(void)
{
    start("", NULL);
    for (int of = 0; of <= SCHED_CORE_GROUP && (of == 0 || error == EPERM); of++)
        got |= try(prctl(SCHED_CORE, SCHED_CORE_SHARE_TO, victim, of, 0));
}

/* What it may do: have a core for itself, for this thread and for the whole process. */
static void have_core(void)
{
    start("", NULL);
    for (int of = 0; of < SCHED_CORE_GROUP && error == 0; of++)
        got = try(prctl(SCHED_CORE, SCHED_CORE_CREATE, 0, of, 0));
}

static void time_thread(void)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGKILL};
    int timer;
    start("", NULL);
    event._sigev_un._tid = victim;
    got = try(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer));
}

static void enter(void)
{
    start("", NULL);
    got = try(setns(pidfd_open_of(victim), CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC));
}

/* The kernel looks up whom to lend priority to by the id in a lock. */
static void lend_priority(void)
{
    struct timespec end;
    static uint32_t lock;
    start("", NULL);
    lock = (uint32_t) victim;
    CHECK(clock_gettime(CLOCK_REALTIME, &end) == 0);
    end.tv_nsec = (end.tv_nsec + 20000000) % 1000000000;
    end.tv_sec += end.tv_nsec < 20000000;
    try(syscall(SYS_futex, &lock, FUTEX_LOCK_PI, 0, &end, NULL, 0));
}

/* A child acts on its creator, which is the server by then. */
static void act_on_creator(void)
{
    char byte;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child > 0)
        return;
    close(go[1]);
    CHECK(read(go[0], &byte, 1) == 1);
    CHECK(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) > 0);
    long done = syscall(SYS_keyctl, KEYCTL_SESSION_TO_PARENT);
    int number = done == 0 ? 0 : errno;
    CHECK(write(ends[1], &number, sizeof number) == sizeof number);
    _exit(0);
}

static void give_keyring(void)
{
    CHECK(pipe2(go, O_CLOEXEC) == 0 && pipe2(ends, O_CLOEXEC) == 0);
    start("", act_on_creator);
    CHECK(write(go[1], "x", 1) == 1 && read(ends[0], &error, sizeof error) == sizeof error);
    got = error == 0;
}

static void join_group(void)
{
    start("", NULL);
    signal(SIGTERM, SIG_IGN);
    CHECK(setpgid(server.process, getpgrp()) != 0); /* it has executed a program */
    CHECK(setpgid(0, server.process) == 0);
    try(kill(0, SIGTERM));
}

static void stay_in_group(void)
{
    CHECK(setpgid(0, getppid()) == 0);
}

/* The number that stands for the caller names the group that it leads, too. */
static void signal_own_group(void)
{
    CHECK(getpgrp() == getpid() || setpgid(0, 0) == 0);
    start("", stay_in_group);
    signal(SIGTERM, SIG_IGN);
    try(syscall(SYS_pidfd_send_signal, PIDFD_SELF_NUMBER, SIGTERM, NULL, PIDFD_SIGNAL_GROUP));
    if (error == EBADF || error == EINVAL)
        exit(UNSUPPORTED);
}

/* Faults of another process do not come to us: also not those of our own child. */
static void serve_faults(void)
{
    struct uffdio_api api = {.api = UFFD_API};
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register range = {.range = {(uintptr_t) page, PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    int faults = (int) syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | USER_FAULTS_ONLY);
    if (faults < 0)
        exit(UNSUPPORTED);
    CHECK(ioctl(faults, UFFDIO_API, &api) == 0 && ioctl(faults, UFFDIO_REGISTER, &range) == 0);
    start("", NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(*(volatile char *) page);
    struct pollfd waiting = {.fd = faults, .events = POLLIN};
    CHECK(waitpid(child, NULL, 0) == child);
    got = poll(&waiting, 1, 0) != 0;
}

/* ---- Without a system call of its own ---- */

static void *map_ring(int ring, off_t part)
{
    void *place = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ring, part);
    CHECK(place != MAP_FAILED);
    return place;
}

static void open_by_ring(void)
{
    struct io_uring_params sizes = {.flags = 0};
    char name[64];
    start("", NULL);
    snprintf(name, sizeof name, "/proc/%d/mem", victim);
    int ring = (int) syscall(SYS_io_uring_setup, 1, &sizes);
    if (ring < 0)
        exit(UNSUPPORTED);
    char *submissions = map_ring(ring, IORING_OFF_SQ_RING), *completions = map_ring(ring, IORING_OFF_CQ_RING);
    *(struct io_uring_sqe *) map_ring(ring, IORING_OFF_SQES) = (struct io_uring_sqe){
        .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t) name, .open_flags = O_RDWR};
    *(uint32_t *) (submissions + sizes.sq_off.array) = 0;
    __atomic_store_n((uint32_t *) (submissions + sizes.sq_off.tail), 1, __ATOMIC_RELEASE);
    CHECK(syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1);
    int result = ((struct io_uring_cqe *) (completions + sizes.cq_off.cqes))->res;
    got = result >= 0;
    error = got ? 0 : -result;
}

/* ---- Control groups ---- */

static bool write_to(const char *directory, const char *name, const char *text)
{
    char full[PATH_MAX];
    snprintf(full, sizeof full, "%s/%s", directory, name);
    int fd = open(full, O_WRONLY | O_CLOEXEC);
    if (!try(fd))
        return false;
    bool is_written = try(write(fd, text, strlen(text)));
    close(fd);
    return is_written;
}

/* The server's own group, as this user finds it: to stop what is in it, or to take it out. */
static void own_control_group(void)
{
    char line[PATH_MAX], mount[PATH_MAX] = "", group[PATH_MAX] = "", directory[2 * PATH_MAX];
    FILE *mounts = fopen("/proc/self/mounts", "re"), *groups = fopen("/proc/self/cgroup", "re");
    CHECK(mounts != NULL && groups != NULL);
    while (mount[0] == '\0' && fgets(line, sizeof line, mounts) != NULL)
        if (sscanf(line, "%*s %s cgroup2 ", mount) != 1 || strstr(line, " cgroup2 ") == NULL)
            mount[0] = '\0';
    while (fgets(line, sizeof line, groups) != NULL)
        sscanf(line, "0::%s", group);
    if (mount[0] == '\0' || group[0] == '\0')
        exit(UNSUPPORTED);
    snprintf(directory, sizeof directory, "%s%s", mount, group);
    start("", NULL);
    snprintf(line, sizeof line, "%d", server.process);
    got = write_to(directory, "cgroup.procs", line);
}

/* As another user, to whom root has given a group that we are in. */
static void delegated_control_group(void)
{
    char text[32], victims[PATH_MAX];
    snprintf(text, sizeof text, "%d", getpid());
    snprintf(victims, sizeof victims, "%s/victims", argument);
    CHECK(write_to(argument, "cgroup.procs", text));
    CHECK(setresgid(OTHER_USER, OTHER_USER, OTHER_USER) == 0);
    CHECK(setresuid(OTHER_USER, OTHER_USER, OTHER_USER) == 0);
    start("", NULL);
    snprintf(text, sizeof text, "%d", server.process);
    CHECK(mkdir(victims, 0755) == 0);
    got = write_to(victims, "cgroup.procs", text) && write_to(victims, "cgroup.freeze", "1") &&
          write_to(victims, "cgroup.kill", "1");
}

static const struct way ways[] = {
    {"owner-before", owner_before, true},
    {"notify-before", notice_before, true},
    {"lease-before", lease_before, true},
    {"message-before", message_before, false},
    {"creator-ends", creator_ends, true},
    {"clock-before", clock_before, false},
    {"traced-before", traced_before, false},
    {"objects", remove_objects, false},
    {"truncate", truncate_mapped, true},
    {"sched-core", share_core, false},
    {"own-core", have_core, false},
    {"timer", time_thread, false},
    {"setns", enter, false},
    {"futex", lend_priority, false},
    {"keyring", give_keyring, false},
    {"group", join_group, true},
    {"own-group", signal_own_group, true},
    {"userfaultfd", serve_faults, false},
    {"ring", open_by_ring, false},
    {"cgroup", own_control_group, false},
    {"cgroup-delegated", delegated_control_group, true},
};

int main(int count, char **arguments)
{
    CHECK(count >= 3);
    if (strcmp(arguments[1], "serve") == 0 && strcmp(arguments[2], "mapped") == 0)
        serve_mapped();
    if (strcmp(arguments[1], "serve") == 0)
        serve(arguments[2]);
    return act_by(ways, sizeof ways / sizeof ways[0], arguments);
}
