/* Declares the types of platform.h on Windows, without its header: every file of the core includes this one.
 * The first two have the size of an SRWLOCK and a CONDITION_VARIABLE, which platform_windows.c checks. */
#ifndef CBPI_PLATFORM_TYPES_H
#define CBPI_PLATFORM_TYPES_H

struct cbpi_mutex {
    void *lock;
};

#define CBPI_MUTEX_INITIALIZER                                                                               \
    {                                                                                                        \
        0                                                                                                    \
    }

struct cbpi_condition {
    void *variable;
};

struct cbpi_file {
    void *handle;
};

struct cbpi_thread {
    void *handle;
    void (*body)(void *);
    void *argument;
};

#endif
