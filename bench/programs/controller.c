/* A controller in C alone, over the public header: the limit that the Python package is compared with.
 *   controller EVENTS REFUSE_WITH ACTION LAUNCHER PROGRAM [ARGUMENT...]
 * EVENTS is the EventsToFire setting, REFUSE_WITH errno or kill, ACTION ask or allow, LAUNCHER the path of
 * cbprocess-launch, PROGRAM a path. Its handler reads what the Python handlers of the benchmark read. Prints
 * one line: process creations, process terminations, thread creations, thread terminations, lost events. */
#define _GNU_SOURCE
#include "cbprocess.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static uint64_t event_counts[4];
static uint64_t text_size; /* keeps the reading of the texts from being optimised away */

static void handle(struct cbp_event *event)
{
    unsigned index = event->type == CBP_PROC_EVT_PROCESS_CREATION      ? 0
                     : event->type == CBP_PROC_EVT_PROCESS_TERMINATION ? 1
                     : event->type == CBP_PROC_EVT_THREAD_CREATION     ? 2
                                                                       : 3;
    size_t size = event->process_id;
    if (index < 2)
        size += strlen(cbp_event_process_name(event));
    if (index == 0)
        size += event->arguments_size;
    __atomic_add_fetch(&text_size, size, __ATOMIC_RELAXED);
    __atomic_add_fetch(&event_counts[index], 1, __ATOMIC_RELAXED);
    event->result_code = 0;
}

static void fail(const char *what, uint32_t code)
{
    fprintf(stderr, "controller: %s: error %" PRIu32 ": %s\n", what, code, cbp_error_detail());
    exit(1);
}

static void check(const char *what, uint32_t code)
{
    if (code != 0)
        fail(what, code);
}

static struct cbp_session *start_session(const char *events, const char *refuse_with, const char *action)
{
    struct cbp_callbacks callbacks = {.size = sizeof callbacks, .event = handle};
    struct cbp_session *session = NULL;
    check("create", cbp_session_create("{6F0C2B1E-93A5-4D5B-8A77-1F2E3D4C5B6A}", &session));
    check("callbacks", cbp_session_set_callbacks(session, &callbacks));
    check("Driver", cbp_session_set_config(session, "Driver", "ptrace"));
    check("EventsToFire", cbp_session_set_config(session, "EventsToFire", events));
    check("RefuseWith", cbp_session_set_config(session, "RefuseWith", refuse_with));
    if (strcmp(action, "allow") == 0)
        check("rule", cbp_rule_add_name(session, "*", 1, 0, CBP_ACTION_ALLOW, 0));
    check("start", cbp_session_start(session, 30000));
    return session;
}

/* Starts argv[0] by the launcher and returns the process id. */
static pid_t launch(struct cbp_session *session, const char *launcher, char **argv)
{
    struct cbp_launch_handle *handle = NULL;
    int32_t launcher_fd = -1;
    uint32_t os_error = 0;
    char name[64];
    check("launch",
          cbp_launch_begin(session, argv[0], argv[0], strlen(argv[0]) + 1, 1, &launcher_fd, &handle));
    snprintf(name, sizeof name, "cbprocess-launch %" PRId32, launcher_fd);
    pid_t child = fork();
    if (child == 0) {
        fcntl(launcher_fd, F_SETFD, 0);
        argv[0] = name;
        execv(launcher, argv);
        _exit(127);
    }
    check("launch", cbp_launch_finish(handle, child > 0, 0, &os_error));
    if (os_error != 0)
        fail("execution", os_error);
    return child;
}

static uint64_t count_lost(struct cbp_session *session)
{
    struct cbp_statistics statistics;
    check("statistics", cbp_session_get_statistics(session, &statistics, sizeof statistics));
    return statistics.lost;
}

int main(int argc, char **argv)
{
    if (argc < 6) {
        fputs("usage: controller EVENTS REFUSE_WITH ACTION LAUNCHER PROGRAM [ARGUMENT...]\n", stderr);
        return 2;
    }
    struct cbp_session *session = start_session(argv[1], argv[2], argv[3]);
    pid_t child = launch(session, argv[4], argv + 5);
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0)
        fail("program", (uint32_t) status);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); /* for events that are delivered afterwards */
    uint64_t lost = count_lost(session);
    check("stop", cbp_session_stop(session, 0));
    check("destroy", cbp_session_destroy(session));
    for (unsigned i = 0; i < 4; i++)
        printf("%" PRIu64 " ", event_counts[i]);
    printf("%" PRIu64 "\n", lost);
    return 0;
}
