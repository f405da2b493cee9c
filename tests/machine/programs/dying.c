/* Starts processes whose threads end at the same time, while the processors are taken away from them now and then:
 *
 *     dying COUNT THREADS
 *
 * In every other process the whole of it ends at once; in the others each thread ends for itself. The status is 7:
 * which thread's it is in the second case depends on the kernel. Prints "preempts" if it was allowed to take processors away: that needs root. Knows nothing of
 * cbprocess. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FAILED = 99, STATUS = 7, THREAD_MAX = 64, PROCESSOR_MAX = 64 };

static pthread_barrier_t together;

static uint64_t now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t) time.tv_sec * 1000000 + (uint64_t) time.tv_nsec / 1000;
}

/* Computes for some microseconds, again and again, before everybody else. */
static _Noreturn void take_away(unsigned processor)
{
    cpu_set_t only;
    struct sched_param first = {.sched_priority = 1};
    unsigned seed = processor + 1;
    CPU_ZERO(&only);
    CPU_SET(processor, &only);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || sched_setaffinity(0, sizeof only, &only) != 0 ||
        sched_setscheduler(0, SCHED_FIFO, &first) != 0)
        _exit(FAILED);
    for (;;) {
        usleep(50 + (useconds_t) rand_r(&seed) % 200);
        for (uint64_t end = now_us() + 20 + (uint64_t) rand_r(&seed) % 100; now_us() < end;)
            ;
    }
}

static void *end_for_itself(void *argument)
{
    (void) argument;
    pthread_barrier_wait(&together);
    syscall(SYS_exit, STATUS);
    return NULL;
}

static void *be_ended(void *argument)
{
    pthread_barrier_wait(&together);
    pause();
    return argument;
}

static _Noreturn void die(int thread_count, int is_whole)
{
    pthread_t thread;
    pthread_barrier_init(&together, NULL, (unsigned) thread_count + 1);
    for (int i = 0; i < thread_count; i++)
        if (pthread_create(&thread, NULL, is_whole ? be_ended : end_for_itself, NULL) != 0)
            _exit(FAILED);
    pthread_barrier_wait(&together);
    syscall(is_whole ? SYS_exit_group : SYS_exit, STATUS);
    _exit(FAILED);
}

int main(int count, char **arguments)
{
    int status, thread_count = count == 3 ? atoi(arguments[2]) : 0, preempts = 1;
    int processors = (int) sysconf(_SC_NPROCESSORS_ONLN);
    pid_t takers[PROCESSOR_MAX];
    if (thread_count < 1 || thread_count > THREAD_MAX || processors > PROCESSOR_MAX)
        return FAILED;
    for (int i = 0; i < processors; i++)
        if ((takers[i] = fork()) == 0)
            take_away((unsigned) i);
    for (int i = 0; i < atoi(arguments[1]); i++) {
        pid_t process = fork();
        if (process == 0)
            die(thread_count, i % 2);
        if (process < 0 || waitpid(process, &status, 0) != process || !WIFEXITED(status) ||
            WEXITSTATUS(status) != STATUS)
            return FAILED;
    }
    for (int i = 0; i < processors; i++) {
        preempts &= waitpid(takers[i], &status, WNOHANG) == 0;
        kill(takers[i], SIGKILL);
    }
    puts(preempts ? "preempts" : "");
    return 0;
}
