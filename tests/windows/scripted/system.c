/* See system.h. */
#include "system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HANDLE_BASE UINT64_C(0x70000000)

enum { PROCESSES_MAX = 64, EVENTS_MAX = 4096 };

static struct scripted processes[PROCESSES_MAX];
static uint32_t process_count;
static DEBUG_EVENT events[EVENTS_MAX];
static uint32_t event_count;
static uint64_t clock_ns = 1000 * CBP_NS_PER_MS;

static HANDLE handle_of(const struct scripted *process)
{
    return (HANDLE) (uintptr_t) (HANDLE_BASE + 4u * process->pid);
}

static struct scripted *find(uint32_t pid)
{
    for (uint32_t i = 0; i < process_count; i++)
        if (processes[i].pid == pid)
            return &processes[i];
    printf("there is no process %u\n", (unsigned) pid);
    exit(2);
}

static struct scripted *scripted_of(HANDLE handle)
{
    return find((uint32_t) (((uint64_t) (uintptr_t) handle - HANDLE_BASE) / 4));
}

/* ---- The script ---- */

struct scripted *script_process(uint32_t pid, uint32_t parent_pid, const char *path)
{
    struct scripted *process = &processes[process_count++];
    script_time(1);
    *process = (struct scripted){
        .pid = pid, .parent_pid = parent_pid, .path = path, .start_time = cbpd_file_time_now()};
    return process;
}

void script_exists(struct scripted *process, enum debugged_by debugger)
{
    process->is_listed = true;
    process->debugger = debugger;
}

static DEBUG_EVENT *add_event(struct scripted *process, DWORD code)
{
    DEBUG_EVENT *event = &events[event_count++];
    *event = (DEBUG_EVENT){.dwDebugEventCode = code, .dwProcessId = process->pid, .dwThreadId = process->pid};
    return event;
}

void script_creation(struct scripted *process)
{
    script_exists(process, DEBUGGER_OURSELVES);
    add_event(process, CREATE_PROCESS_DEBUG_EVENT)->u.CreateProcessInfo.hProcess = handle_of(process);
}

void script_end(struct scripted *process)
{
    (void) add_event(process, EXIT_PROCESS_DEBUG_EVENT);
    process->is_listed = false;
}

void script_exception(struct scripted *process, DWORD code, uint64_t address, bool is_first_chance)
{
    EXCEPTION_DEBUG_INFO *info = &add_event(process, EXCEPTION_DEBUG_EVENT)->u.Exception;
    info->dwFirstChance = is_first_chance;
    info->ExceptionRecord.ExceptionCode = code;
    info->ExceptionRecord.ExceptionAddress = (void *) (uintptr_t) address;
}

void script_other(struct scripted *process, DWORD event_code)
{
    (void) add_event(process, event_code);
}

uint32_t scripted_events_left(void)
{
    return event_count;
}

void script_time(uint64_t ms)
{
    clock_ns += ms * CBP_NS_PER_MS;
}

/* ---- Memory ---- */

static bool has_no_memory;

void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_calloc(size_t count, size_t size)
{
    return has_no_memory ? NULL : __real_calloc(count, size);
}

void script_memory(bool is_there)
{
    has_no_memory = !is_there;
    while (has_no_memory && cbpd_allocate_surely(1) != NULL) {
    }
}

/* ---- debugging.c ---- */

bool cbpd_next_debug_event(DEBUG_EVENT *event)
{
    if (event_count == 0)
        return false;
    *event = events[0];
    memmove(events, events + 1, --event_count * sizeof *events);
    find(event->dwProcessId)->continued_with = NO_CONTINUATION;
    return true;
}

void cbpd_resume_event(uint32_t pid, uint32_t tid, DWORD how)
{
    (void) tid;
    find(pid)->continued_with = how;
}

/* The system tells of what is taken as of a new process. */
bool cbpd_start_debugging(struct debugger *self, HANDLE handle)
{
    (void) self;
    struct scripted *process = scripted_of(handle);
    if (process->debugger != DEBUGGER_NOBODY)
        return false;
    process->is_taken = true;
    script_creation(process);
    return true;
}

void cbpd_stop_debugging(uint32_t pid)
{
    find(pid)->is_let_go = true;
}

void cbpd_end_by_force(HANDLE handle, UINT status)
{
    struct scripted *process = scripted_of(handle);
    process->is_killed = true;
    process->kill_status = status;
    process->is_listed = false;
}

enum debugged_by cbpd_who_debugs(struct debugger *self, HANDLE handle)
{
    (void) self;
    return scripted_of(handle)->debugger;
}

static bool has_no_listing;

void script_listing(bool can_be_had)
{
    has_no_listing = !can_be_had;
}

bool cbpd_next_listed_process(struct listing *listing, uint32_t *pid, uint32_t *parent_pid)
{
    uintptr_t at = (uintptr_t) listing->snapshot;
    listing->has_failed = has_no_listing;
    if (has_no_listing)
        return false;
    while (at < process_count && !processes[at].is_listed)
        at++;
    listing->snapshot = (HANDLE) (at + 1);
    if (at >= process_count)
        return false;
    *pid = processes[at].pid;
    *parent_pid = processes[at].parent_pid;
    return true;
}

/* ---- system.c ---- */

static bool put_text(struct text *text, const char *bytes)
{
    text->size = 0;
    return bytes == NULL || text_append(text, bytes, strlen(bytes));
}

bool cbpd_read_facts(HANDLE handle, HANDLE file, struct facts *facts)
{
    const struct scripted *process = scripted_of(handle);
    (void) file;
    facts->parent_pid = process->parent_pid;
    return !process->is_unknowable && put_text(&facts->path, process->path) &&
           put_text(&facts->given, NULL) && put_text(&facts->command_line, "command line");
}

uint64_t cbpd_read_start_time(HANDLE handle)
{
    return scripted_of(handle)->start_time;
}

uint64_t cbpd_read_thread_start_time(HANDLE thread)
{
    (void) thread;
    return cbpd_file_time_now();
}

void cbpd_hide_debugger(HANDLE handle, const void *thread_block)
{
    (void) thread_block;
    scripted_of(handle)->is_hidden = true;
}

bool cbpd_is_own_user(HANDLE process)
{
    (void) process;
    return true;
}

HANDLE cbpd_open_process(struct debugger *self, uint32_t pid)
{
    (void) self;
    return handle_of(find(pid));
}

HANDLE cbpd_open_process_to_look(uint32_t pid)
{
    return handle_of(find(pid));
}

HANDLE cbpd_keep_handle(HANDLE handle)
{
    return handle;
}

uint64_t cbpd_raising_function(void)
{
    return SCRIPTED_RAISING_FUNCTION;
}

bool cbpd_checks_handles_strictly(HANDLE process)
{
    return process != NULL && scripted_of(process)->is_strict;
}

uint64_t cbpd_file_time_now(void)
{
    return clock_ns / 100;
}

uint64_t cbpd_now_ns(void)
{
    return clock_ns;
}

uint64_t cbpd_wall_ns(void)
{
    return clock_ns;
}
