/* A program that sleeps in many system calls at once, each in a thread of its own; many of them fail with
 * EINTR when something makes them stop: asleep WAKE REPORT. It writes "asleep" to the file REPORT when all of
 * them sleep, waits for a file WAKE, brings about what each call waits for, and writes a line for each: its
 * name and the errno, or 0. Knows nothing of cbprocess. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "asleep: line %d: %s (errno %d)\n", __LINE__, #condition, errno);                \
            exit(99);                                                                                        \
        }                                                                                                    \
    } while (0)

enum { LONG_S = 600, PAUSE_MS = 10, KERNEL_SIGSET_SIZE = 8 };

struct call {
    const char *name;
    long number;
    int (*prepare)(void);      /* whether this system has it */
    long (*sleep)(void);       /* begins with the system call of that number, and gives what it gives */
    void (*bring_about)(void); /* what it waits for */
    pthread_t thread;
    volatile pid_t tid;
    volatile int is_over, error;
    int is_left_out;
};

static const struct timespec long_time = {.tv_sec = LONG_S};

static int make_event(void)
{
    int event = eventfd(0, EFD_CLOEXEC);
    CHECK(event >= 0);
    return event;
}

static void set_event(int event)
{
    const uint64_t one = 1;
    CHECK(write(event, &one, sizeof one) == sizeof one);
}

static void limit_time(int fd, int option)
{
    const struct timeval time = {.tv_sec = LONG_S};
    CHECK(setsockopt(fd, SOL_SOCKET, option, &time, sizeof time) == 0);
}

/* ---- epoll, poll, select ---- */

static int epoll_fd, epoll_event, poll_event, select_event;

static int prepare_epoll(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    epoll_event = make_event();
    CHECK(epoll_ctl(epoll_fd, EPOLL_CTL_ADD, epoll_event, &event) == 0);
    return 1;
}

static long sleep_epoll(void)
{
    struct epoll_event event;
    return syscall(SYS_epoll_pwait, epoll_fd, &event, 1, LONG_S * 1000, NULL, KERNEL_SIGSET_SIZE);
}

static void wake_epoll(void)
{
    set_event(epoll_event);
}

static int prepare_poll(void)
{
    poll_event = make_event();
    return 1;
}

static long sleep_poll(void)
{
    struct pollfd fd = {.fd = poll_event, .events = POLLIN};
    struct timespec time = long_time;
    return syscall(SYS_ppoll, &fd, 1, &time, NULL, KERNEL_SIGSET_SIZE);
}

static void wake_poll(void)
{
    set_event(poll_event);
}

static int prepare_select(void)
{
    select_event = make_event();
    return 1;
}

static long sleep_select(void)
{
    fd_set set;
    struct timespec time = long_time;
    FD_ZERO(&set);
    FD_SET(select_event, &set);
    return syscall(SYS_pselect6, select_event + 1, &set, NULL, NULL, &time, NULL);
}

static void wake_select(void)
{
    set_event(select_event);
}

/* ---- System V's messages and semaphores ---- */

static int semaphore = -1, queue = -1;

static void remove_them(void)
{
    if (semaphore >= 0)
        (void) semctl(semaphore, 0, IPC_RMID);
    if (queue >= 0)
        (void) msgctl(queue, IPC_RMID, NULL);
}

static int prepare_semop(void)
{
    semaphore = semget(IPC_PRIVATE, 1, IPC_CREAT | 0600);
    return semaphore >= 0;
}

static long sleep_semop(void)
{
    struct sembuf take = {.sem_op = -1};
    return syscall(SYS_semtimedop, semaphore, &take, 1, &long_time);
}

static void wake_semop(void)
{
    struct sembuf give = {.sem_op = 1};
    CHECK(semop(semaphore, &give, 1) == 0);
}

static int prepare_msgrcv(void)
{
    queue = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
    return queue >= 0;
}

struct text_message {
    long type;
    char text[8];
};

static long sleep_msgrcv(void)
{
    struct text_message message;
    return syscall(SYS_msgrcv, queue, &message, sizeof message.text, 0L, 0);
}

static void wake_msgrcv(void)
{
    const struct text_message message = {.type = 1};
    CHECK(msgsnd(queue, &message, sizeof message.text, 0) == 0);
}

/* ---- Sockets with a time limit ---- */

static int receiving[2], sending[2], listening = -1, full = -1, connecting = -1;

static int prepare_recv(void)
{
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, receiving) == 0);
    limit_time(receiving[0], SO_RCVTIMEO);
    return 1;
}

static long sleep_recv(void)
{
    char byte;
    return syscall(SYS_recvfrom, receiving[0], &byte, 1, 0, NULL, NULL);
}

static void wake_recv(void)
{
    CHECK(write(receiving[1], "x", 1) == 1);
}

static int prepare_send(void)
{
    static char much[65536];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sending) == 0);
    while (send(sending[0], much, sizeof much, MSG_DONTWAIT) > 0)
        continue;
    limit_time(sending[0], SO_SNDTIMEO);
    return 1;
}

static long sleep_send(void)
{
    return syscall(SYS_sendto, sending[0], "x", 1, 0, NULL, 0);
}

static void wake_send(void)
{
    close(sending[1]); /* what it waits for is an end as well: EPIPE, and no EINTR */
}

/* An address that the kernel finds, in no file system. */
static int make_listener(struct sockaddr_un *address, socklen_t *size)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr_un any = {.sun_family = AF_UNIX};
    *size = sizeof *address;
    CHECK(fd >= 0 && bind(fd, (const struct sockaddr *) &any, sizeof any.sun_family) == 0);
    CHECK(listen(fd, 0) == 0 && getsockname(fd, (struct sockaddr *) address, size) == 0);
    return fd;
}

static struct sockaddr_un listening_at, full_at;
static socklen_t listening_size, full_size;

static int prepare_accept(void)
{
    listening = make_listener(&listening_at, &listening_size);
    limit_time(listening, SO_RCVTIMEO);
    return 1;
}

static long sleep_accept(void)
{
    return syscall(SYS_accept4, listening, NULL, NULL, SOCK_CLOEXEC);
}

static void wake_accept(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(connect(fd, (struct sockaddr *) &listening_at, listening_size) == 0);
}

static int prepare_connect(void)
{
    int other = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    full = make_listener(&full_at, &full_size);
    CHECK(connect(other, (struct sockaddr *) &full_at, full_size) == 0); /* nobody else fits in */
    connecting = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    limit_time(connecting, SO_SNDTIMEO);
    return 1;
}

static long sleep_connect(void)
{
    return syscall(SYS_connect, connecting, &full_at, full_size);
}

static void wake_connect(void)
{
    CHECK(accept(full, NULL, NULL) >= 0);
}

/* ---- Signals, futexes, asynchronous input ---- */

static uint32_t futex;
static aio_context_t context;
static int aio_event;
static struct iocb request;

static struct call *call_of(const char *name);

static int prepare_nothing(void)
{
    return 1;
}

static long sleep_sigtimedwait(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    return syscall(SYS_rt_sigtimedwait, &set, NULL, &long_time, KERNEL_SIGSET_SIZE);
}

static void wake_sigtimedwait(void)
{
    CHECK(pthread_kill(call_of("sigtimedwait")->thread, SIGUSR1) == 0);
}

static long sleep_futex(void)
{
    return syscall(SYS_futex, &futex, FUTEX_WAIT, 0, &long_time, NULL, 0);
}

static void wake_futex(void)
{
    __atomic_store_n(&futex, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &futex, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static int prepare_io_getevents(void)
{
    struct iocb *list[] = {&request};
    aio_event = make_event();
    request.aio_fildes = (uint32_t) aio_event;
    request.aio_lio_opcode = IOCB_CMD_POLL;
    request.aio_buf = POLLIN;
    return syscall(SYS_io_setup, 1, &context) == 0 && syscall(SYS_io_submit, context, 1, list) == 1;
}

static long sleep_io_getevents(void)
{
    struct io_event event;
    return syscall(SYS_io_getevents, context, 1L, 1L, &event, &long_time);
}

static void wake_io_getevents(void)
{
    set_event(aio_event);
}

/* ---- All of them ---- */

static struct call calls[] = {
    {"epoll_wait", SYS_epoll_pwait, prepare_epoll, sleep_epoll, wake_epoll},
    {"poll", SYS_ppoll, prepare_poll, sleep_poll, wake_poll},
    {"select", SYS_pselect6, prepare_select, sleep_select, wake_select},
    {"semop", SYS_semtimedop, prepare_semop, sleep_semop, wake_semop},
    {"msgrcv", SYS_msgrcv, prepare_msgrcv, sleep_msgrcv, wake_msgrcv},
    {"recv", SYS_recvfrom, prepare_recv, sleep_recv, wake_recv},
    {"send", SYS_sendto, prepare_send, sleep_send, wake_send},
    {"accept", SYS_accept4, prepare_accept, sleep_accept, wake_accept},
    {"connect", SYS_connect, prepare_connect, sleep_connect, wake_connect},
    {"sigtimedwait", SYS_rt_sigtimedwait, prepare_nothing, sleep_sigtimedwait, wake_sigtimedwait},
    {"futex", SYS_futex, prepare_nothing, sleep_futex, wake_futex},
    {"io_getevents", SYS_io_getevents, prepare_io_getevents, sleep_io_getevents, wake_io_getevents},
};
enum { CALL_COUNT = sizeof calls / sizeof calls[0] };

static struct call *call_of(const char *name)
{
    struct call *call = calls;
    while (strcmp(call->name, name) != 0)
        call++;
    return call;
}

static void *fall_asleep(void *argument)
{
    struct call *call = argument;
    call->tid = (pid_t) syscall(SYS_gettid);
    long result = call->sleep();
    call->error = result < 0 ? errno : 0;
    call->is_over = 1;
    return NULL;
}

/* Whether the thread is in its call. Where the kernel does not say, that it sleeps has to do. */
static int is_asleep(const struct call *call)
{
    char path[64], text[256] = "", number[32];
    if (call->is_over)
        return 1;
    snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int) call->tid);
    snprintf(number, sizeof number, "%ld ", call->number);
    int file = call->tid != 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return call->tid != 0 && errno == ENOENT && usleep(100000) == 0;
    ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    return got > 0 && strncmp(text, number, strlen(number)) == 0;
}

static void wait_for_the_word(const char *path)
{
    for (int i = 0; access(path, F_OK) != 0; i++) {
        CHECK(i < LONG_S * 1000 / PAUSE_MS);
        usleep(PAUSE_MS * 1000);
    }
}

int main(int argc, char **argv)
{
    sigset_t set;
    CHECK(argc == 3);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    atexit(remove_them);
    FILE *report = fopen(argv[2], "ae");
    CHECK(report != NULL);
    for (int i = 0; i < CALL_COUNT; i++) {
        calls[i].is_left_out = !calls[i].prepare();
        if (!calls[i].is_left_out)
            CHECK(pthread_create(&calls[i].thread, NULL, fall_asleep, &calls[i]) == 0);
    }
    for (int i = 0; i < CALL_COUNT; i++)
        while (!calls[i].is_left_out && !is_asleep(&calls[i]))
            usleep(1000);
    fprintf(report, "asleep\n");
    fflush(report);
    wait_for_the_word(argv[1]);
    for (int i = 0; i < CALL_COUNT; i++)
        if (!calls[i].is_left_out)
            calls[i].bring_about();
    for (int i = 0; i < CALL_COUNT; i++) {
        if (!calls[i].is_left_out)
            pthread_join(calls[i].thread, NULL);
        fprintf(report, "%s %d\n", calls[i].name, calls[i].is_left_out ? ENOSYS : calls[i].error);
    }
    fprintf(report, "end\n");
    fclose(report);
    return 0;
}
