/* A controller whose core runs out of memory: short_of_memory FAIL_AT FAIL_COUNT RECORDING PROGRAM
 * ARGUMENT...
 *
 * The core's allocations are counted from 1; those from FAIL_AT on fail, FAIL_COUNT of them (FAIL_AT 0:
 * none). It runs PROGRAM under the filter twice, and does with the session all that can be done. Prints how
 * many allocations there were, how many failed, how often it was told that something went wrong, how PROGRAM
 * ended (-1: not started), and where in the core the last of them failed; with FAIL_AT 0 then where each was
 * made. */
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cbprocess.h"

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

extern char **environ;

static uintptr_t core_begin, core_end;
static unsigned long first, last;
static atomic_ulong called, failed, told;
static uintptr_t places[8192], failed_at;

/* ---- Memory ---- */

static int fails(const void *caller)
{
    uintptr_t at = (uintptr_t) caller;
    if (at < core_begin || at >= core_end)
        return 0;
    unsigned long call = atomic_fetch_add(&called, 1) + 1;
    if (call <= sizeof places / sizeof places[0])
        places[call - 1] = at - core_begin;
    if (first == 0 || call < first || call >= last)
        return 0;
    atomic_fetch_add(&failed, 1);
    failed_at = at - core_begin;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(memory, size);
}

static int find_core(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void) size;
    (void) unused;
    if (strstr(info->dlpi_name, "libcbprocess") == NULL)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (info->dlpi_phdr[i].p_type != PT_LOAD)
            continue;
        if (core_begin == 0 || begin < core_begin)
            core_begin = begin;
        if (begin + info->dlpi_phdr[i].p_memsz > core_end)
            core_end = begin + info->dlpi_phdr[i].p_memsz;
    }
    return 0;
}

/* ---- What it does ---- */

static uint32_t note(uint32_t code)
{
    if (code == CBP_ERROR_NOT_ENOUGH_MEMORY || code == CBP_ERROR_NO_SYSTEM_RESOURCES)
        atomic_fetch_add(&told, 1);
    return code;
}

static void CBP_CALL on_error(uint64_t context, uint32_t code, const char *text)
{
    (void) context;
    (void) code;
    (void) text;
    atomic_fetch_add(&told, 1);
}

static void *complete(void *ticket)
{
    cbp_event_complete((uint64_t) (uintptr_t) ticket, 0, UINT32_MAX);
    return NULL;
}

static void CBP_CALL on_event(struct cbp_event *event)
{
    uint64_t ticket;
    pthread_t thread;
    if (strstr(cbp_event_image_file_name(event), "refused") != NULL)
        event->result_code = CBP_ERROR_ACCESS_DENIED;
    if (event->sequence % 3 != 0 || note(cbp_event_defer(&ticket)) != 0)
        return;
    if (pthread_create(&thread, NULL, complete, (void *) (uintptr_t) ticket) == 0)
        pthread_detach(thread);
    else
        complete((void *) (uintptr_t) ticket);
}

static void change_rules(struct cbp_session *session)
{
    char name[32];
    for (int i = 0; i < 20; i++) {
        int size = snprintf(name, sizeof name, "no-program-%d", i);
        note(cbp_rule_add_name(session, name, (uint64_t) size, 0, CBP_ACTION_DENY, 5));
    }
    note(cbp_rule_add_name(session, "denied", 6, 0, CBP_ACTION_DENY, 5));
    note(cbp_rule_add_name(session, "sleep", 5, 0, CBP_ACTION_STRIP, CBP_PROCESS_SUSPEND_RESUME));
    note(cbp_rule_add_process(session, UINT32_MAX, 0, CBP_ACTION_ASK, 0));
    note(cbp_rule_remove_name(session, "no-program-3", 12, CBP_ACTION_DENY));
}

/* A process that runs already is taken under the filter, by its id and by its name, and let go again. */
static void attach(struct cbp_session *session)
{
    char *line[] = {"sleep", "1000", NULL};
    pid_t child = -1;
    if (posix_spawn(&child, "/bin/sleep", NULL, NULL, line, environ) != 0)
        return;
    const uint32_t flags = CBP_RULE_FLAG_ATTACH | CBP_RULE_FLAG_CHILDREN;
    note(cbp_rule_add_process(session, (uint32_t) child, flags, CBP_ACTION_ASK, 0));
    note(cbp_rule_remove_process(session, (uint32_t) child, CBP_ACTION_ASK));
    note(cbp_rule_add_name(session, "*/no-such-program", 17, flags, CBP_ACTION_ASK, 0));
    kill(child, SIGKILL);
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        continue;
}

static int execute(struct cbp_session *session, char **arguments)
{
    struct cbp_launch_handle *launch = NULL;
    int32_t fd = -1;
    uint32_t os_error = 0;
    char launcher[4096], name[64];
    pid_t child = -1;
    int status = 0;
    posix_spawn_file_actions_t actions;
    if (note(cbp_launcher_path(launcher, sizeof launcher, NULL)) != 0 ||
        note(cbp_launch_begin(session, arguments[0], arguments[0], strlen(arguments[0]) + 1, 1, &fd,
                              &launch)) != 0)
        return -1;
    snprintf(name, sizeof name, "cbprocess-launch %d", fd);
    char *path = arguments[0];
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, fd);
    arguments[0] = name;
    int error = posix_spawn(&child, launcher, &actions, NULL, arguments, environ);
    arguments[0] = path;
    posix_spawn_file_actions_destroy(&actions);
    uint32_t code = note(cbp_launch_finish(launch, error == 0, 0, &os_error));
    change_rules(session);
    if (error != 0)
        return -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return code != 0 || os_error != 0 ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run(struct cbp_session *session, char **arguments)
{
    struct cbp_statistics statistics;
    const struct cbp_snapshot *snapshot;
    uint32_t capabilities;
    if (note(cbp_session_start(session, 3000)) != 0)
        return -1;
    change_rules(session);
    int status = execute(session, arguments);
    attach(session);
    note(cbp_session_process_capabilities(session, (uint32_t) getpid(), &capabilities));
    if (note(cbp_snapshot_create(1, &snapshot)) == 0)
        cbp_snapshot_destroy(snapshot);
    if (cbp_session_get_statistics(session, &statistics, sizeof statistics) == 0 && statistics.lost > 0)
        atomic_fetch_add(&told, 1);
    cbp_session_stop(session, 0);
    return status;
}

static uint32_t set_up(struct cbp_session *session, const char *recording)
{
    struct cbp_callbacks callbacks = {.size = sizeof callbacks, .event = on_event, .error = on_error};
    uint32_t code = note(cbp_session_set_callbacks(session, &callbacks));
    if (code == 0)
        code = note(cbp_session_set_config(session, "EventsToFire", "-1"));
    if (code == 0)
        code = note(cbp_session_set_config(session, "RecordTo", recording));
    return code;
}

int main(int count, char **arguments)
{
    struct cbp_session *session = NULL;
    int statuses[2] = {-1, -1};
    if (count < 5)
        return 2;
    dl_iterate_phdr(find_core, NULL);
    first = strtoul(arguments[1], NULL, 10);
    last = first + strtoul(arguments[2], NULL, 10);
    if (note(cbp_session_create("{6C1F1B0E-9E0B-4B7D-8E55-0B6C7A1D2F10}", &session)) == 0 &&
        set_up(session, arguments[3]) == 0)
        for (int i = 0; i < 2; i++)
            statuses[i] = run(session, arguments + 4);
    cbp_session_destroy(session);
    unsigned long known =
        called < sizeof places / sizeof places[0] ? called : sizeof places / sizeof places[0];
    printf("%lu %lu %lu %d %d %#lx\n", called, failed, told, statuses[0], statuses[1],
           (unsigned long) failed_at);
    for (unsigned long i = 0; first == 0 && i < known; i++)
        printf("%#lx\n", (unsigned long) places[i]);
    return 0;
}
