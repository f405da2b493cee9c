/* What the C tests share: checks, the fake helper, sessions with a recording handler. A test is a program
 * that ends with status 0; every check names its line. */
#ifndef CBP_TEST_SUPPORT_H
#define CBP_TEST_SUPPORT_H

#define _GNU_SOURCE
#include "cbp_atomic.h"
#include "cbprocess.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define GUID "{713CC6CE-B3E2-4fd9-838D-E28F558F6866}"

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s (detail: %s)\n", __FILE__, __LINE__, #condition, cbp_error_detail()); \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

#define CHECK_CODE(wanted, call)                                                                             \
    do {                                                                                                     \
        uint32_t code_ = (call);                                                                             \
        if (code_ != (uint32_t) (wanted)) {                                                                  \
            fprintf(stderr, "%s:%d: %s gave %u, not %s (detail: %s)\n", __FILE__, __LINE__, #call, code_,    \
                    #wanted, cbp_error_detail());                                                            \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

#define CHECK_OK(call) CHECK_CODE(0, call)

/* Waits up to 20 s for something that other threads bring about. */
#define WAIT_FOR(condition)                                                                                  \
    do {                                                                                                     \
        for (int i_ = 0; i_ < 20000 && !(condition); i_++)                                                   \
            test_sleep_ms(1);                                                                                \
        CHECK(condition);                                                                                    \
    } while (0)

static inline void test_sleep_ms(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long) (ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

static inline uint64_t test_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t) now.tv_sec * 1000u + (uint64_t) now.tv_nsec / 1000000u;
}

#if defined(__SANITIZE_THREAD__)
#define TEST_THREAD_SANITIZER 1
#elif defined(__has_feature)
#define TEST_THREAD_SANITIZER __has_feature(thread_sanitizer)
#else
#define TEST_THREAD_SANITIZER 0
#endif

/* Whether a fork of a process with threads can have threads itself. */
#define TEST_FORKS_HAVE_THREADS !TEST_THREAD_SANITIZER

/* Forks when nobody else is at work: a sanitizer's own locks do not survive a fork in other hands. The child
 * does not outlive a test that hangs. */
static inline pid_t test_fork(struct cbp_session *session)
{
    struct cbp_statistics statistics;
    do {
        test_sleep_ms(50);
        CHECK_OK(cbp_session_get_statistics(session, &statistics, sizeof statistics));
    } while (statistics.workers < 1 || statistics.queued > 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        alarm(60);
    return child;
}

/* The path of a program in the folder of this one. */
static inline const char *test_program(const char *name)
{
    static char path[PATH_MAX + 64];
    ssize_t size = readlink("/proc/self/exe", path, PATH_MAX);
    CHECK(size > 0);
    path[size] = '\0';
    strcpy(strrchr(path, '/') + 1, name);
    return path;
}

/* Makes the fake the helper of the core in this program, which looks for one beside itself. */
static inline void test_use_fake_helper(void)
{
    CHECK(access(test_program("fake_helper"), X_OK) == 0);
    CHECK(symlink("fake_helper", test_program("cbprocess-ptrace")) == 0 || errno == EEXIST);
}

static inline unsigned test_count_entries(const char *folder)
{
    unsigned count = 0;
    DIR *directory = opendir(folder);
    CHECK(directory);
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static inline struct cbp_session *test_session(cbp_event_callback event, cbp_error_callback error,
                                               void *context)
{
    struct cbp_session *session;
    struct cbp_callbacks callbacks = {
        .size = sizeof callbacks, .context = (uintptr_t) context, .event = event, .error = error};
    CHECK_OK(cbp_session_create(GUID, &session));
    CHECK_OK(cbp_session_set_callbacks(session, &callbacks));
    CHECK_OK(cbp_session_set_config(session, "EventsToFire", "-1"));
    return session;
}

/* Tells the fake helper something; see there. */
static inline void test_command(struct cbp_session *session, const char *command)
{
    CHECK_OK(cbp_rule_add_name(session, command, strlen(command), 0, CBP_ACTION_ASK, 0));
    CHECK_OK(cbp_rule_remove_name(session, command, strlen(command), CBP_ACTION_ASK));
}

static inline struct cbp_statistics test_statistics(struct cbp_session *session)
{
    struct cbp_statistics statistics;
    CHECK_OK(cbp_session_get_statistics(session, &statistics, sizeof statistics));
    return statistics;
}

#endif
