/* A complete monitor in C: starts a program under the filter, prints every process that it and its
 * descendants create and end, and refuses the programs named with --deny. Uses the public header alone.
 *
 *     monitor [--deny PATTERN]... [--] PROGRAM [ARGUMENT]...
 *
 *     cc monitor.c -o monitor $(pkg-config --cflags --libs cbprocess)
 *
 * The status is the program's own: its exit status, 128 + N after signal N, 126 or 127 if it could not be
 * started, 125 if the monitor itself failed. */
#define _GNU_SOURCE
#include <cbprocess.h>
#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATUS_FAILED 125
#define STATUS_NOT_EXECUTABLE 126
#define STATUS_NOT_FOUND 127

extern char **environ;

struct monitor {
    char **deny; /* patterns: deny_count of them */
    size_t deny_count;
};

static int is_denied(const struct monitor *monitor, const struct cbp_event *event)
{
    const char *name = cbp_event_process_name(event);
    for (size_t i = 0; i < monitor->deny_count; i++) {
        uint32_t matches = 0;
        cbp_pattern_match(monitor->deny[i], strlen(monitor->deny[i]), name, event->process_name_size,
                          &matches);
        if (matches)
            return 1;
    }
    return 0;
}

/* The operation waits while this runs, in one of several worker threads: each line is written by one call. */
static void CBP_CALL on_event(struct cbp_event *event)
{
    const struct monitor *monitor = (const struct monitor *) (uintptr_t) event->context;
    const char *name = cbp_event_process_name(event);
    int status = (int) event->exit_status;

    if (event->type == CBP_PROC_EVT_PROCESS_CREATION && is_denied(monitor, event)) {
        event->result_code = CBP_ERROR_ACCESS_DENIED;
        fprintf(stderr, "refused  %u %s\n", event->process_id, name);
    } else if (event->type == CBP_PROC_EVT_PROCESS_CREATION) {
        fprintf(stderr, "created  %u %s (by %u)\n", event->process_id, name, event->originator_process_id);
    } else if (WIFSIGNALED(status)) {
        fprintf(stderr, "ended    %u %s: signal %d\n", event->process_id, name, WTERMSIG(status));
    } else {
        fprintf(stderr, "ended    %u %s: status %d\n", event->process_id, name, WEXITSTATUS(status));
    }
}

static void CBP_CALL on_error(uint64_t context, uint32_t code, const char *text)
{
    (void) context;
    fprintf(stderr, "monitor: error %u: %s\n", code, text);
}

static int failed(const char *what, uint32_t code)
{
    fprintf(stderr, "monitor: %s: error %u: %s %s\n", what, code, cbp_error_message(code),
            cbp_error_detail());
    return STATUS_FAILED;
}

/* The paths that execvp would try, one after the other, each with its NUL; NULL without memory. */
static char *candidate_paths(const char *program, size_t *size)
{
    const char *folders = getenv("PATH");
    if (folders == NULL)
        folders = "/usr/local/bin:/usr/bin:/bin";
    if (strchr(program, '/') != NULL) {
        *size = strlen(program) + 1;
        return strdup(program);
    }
    char *paths = NULL;
    FILE *stream = open_memstream(&paths, size);
    if (stream == NULL)
        return NULL;
    for (const char *folder = folders;; folder++) {
        size_t length = strcspn(folder, ":");
        fprintf(stream, "%.*s/%s%c", length ? (int) length : 1, length ? folder : ".", program, '\0');
        folder += length;
        if (*folder == '\0')
            break;
    }
    if (fclose(stream) != 0)
        return NULL;
    return paths;
}

/* Starts the launcher, which waits on launcher_fd for the word to become the program. */
static int spawn_launcher(int launcher_fd, char **arguments, pid_t *child)
{
    char launcher[PATH_MAX];
    char name[64];
    posix_spawn_file_actions_t actions;
    char *first = arguments[0];

    if (cbp_launcher_path(launcher, sizeof launcher, NULL) != 0)
        return ENOENT;
    snprintf(name, sizeof name, "cbprocess-launch %d", launcher_fd);
    posix_spawn_file_actions_init(&actions);
    /* A duplicate onto itself is how a spawned program inherits a descriptor that is closed on execution. */
    posix_spawn_file_actions_adddup2(&actions, launcher_fd, launcher_fd);
    arguments[0] = name;
    int error = posix_spawn(child, launcher, &actions, NULL, arguments, environ);
    arguments[0] = first;
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* Starts the program under the session's filter and waits for its end: the status for main(). */
static int run_program(struct cbp_session *session, char **arguments)
{
    struct cbp_launch_handle *launch = NULL;
    size_t paths_size = 0;
    int32_t launcher_fd = -1;
    uint32_t os_error = 0;
    pid_t child = -1;
    int status = 0;

    char *paths = candidate_paths(arguments[0], &paths_size);
    if (paths == NULL)
        return failed("the program's path", CBP_ERROR_NOT_ENOUGH_MEMORY);
    uint32_t code = cbp_launch_begin(session, arguments[0], paths, paths_size, 1, &launcher_fd, &launch);
    free(paths);
    if (code != 0)
        return failed("cannot launch", code);

    int spawn_error = spawn_launcher(launcher_fd, arguments, &child);
    code = cbp_launch_finish(launch, spawn_error == 0, 0, &os_error);
    if (spawn_error != 0) {
        fprintf(stderr, "monitor: the launcher does not start: %s\n", strerror(spawn_error));
        return STATUS_FAILED;
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (code != 0)
        return failed("the launch failed", code);
    if (os_error != 0) {
        fprintf(stderr, "monitor: %s: %s\n", arguments[0], strerror((int) os_error));
        return os_error == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static uint32_t set_up(struct cbp_session *session, struct monitor *monitor)
{
    struct cbp_callbacks callbacks = {
        .size = sizeof callbacks,
        .context = (uint64_t) (uintptr_t) monitor,
        .event = on_event,
        .error = on_error,
    };
    char events[16];
    snprintf(events, sizeof events, "%d", CBP_PROC_EVT_PROCESS_CREATION | CBP_PROC_EVT_PROCESS_TERMINATION);

    uint32_t code = cbp_session_set_callbacks(session, &callbacks);
    if (code == 0)
        code = cbp_session_set_config(session, "EventsToFire", events);
    return code;
}

static int parse(int count, char **arguments, struct monitor *monitor)
{
    int i = 1;
    for (; i < count && strcmp(arguments[i], "--deny") == 0 && i + 1 < count; i += 2)
        monitor->deny[monitor->deny_count++] = arguments[i + 1];
    if (i < count && strcmp(arguments[i], "--") == 0)
        return i + 1;
    return i < count && arguments[i][0] == '-' ? count : i;
}

int main(int count, char **arguments)
{
    struct monitor monitor = {.deny = calloc((size_t) count + 1, sizeof(char *))};
    struct cbp_session *session = NULL;
    int status = STATUS_FAILED;

    if (monitor.deny == NULL)
        return STATUS_FAILED;
    int first = parse(count, arguments, &monitor);
    if (first >= count) {
        fputs("usage: monitor [--deny PATTERN]... [--] PROGRAM [ARGUMENT]...\n", stderr);
        goto cleanup;
    }
    uint32_t code = cbp_session_create("{6C1F1B0E-9E0B-4B7D-8E55-0B6C7A1D2F10}", &session);
    if (code == 0)
        code = set_up(session, &monitor);
    if (code == 0)
        code = cbp_session_start(session, 0);
    if (code != 0) {
        status = failed("cannot start the filter", code);
        goto cleanup;
    }
    status = run_program(session, arguments + first);
    cbp_session_stop(session, 0);
cleanup:
    cbp_session_destroy(session);
    free(monitor.deny);
    return status;
}
