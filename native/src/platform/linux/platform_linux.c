/* Implements platform.h on Linux: clock, locks, threads, fork, the library's own folder. Processes are in
 * process_linux.c. */
#define _GNU_SOURCE
#include "platform.h"

#include "cbp_atomic.h"
#include "errors.h"
#include "os_error.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static uint64_t generation = 1;
static void (*fork_hook)(void);

uint64_t cbpi_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * CBP_NS_PER_S + (uint64_t) now.tv_nsec;
}

uint64_t cbpi_wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t) now.tv_sec * CBP_NS_PER_S + (uint64_t) now.tv_nsec;
}

void cbpi_mutex_init(struct cbpi_mutex *mutex)
{
    pthread_mutex_init(&mutex->mutex, NULL);
}

void cbpi_mutex_destroy(struct cbpi_mutex *mutex)
{
    pthread_mutex_destroy(&mutex->mutex);
}

void cbpi_mutex_lock(struct cbpi_mutex *mutex)
{
    pthread_mutex_lock(&mutex->mutex);
}

void cbpi_mutex_unlock(struct cbpi_mutex *mutex)
{
    pthread_mutex_unlock(&mutex->mutex);
}

bool cbpi_mutex_try_lock(struct cbpi_mutex *mutex)
{
    return pthread_mutex_trylock(&mutex->mutex) == 0;
}

void cbpi_condition_init(struct cbpi_condition *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&condition->condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

void cbpi_condition_destroy(struct cbpi_condition *condition)
{
    pthread_cond_destroy(&condition->condition);
}

void cbpi_condition_broadcast(struct cbpi_condition *condition)
{
    pthread_cond_broadcast(&condition->condition);
}

void cbpi_condition_signal(struct cbpi_condition *condition)
{
    pthread_cond_signal(&condition->condition);
}

void cbpi_condition_wait_until(struct cbpi_condition *condition, struct cbpi_mutex *mutex,
                               uint64_t deadline_ns)
{
    struct timespec deadline = {.tv_sec = (time_t) (deadline_ns / CBP_NS_PER_S),
                                .tv_nsec = (long) (deadline_ns % CBP_NS_PER_S)};
    pthread_cond_timedwait(&condition->condition, &mutex->mutex, &deadline);
}

static void *thread_entry(void *argument)
{
    struct cbpi_thread *thread = argument;
    thread->body(thread->argument);
    return NULL;
}

static size_t usable_stack_size(uint64_t stack_size)
{
    uint64_t page_size = (uint64_t) sysconf(_SC_PAGESIZE);
    long minimum = sysconf(_SC_THREAD_STACK_MIN);
    if (minimum > 0 && stack_size < (uint64_t) minimum)
        stack_size = (uint64_t) minimum;
    return (size_t) ((stack_size + page_size - 1) / page_size * page_size);
}

uint32_t cbpi_thread_start(struct cbpi_thread *thread, void (*body)(void *), void *argument,
                           uint64_t stack_size)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    thread->body = body;
    thread->argument = argument;
    pthread_attr_init(&attributes);
    int error = pthread_attr_setstacksize(&attributes, usable_stack_size(stack_size));
    if (error == 0) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = pthread_create(&thread->thread, &attributes, thread_entry, thread);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attributes);
    return error ? cbpi_fail_os(error, "cannot start a thread") : 0;
}

void cbpi_thread_join(struct cbpi_thread *thread)
{
    pthread_join(thread->thread, NULL);
}

uint32_t cbpi_processor_count(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (uint32_t) count : 1;
}

uint32_t cbpi_thread_id(void)
{
    return (uint32_t) syscall(SYS_gettid);
}

uint32_t cbpi_process_id(void)
{
    return (uint32_t) getpid();
}

uint32_t cbpi_process_hide(void)
{
    return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : cbpi_fail_os(errno, "cannot hide the controller");
}

uint32_t cbpi_fail_limit(uint32_t code, const char *what)
{
    return cbpi_fail_os(code == CBP_ERROR_TOO_MANY_OPEN_FILES ? EMFILE : EAGAIN, what);
}

uint64_t cbpi_process_generation(void)
{
    return cbp_load_relaxed_u64(&generation);
}

static void enter_fork_child(void)
{
    cbp_add_u64(&generation, 1);
    fork_hook();
}

void cbpi_on_fork_child(void (*hook)(void))
{
    fork_hook = hook;
    pthread_atfork(NULL, NULL, enter_fork_child);
}

/* Programs are looked for in these folders, relative to the library's; the build says where an installation
 * puts them. */
static const char *const helper_folders[] = {"", CBPI_HELPER_FOLDER "/"};

uint32_t cbpi_helper_path(const char *program, char *buffer, uint64_t size)
{
    Dl_info info;
    char library[PATH_MAX];
    if (dladdr((void *) (uintptr_t) &cbpi_helper_path, &info) == 0 || !realpath(info.dli_fname, library))
        return cbpi_fail(CBP_ERROR_FS_DRIVER_REQUIRED, "cannot find the folder of the library");
    int folder_size = (int) (strrchr(library, '/') + 1 - library);
    for (size_t i = 0; i < sizeof helper_folders / sizeof helper_folders[0]; i++) {
        char path[2 * PATH_MAX];
        size_t path_size = (size_t) snprintf(path, sizeof path, "%.*s%s%s", folder_size, library,
                                             helper_folders[i], program);
        if (path_size < size && access(path, X_OK) == 0) {
            memcpy(buffer, path, path_size + 1);
            return 0;
        }
    }
    return cbpi_fail(CBP_ERROR_FS_DRIVER_REQUIRED, "%s cannot be executed, neither in %.*s nor in its %s",
                     program, folder_size, library, CBPI_HELPER_FOLDER);
}

const char *cbpi_platform_name(void)
{
#if defined(__x86_64__)
    return "Linux x86_64";
#elif defined(__aarch64__)
    return "Linux aarch64";
#else
    return "Linux";
#endif
}
