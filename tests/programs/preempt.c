/* Threads that compute while another one keeps sending them SIGURG, as a runtime does that preempts its
 * threads:
 *
 *     preempt THREADS INTERVAL-US WORK
 *
 * Each thread counts to WORK million; each is sent a signal at that interval (0: without a pause, WORK
 * thousand signals in all). Prints a line of JSON: seconds, signals sent, signals received. Knows nothing of
 * cbprocess. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { FAILED = 99, THREAD_MAX = 32 };

static volatile uint64_t received;
static volatile int running;
static uint64_t work;

static void on_signal(int number)
{
    (void) number;
    __atomic_add_fetch(&received, 1, __ATOMIC_RELAXED);
}

static void *compute(void *pauses)
{
    if (pauses) {
        while (running > 1)
            usleep(1000);
        return NULL;
    }
    for (volatile uint64_t turns = 0; turns < work * 1000000; turns++)
        ;
    __atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double) time.tv_sec + (double) time.tv_nsec / 1e9;
}

int main(int count, char **arguments)
{
    pthread_t threads[THREAD_MAX];
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    uint64_t sent = 0;
    if (count != 4 || atoi(arguments[1]) < 1 || atoi(arguments[1]) > THREAD_MAX)
        return FAILED;
    int thread_count = atoi(arguments[1]);
    useconds_t interval_us = (useconds_t) atoi(arguments[2]);
    work = (uint64_t) atoi(arguments[3]);
    if (sigaction(SIGURG, &action, NULL) != 0)
        return FAILED;
    double begin = now();
    running = interval_us ? thread_count : thread_count + 1;
    for (int i = 0; i < thread_count; i++)
        if (pthread_create(&threads[i], NULL, compute, interval_us ? NULL : &work) != 0)
            return FAILED;
    while (interval_us ? running > 0 : sent < work * 1000) {
        for (int i = 0; i < thread_count; i++)
            sent += pthread_kill(threads[i], SIGURG) == 0;
        if (interval_us)
            usleep(interval_us);
    }
    running = 0;
    for (int i = 0; i < thread_count; i++)
        pthread_join(threads[i], NULL);
    printf("{\"seconds\": %f, \"sent\": %llu, \"received\": %llu}\n", now() - begin,
           (unsigned long long) sent, (unsigned long long) received);
    return 0;
}
