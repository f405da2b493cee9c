/* Implements link.h to the debug helper: a section without a name, events, and the process itself. See
 * driver/protocol/cbp_debug_control.h. */
#include "debug_link.h"

#include "cbp_atomic.h"
#include "cbp_channel.h"
#include "cbp_debug_control.h"
#include "errors.h"
#include "os_error.h"
#include "windows_api.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

/* The handles stand at these places. */
enum { SECTION, CONTROLLER, ANSWER_EVENT, REQUEST_EVENT, REPLY_EVENT, FIRST_BELL };
#define HANDLE_COUNT ((uint32_t) FIRST_BELL + CBP_SESSION_MAX)
#define SLEEPERS_MAX 0x7fffffff

static struct cbpi_debug_link *own(struct cbpi_link *link)
{
    return (struct cbpi_debug_link *) link;
}

uint64_t cbpi_debug_give(void *process, void *handle)
{
    HANDLE copy = NULL;
    DuplicateHandle(GetCurrentProcess(), handle, process, &copy, 0, FALSE, DUPLICATE_SAME_ACCESS);
    return (uint64_t) (uintptr_t) copy;
}

/* ---- Requests ---- */

/* Looks at the helper, but never gives CBPI_LINK_STOPPED: only threads have such a state here, and the system
 * counts them as running. */
static enum cbpi_link_state look(struct cbpi_link *link)
{
    return WaitForSingleObject(own(link)->process, 0) == WAIT_TIMEOUT ? CBPI_LINK_RUNS : CBPI_LINK_GONE;
}

static uint32_t send_request(struct cbpi_link *base, const struct cbp_message_header *request,
                             const struct cbpi_link_parcel *parcel)
{
    const struct cbpi_debug_link *link = own(base);
    struct cbp_debug_control *control = link->control;
    if (parcel || request->size > sizeof control->request)
        return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "the request cannot be sent to the debug helper");
    memcpy(control->request, request, request->size);
    control->request_size = request->size;
    ResetEvent(link->handles[REPLY_EVENT]); /* a reply that nobody waited for any more */
    SetEvent(link->handles[REQUEST_EVENT]);
    return 0;
}

static uint32_t receive(struct cbpi_link *base, uint64_t deadline_ns, struct cbp_reply *reply)
{
    const struct cbpi_debug_link *link = own(base);
    HANDLE handles[] = {link->handles[REPLY_EVENT], link->process};
    uint64_t now_ns = cbpi_now_ns();
    if (now_ns >= deadline_ns)
        return CBP_ERROR_TIMEOUT;
    DWORD wait_ms = (DWORD) ((deadline_ns - now_ns) / CBP_NS_PER_MS) + 1;
    switch (WaitForMultipleObjects(2, handles, FALSE, wait_ms)) {
    case WAIT_OBJECT_0:
        memcpy(reply, &link->control->reply, sizeof *reply);
        return 0;
    case WAIT_TIMEOUT:
        return CBP_ERROR_TIMEOUT;
    default:
        return CBP_ERROR_BROKEN_PIPE;
    }
}

void *cbpi_debug_make_section(uint64_t size, void **memory)
{
    HANDLE section = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, (DWORD) (size >> 32),
                                        (DWORD) size, NULL);
    *memory = section ? MapViewOfFile(section, FILE_MAP_ALL_ACCESS, 0, 0, (SIZE_T) size) : NULL;
    if (*memory || !section)
        return section;
    DWORD os_error = GetLastError();
    CloseHandle(section);
    SetLastError(os_error);
    return NULL;
}

/* Sends a handle of the rules' section. The helper closes its handle, whatever it replies; one of a request
 * that was not sent is closed here. */
static uint32_t send_rules(struct cbpi_link *base, struct cbp_rules *request, const void *block)
{
    const struct cbpi_debug_link *link = own(base);
    HANDLE theirs = NULL;
    void *memory;
    HANDLE section = cbpi_debug_make_section(request->block_size, &memory);
    if (section) {
        memcpy(memory, block, (size_t) request->block_size);
        UnmapViewOfFile(memory);
    }
    bool is_there = section && DuplicateHandle(GetCurrentProcess(), section, link->process, &theirs,
                                               FILE_MAP_READ, FALSE, 0);
    uint32_t error = is_there ? 0 : cbpi_fail_os(GetLastError(), "cannot make the rules' memory");
    if (section)
        CloseHandle(section);
    if (error != 0)
        return error;
    request->section_handle = (uint64_t) (uintptr_t) theirs;
    error = send_request(base, &request->header, NULL);
    if (error != 0)
        DuplicateHandle(link->process, theirs, NULL, NULL, 0, FALSE, DUPLICATE_CLOSE_SOURCE);
    return error;
}

/* ---- Starting the helper ---- */

static uint32_t make_section(struct cbpi_debug_link *link)
{
    void *memory;
    link->handles[SECTION] = cbpi_debug_make_section(CBP_DEBUG_SECTION_SIZE, &memory);
    if (!link->handles[SECTION])
        return cbpi_fail_os(GetLastError(), "cannot make the channel's memory");
    struct cbp_channel *channel = memory;
    channel->magic = CBP_PROTOCOL_MAGIC;
    channel->version = CBP_PROTOCOL_VERSION;
    channel->size = CBP_CHANNEL_SIZE;
    link->base.channel = channel;
    link->control = (struct cbp_debug_control *) (void *) ((char *) memory + CBP_DEBUG_CONTROL_OFFSET);
    return 0;
}

/* Makes a handle of this process that tells the helper when it ends, and allows nothing else. */
static HANDLE make_controller_handle(void)
{
    HANDLE made = NULL;
    DuplicateHandle(GetCurrentProcess(), GetCurrentProcess(), GetCurrentProcess(), &made, SYNCHRONIZE, FALSE,
                    0);
    return made;
}

static uint32_t make_objects(HANDLE *handles)
{
    handles[CONTROLLER] = make_controller_handle();
    for (uint32_t i = ANSWER_EVENT; i <= REPLY_EVENT; i++)
        handles[i] = CreateEventW(NULL, FALSE, FALSE, NULL);
    for (uint32_t i = FIRST_BELL; i < HANDLE_COUNT; i++)
        handles[i] = CreateSemaphoreW(NULL, 0, SLEEPERS_MAX, NULL);
    for (uint32_t i = 0; i < HANDLE_COUNT; i++)
        if (!handles[i])
            return cbpi_fail_os(GetLastError(), "cannot make the debug helper's events");
    return 0;
}

#define PATH_SIZE (3u * CBPI_PATH_UNITS_MAX)

bool cbpi_debug_helper_is_there(void)
{
    char *path = malloc(PATH_SIZE);
    bool found = path && cbpi_helper_path(CBP_DEBUG_HELPER_NAME, path, PATH_SIZE) == 0;
    free(path);
    return found;
}

/* Gives the path of the helper's program, in memory that the caller frees. */
static uint32_t helper_path(WCHAR **path)
{
    char *text = malloc(PATH_SIZE);
    if (!text)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    uint32_t error = cbpi_helper_path(CBP_DEBUG_HELPER_NAME, text, PATH_SIZE);
    if (error == 0)
        error = cbpi_wide_text(text, path);
    free(text);
    return error;
}

/* ---- Handing the handles over ----
 *
 * Nothing is inherited: a handle that is inheritable for a moment is inherited by whatever other threads
 * create in that moment. So the helper is created without running, is given copies, and finds the section's
 * number in its command line, where room was left for it. */

#define COMMAND_LINE L"cbprocess-debug 00000000000000000000"
#define DIGIT_COUNT 20u

static bool tell_section(HANDLE process, uint64_t section)
{
    WCHAR expected[] = COMMAND_LINE, found[sizeof expected / sizeof *expected];
    const SIZE_T size = sizeof expected;
    struct cbpd_system_text line;
    if (!cbpd_find_command_line(process, &line) || !cbpd_read_memory(process, line.address, found, size) ||
        memcmp(found, expected, size) != 0)
        return false;
    swprintf(found + wcslen(found) - DIGIT_COUNT, DIGIT_COUNT + 1, L"%020llu", (unsigned long long) section);
    return WriteProcessMemory(process, (void *) (uintptr_t) line.address, found, size, NULL);
}

static uint32_t hand_over(struct cbpi_debug_link *link, HANDLE process)
{
    struct cbp_debug_control *control = link->control;
    uint64_t theirs[HANDLE_COUNT];
    for (uint32_t i = 0; i < HANDLE_COUNT; i++) {
        theirs[i] = cbpi_debug_give(process, link->handles[i]);
        if (theirs[i] == 0)
            return cbpi_fail_os(GetLastError(), "cannot give the debug helper its handles");
    }
    control->controller_handle = theirs[CONTROLLER];
    control->answer_event = theirs[ANSWER_EVENT];
    control->request_event = theirs[REQUEST_EVENT];
    control->reply_event = theirs[REPLY_EVENT];
    memcpy(control->bells, theirs + FIRST_BELL, sizeof control->bells);
    if (!tell_section(process, theirs[SECTION]))
        return cbpi_fail(CBP_ERROR_APP_INIT_FAILURE, "cannot tell the debug helper where its channel is");
    return 0;
}

static uint32_t explain_start(DWORD os_error)
{
    uint32_t error = cbpi_fail_os(os_error, "cannot execute " CBP_DEBUG_HELPER_NAME);
    bool is_damaged = os_error == ERROR_FILE_NOT_FOUND || os_error == ERROR_PATH_NOT_FOUND ||
                      os_error == ERROR_BAD_EXE_FORMAT || os_error == ERROR_ACCESS_DENIED;
    return is_damaged ? CBP_ERROR_FS_DRIVER_REQUIRED : error;
}

/* Creates the helper apart from this console and its Ctrl-C. */
static uint32_t create_process(struct cbpi_debug_link *link, const WCHAR *path)
{
    PROCESS_INFORMATION made;
    STARTUPINFOW startup = {.cb = sizeof startup};
    WCHAR arguments[] = COMMAND_LINE;
    const DWORD flags = DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP | CREATE_SUSPENDED;
    if (!CreateProcessW(path, arguments, NULL, NULL, FALSE, flags, NULL, NULL, &startup, &made))
        return explain_start(GetLastError());
    uint32_t error = hand_over(link, made.hProcess);
    if (error == 0 && ResumeThread(made.hThread) == (DWORD) -1)
        error = cbpi_fail_os(GetLastError(), "cannot start " CBP_DEBUG_HELPER_NAME);
    CloseHandle(made.hThread);
    if (error != 0) {
        TerminateProcess(made.hProcess, 1);
        CloseHandle(made.hProcess);
        return error;
    }
    link->process = made.hProcess;
    link->base.process_id = made.dwProcessId;
    return 0;
}

static uint32_t start_process(struct cbpi_debug_link *link)
{
    WCHAR *path = NULL;
    uint32_t error = helper_path(&path);
    if (error == 0)
        error = create_process(link, path);
    free(path);
    return error;
}

static void shut(struct cbpi_link *base)
{
    struct cbpi_debug_link *link = own(base);
    if (link->control)
        cbp_store_u32(&link->control->is_closing, 1);
    if (link->handles[REQUEST_EVENT])
        SetEvent(link->handles[REQUEST_EVENT]);
    if (base->channel)
        UnmapViewOfFile(base->channel);
    for (uint32_t i = 0; i < HANDLE_COUNT; i++)
        if (link->handles[i])
            CloseHandle(link->handles[i]);
    if (link->process)
        CloseHandle(link->process);
    free(link);
}

static uint32_t open_link(struct cbpi_link **opened)
{
    struct cbpi_debug_link *link = calloc(1, sizeof *link);
    if (!link)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a helper's link");
    uint32_t error = make_section(link);
    if (error == 0)
        error = make_objects(link->handles);
    if (error == 0)
        error = start_process(link);
    if (error == 0)
        *opened = &link->base;
    else
        shut(&link->base);
    return error;
}

/* ---- Bells ---- */

/* A wake-up that finds no sleeper stays in the semaphore and lets a later sleeper look once for nothing. */
static bool bell_wait(struct cbpi_link *link, uint32_t session_id, uint32_t value, uint64_t timeout_ns)
{
    const struct cbp_channel_session *session = &link->channel->sessions[session_id];
    DWORD wait_ms = INFINITE;
    if (cbp_load_u32(&session->bell) != value)
        return false;
    if (timeout_ns / CBP_NS_PER_MS < INFINITE - 1)
        wait_ms = (DWORD) ((timeout_ns + CBP_NS_PER_MS - 1) / CBP_NS_PER_MS);
    return WaitForSingleObject(own(link)->handles[FIRST_BELL + session_id], wait_ms) == WAIT_OBJECT_0;
}

static void bell_wake(struct cbpi_link *link, uint32_t session_id, uint32_t count)
{
    if (session_id == CBPI_BELL_OF_HELPER) {
        SetEvent(own(link)->handles[ANSWER_EVENT]);
        return;
    }
    uint32_t sleepers = cbp_load_u32(&link->channel->sessions[session_id].sleepers);
    LONG releases = (LONG) (count < sleepers ? count : sleepers);
    if (releases > 0)
        ReleaseSemaphore(own(link)->handles[FIRST_BELL + session_id], releases, NULL);
}

const struct cbpi_link_ops cbpi_debug_link_ops = {
    .open = open_link,
    .shut = shut,
    .look = look,
    .send = send_request,
    .send_rules = send_rules,
    .receive = receive,
    .bell_wait = bell_wait,
    .bell_wake = bell_wake,
};
