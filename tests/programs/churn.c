/* Programs that are running when somebody attaches to them: churn MODE FILE ARGUMENTS. They share memory with
 * an observer through FILE, who says there when to go on, and they keep their own account of what they do.
 * Knows nothing of cbprocess. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FAILED 99
#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "churn: line %d: %s (errno %d)\n", __LINE__, #condition, errno);                 \
            exit(FAILED);                                                                                    \
        }                                                                                                    \
    } while (0)

enum { PHASE_COUNT = 4, SAMPLE_MAX = 16384, THREAD_MAX = 65536, END_STATUS = 7, STACK_SIZE = 65536 };

/* The layout is known to tests/live/attach_tools.py. */
struct account {
    volatile uint32_t phase;   /* set by the observer: where latencies are booked */
    volatile uint32_t marked;  /* set by the observer: threads that begin from now on are listed */
    volatile uint32_t leave;   /* set by the observer: the program is to end */
    volatile uint32_t ready;   /* counts the tasks that have come up */
    volatile uint32_t created; /* threads that were made so far */
    volatile uint32_t listed;
    volatile uint32_t sample_counts[PHASE_COUNT];
    uint32_t samples_ns[PHASE_COUNT][SAMPLE_MAX]; /* of making a thread and waiting for its end */
    int32_t threads[THREAD_MAX];                  /* ids of those that were listed */
};

static struct account *account;
static uint32_t interval_us;
static char *program;

static void add(volatile uint32_t *counter)
{
    __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t) time.tv_sec * 1000000000u + (uint64_t) time.tv_nsec;
}

static pthread_t start(void *(*body)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, STACK_SIZE) == 0);
    CHECK(pthread_create(&thread, &attributes, body, argument) == 0);
    pthread_attr_destroy(&attributes);
    return thread;
}

static void *short_lived(void *is_listed)
{
    if (is_listed) {
        uint32_t at = __atomic_fetch_add(&account->listed, 1, __ATOMIC_SEQ_CST);
        CHECK(at < THREAD_MAX);
        account->threads[at] = (int32_t) syscall(SYS_gettid);
    }
    return NULL;
}

static void *wait_for_the_end(void *unused)
{
    add(&account->ready);
    while (!account->leave)
        usleep(2000);
    return unused;
}

/* Makes threads, one at a time, at even intervals, until it is to end. */
static void *make_threads(void *unused)
{
    uint64_t next_ns = now_ns();
    add(&account->ready);
    while (!account->leave) {
        uint32_t phase = account->phase % PHASE_COUNT;
        uint64_t begin_ns = now_ns();
        pthread_t thread = start(short_lived, account->marked ? account : NULL);
        add(&account->created);
        pthread_join(thread, NULL);
        uint32_t at = __atomic_fetch_add(&account->sample_counts[phase], 1, __ATOMIC_SEQ_CST);
        account->samples_ns[phase][at % SAMPLE_MAX] = (uint32_t) (now_ns() - begin_ns);
        next_ns += interval_us * 1000u;
        uint64_t after_ns = now_ns();
        if (next_ns > after_ns)
            usleep((useconds_t) ((next_ns - after_ns) / 1000));
        else
            next_ns = after_ns;
    }
    return unused;
}

/* threads FILE MAKERS INTERVAL-US: so many threads that make threads at that interval each. */
static int mode_threads(char **arguments)
{
    int count = atoi(arguments[0]);
    pthread_t makers[16];
    CHECK(count >= 1 && count <= 16);
    interval_us = (uint32_t) atoi(arguments[1]);
    for (int i = 0; i < count; i++)
        makers[i] = start(make_threads, NULL);
    for (int i = 0; i < count; i++)
        pthread_join(makers[i], NULL);
    return END_STATUS;
}

static void *outlive(void *unused)
{
    make_threads(unused);
    exit(END_STATUS);
}

/* leader FILE INTERVAL-US: the first thread has ended; another one makes threads. */
static int mode_leader(char **arguments)
{
    interval_us = (uint32_t) atoi(arguments[0]);
    start(outlive, NULL);
    pthread_exit(NULL);
}

/* vfork FILE PROGRAM: a child of a vfork takes its time before it executes PROGRAM. */
static int mode_vfork(char **arguments)
{
    char *list[] = {arguments[0], (char *) "5", NULL}, *none[] = {NULL};
    int status;
    pid_t process = vfork();
    if (process == 0) {
        add(&account->ready);
        while (!account->leave)
            usleep(2000);
        execve(arguments[0], list, none);
        _exit(FAILED);
    }
    CHECK(process > 0 && waitpid(process, &status, 0) == process);
    return WIFEXITED(status) && WEXITSTATUS(status) == 5 ? END_STATUS : FAILED;
}

static _Noreturn void grow(int depth, int width)
{
    for (int i = 0; depth > 0 && i < width; i++) {
        pid_t parent = getpid(), process = fork();
        CHECK(process >= 0);
        if (process == 0) {
            if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
                _exit(FAILED);
            depth--;
            i = -1;
        }
    }
    pthread_t thread = start(wait_for_the_end, NULL);
    pthread_join(thread, NULL);
    while (wait(NULL) > 0)
        ;
    if (program) {
        char *list[] = {program, (char *) "6", NULL}, *none[] = {NULL};
        execve(program, list, none);
        exit(FAILED);
    }
    exit(END_STATUS);
}

/* tree FILE DEPTH WIDTH [PROGRAM]: a tree of processes of two threads each, which at the end execute PROGRAM.
 */
static int mode_tree(char **arguments)
{
    program = arguments[2];
    grow(atoi(arguments[0]), atoi(arguments[1]));
}

/* forks FILE INTERVAL-US PROGRAM: starts PROGRAM again and again, counting as threads made. */
static int mode_forks(char **arguments)
{
    char *list[] = {arguments[1], NULL}, *none[] = {NULL};
    add(&account->ready);
    while (!account->leave) {
        int status;
        uint32_t phase = account->phase % PHASE_COUNT;
        uint64_t begin_ns = now_ns();
        int is_listed = account->marked != 0;
        pid_t process = vfork();
        if (process == 0) {
            execve(arguments[1], list, none);
            _exit(FAILED);
        }
        CHECK(process > 0 && waitpid(process, &status, 0) == process);
        CHECK(status == 0 || WIFSIGNALED(status));
        add(&account->created);
        if (is_listed)
            account->threads[account->listed++ % THREAD_MAX] = process;
        uint32_t at = __atomic_fetch_add(&account->sample_counts[phase], 1, __ATOMIC_SEQ_CST);
        account->samples_ns[phase][at % SAMPLE_MAX] = (uint32_t) (now_ns() - begin_ns);
        usleep((useconds_t) atoi(arguments[0]));
    }
    return END_STATUS;
}

struct mode {
    const char *name;
    int argument_count;
    int (*run)(char **arguments);
};

static const struct mode modes[] = {
    {"threads", 2, mode_threads}, {"leader", 1, mode_leader}, {"vfork", 1, mode_vfork},
    {"tree", 3, mode_tree},       {"tree", 2, mode_tree},     {"forks", 2, mode_forks},
};

int main(int count, char **arguments)
{
    for (size_t i = 0; count > 2 && i < sizeof modes / sizeof *modes; i++)
        if (strcmp(modes[i].name, arguments[1]) == 0 && count - 3 == modes[i].argument_count) {
            int descriptor = open(arguments[2], O_RDWR | O_CLOEXEC | O_CREAT | O_TRUNC, 0666);
            CHECK(descriptor >= 0 && ftruncate(descriptor, sizeof *account) == 0);
            void *memory = mmap(NULL, sizeof *account, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
            CHECK(memory != MAP_FAILED);
            account = memory;
            prctl(PR_SET_PTRACER, -1); /* so that who is no ancestor may attach under Yama */
            return modes[i].run(arguments + 3);
        }
    fprintf(stderr, "churn: unknown mode or wrong number of arguments\n");
    return FAILED;
}
