/* Declares the types of platform.h on Linux and other POSIX systems. */
#ifndef CBPI_PLATFORM_TYPES_H
#define CBPI_PLATFORM_TYPES_H

#include <pthread.h>

struct cbpi_mutex {
    pthread_mutex_t mutex;
};

#define CBPI_MUTEX_INITIALIZER                                                                               \
    {                                                                                                        \
        PTHREAD_MUTEX_INITIALIZER                                                                            \
    }

struct cbpi_condition {
    pthread_cond_t condition; /* on CLOCK_MONOTONIC */
};

struct cbpi_file {
    int fd;
};

struct cbpi_thread {
    pthread_t thread;
    void (*body)(void *);
    void *argument;
};

#endif
