/* The monitor of monitor.c for Windows starts a program under the filter of the debug driver, or of the one
 * named with --driver. It prints every process that the program and its descendants create and end, and
 * refuses the programs named with --deny. Or plays a recording on the simulated driver, on which nothing
 * really runs. Uses the public header alone.
 *
 *     monitor [--driver NAME] [--deny PATTERN]... [--] PROGRAM [ARGUMENT]...
 *     monitor [--deny PATTERN]... --replay FILE
 *
 *     gcc -municode monitor_windows.c -o monitor.exe -I include/cbprocess cbprocess.dll     (mingw-w64)
 *
 * The status is the program's own; 126 or 127 if it was refused or could not be started, 125 if the monitor
 * itself failed. */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <cbprocess.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define STATUS_MONITOR_FAILED 125
#define STATUS_NOT_EXECUTABLE 126
#define STATUS_PROGRAM_NOT_FOUND 127

struct monitor {
    char **deny; /* patterns, UTF-8: deny_count of them */
    size_t deny_count;
    char *driver;        /* NULL: the debug driver */
    char *recording;     /* NULL: a program is run */
    uint32_t process_id; /* the program's */
    HANDLE ended;        /* an event: its end has been printed */
};

#define PRINT_MAX_MS 5000

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

    if (event->type == CBP_PROC_EVT_PROCESS_CREATION && is_denied(monitor, event)) {
        event->result_code = CBP_ERROR_ACCESS_DENIED;
        fprintf(stderr, "refused  %u %s\n", event->process_id, name);
    } else if (event->type == CBP_PROC_EVT_PROCESS_CREATION) {
        fprintf(stderr, "created  %u %s (by %u)\n", event->process_id, name, event->originator_process_id);
    } else {
        fprintf(stderr, "ended    %u %s: status %u\n", event->process_id, name, event->exit_status);
        if (event->process_id == monitor->process_id)
            SetEvent(monitor->ended);
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
    return STATUS_MONITOR_FAILED;
}

/* In memory that the caller frees; NULL without any. */
static char *utf8_of(const wchar_t *text)
{
    int size = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
    char *made = malloc((size_t) size);
    if (made != NULL)
        WideCharToMultiByte(CP_UTF8, 0, text, -1, made, size, NULL, NULL);
    return made;
}

/* Writes one argument so that programs get it back whole: where it needs that in quotes, with backslashes
 * doubled in front of a quote. Gives the end. */
static wchar_t *put_argument(wchar_t *at, const wchar_t *argument)
{
    size_t backslashes = 0;
    if (*argument != 0 && wcspbrk(argument, L" \t\"") == NULL) {
        wcscpy(at, argument);
        return at + wcslen(argument);
    }
    *at++ = L'"';
    for (;; argument++) {
        if (*argument == L'"' || *argument == 0) /* what ends the run of backslashes is a quote */
            for (; backslashes > 0; backslashes--)
                *at++ = L'\\';
        if (*argument == 0)
            break;
        if (*argument == L'"')
            *at++ = L'\\';
        backslashes = *argument == L'\\' ? backslashes + 1 : 0;
        *at++ = *argument;
    }
    *at++ = L'"';
    return at;
}

static wchar_t *command_line(int count, wchar_t **arguments)
{
    size_t size = 1;
    for (int i = 0; i < count; i++)
        size += 2 * wcslen(arguments[i]) + 3;
    wchar_t *line = malloc(size * sizeof *line), *at = line;
    if (line == NULL)
        return NULL;
    for (int i = 0; i < count; i++) {
        if (i > 0)
            *at++ = L' ';
        at = put_argument(at, arguments[i]);
    }
    *at = 0;
    return line;
}

/* Creates the process between enter and leave, in this thread. Gives the system's error. */
static DWORD create(struct monitor *monitor, struct cbp_launch_handle *launch, wchar_t *line,
                    PROCESS_INFORMATION *child, uint32_t *code)
{
    STARTUPINFOW startup = {.cb = sizeof startup};
    DWORD os_error = 0;
    uint32_t flags = 0; /* they depend on the driver */
    *code = cbp_launch_creation_flags(launch, &flags);
    if (*code != 0 || !CreateProcessW(NULL, line, NULL, NULL, TRUE, flags, NULL, NULL, &startup, child))
        os_error = GetLastError();
    monitor->process_id = child->dwProcessId;
    *code = cbp_launch_leave(launch, os_error == 0 ? child->dwProcessId : 0);
    return os_error;
}

/* Starts the program under the session's filter and waits for its end: the status for the end of this. */
static int run_program(struct cbp_session *session, struct monitor *monitor, int count, wchar_t **arguments)
{
    struct cbp_launch_handle *launch = NULL;
    PROCESS_INFORMATION child = {0};
    uint32_t left = 0, refusal = 0;
    DWORD status = STATUS_MONITOR_FAILED;
    wchar_t *line = command_line(count, arguments);

    if (line == NULL)
        return failed("the command line", CBP_ERROR_NOT_ENOUGH_MEMORY);
    uint32_t code = cbp_launch_enter(session, 1, &launch);
    if (code != 0) {
        free(line);
        return failed("cannot launch", code);
    }
    DWORD os_error = create(monitor, launch, line, &child, &left);
    free(line);
    code = cbp_launch_finish(launch, os_error == 0 && left == 0, 0, &refusal);
    if (os_error != 0) {
        fprintf(stderr, "monitor: the program cannot be started: error %lu\n", os_error);
        return os_error == ERROR_FILE_NOT_FOUND ? STATUS_PROGRAM_NOT_FOUND : STATUS_NOT_EXECUTABLE;
    }
    WaitForSingleObject(child.hProcess, INFINITE);
    GetExitCodeProcess(child.hProcess, &status);
    CloseHandle(child.hThread);
    CloseHandle(child.hProcess);
    if (left != 0 || code != 0)
        return failed("the launch failed", left != 0 ? left : code);
    if (refusal != 0) {
        fprintf(stderr, "monitor: the program was refused: error %u\n", refusal);
        return STATUS_NOT_EXECUTABLE;
    }
    WaitForSingleObject(monitor->ended, PRINT_MAX_MS); /* the handler has an end, too */
    return (int) status;
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
    const char *driver = monitor->driver != NULL ? monitor->driver : "debug";
    if (code == 0)
        code = cbp_session_set_config(session, "Driver", monitor->recording != NULL ? "simulated" : driver);
    if (code == 0 && monitor->recording != NULL)
        code = cbp_session_set_config(session, "Script", monitor->recording);
    if (code == 0 && monitor->recording != NULL) /* what this tells of, with all later children */
        code = cbp_rule_add_process(session, 0xffffffffu, CBP_RULE_FLAG_CHILDREN, CBP_ACTION_ASK, 0);
    return code;
}

/* Where the program's arguments begin; 0 for a line that is none. */
static int parse(int count, wchar_t **arguments, struct monitor *monitor)
{
    int i = 1;
    for (; i + 1 < count; i += 2) {
        if (wcscmp(arguments[i], L"--deny") == 0)
            monitor->deny[monitor->deny_count++] = utf8_of(arguments[i + 1]);
        else if (wcscmp(arguments[i], L"--driver") == 0 && monitor->driver == NULL)
            monitor->driver = utf8_of(arguments[i + 1]);
        else if (wcscmp(arguments[i], L"--replay") == 0 && monitor->recording == NULL)
            monitor->recording = utf8_of(arguments[i + 1]);
        else
            break;
    }
    if (i < count && wcscmp(arguments[i], L"--") == 0)
        i++;
    else if (i < count && arguments[i][0] == L'-')
        return 0;
    return (i < count) == (monitor->recording == NULL) ? i : 0;
}

static int watch(struct cbp_session *session, struct monitor *monitor, int count, wchar_t **arguments)
{
    if (monitor->recording == NULL)
        return run_program(session, monitor, count, arguments);
    uint32_t code = cbp_script_wait(session, 0);
    return code != 0 ? failed("the recording", code) : 0;
}

int wmain(int count, wchar_t **arguments)
{
    struct monitor monitor = {.deny = calloc((size_t) count + 1, sizeof(char *))};
    struct cbp_session *session = NULL;
    int status = STATUS_MONITOR_FAILED;

    if (monitor.deny == NULL)
        return STATUS_MONITOR_FAILED;
    monitor.ended = CreateEventW(NULL, TRUE, FALSE, NULL);
    int first = parse(count, arguments, &monitor);
    if (first == 0) {
        fputs("usage: monitor [--driver NAME] [--deny PATTERN]... [--] PROGRAM [ARGUMENT]...\n"
              "       monitor [--deny PATTERN]... --replay FILE\n",
              stderr);
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
    status = watch(session, &monitor, count - first, arguments + first);
    cbp_session_stop(session, 0);
cleanup:
    cbp_session_destroy(session);
    while (monitor.deny_count > 0)
        free(monitor.deny[--monitor.deny_count]);
    free(monitor.deny);
    free(monitor.recording);
    free(monitor.driver);
    if (monitor.ended != NULL)
        CloseHandle(monitor.ended);
    return status;
}
