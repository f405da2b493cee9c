/* The link of tree_link.h to the debug helper: a section without a name, events, and the process itself. See
 * driver/windows/debug/debug_control.h. */
#include "debug_link.h"

#include "cbp_atomic.h"
#include "debug_control.h"
#include "errors.h"
#include "os_error.h"
#include "windows_api.h"

#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#define NS_PER_MS 1000000u
#define PATH_UNITS_MAX 32768u
#define HANDLE_COUNT (5u + CBP_SESSION_MAX)
#define SLEEPERS_MAX 0x7fffffff

static HANDLE handle_of(uint64_t value)
{
    return (HANDLE) (uintptr_t) value;
}

static uint64_t value_of(HANDLE handle)
{
    return (uint64_t) (uintptr_t) handle;
}

/* ---- Requests ---- */

uint32_t cbpi_link_look(struct cbpi_link *link)
{
    return WaitForSingleObject(link->ends.process, 0) != WAIT_TIMEOUT;
}

uint32_t cbpi_link_send(struct cbpi_link *link, const struct cbp_message_header *request, const int *fds,
                        uint32_t fd_count)
{
    struct cbp_debug_control *control = link->ends.control;
    (void) fds;
    if (fd_count > 0 || request->size > sizeof control->request)
        return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "the request cannot be sent to the debug helper");
    memcpy(control->request, request, request->size);
    control->request_size = request->size;
    ResetEvent(handle_of(control->reply_event)); /* a reply that nobody waited for any more */
    SetEvent(handle_of(control->request_event));
    return 0;
}

uint32_t cbpi_link_receive(struct cbpi_link *link, uint64_t deadline_ns, struct cbp_reply *reply)
{
    struct cbp_debug_control *control = link->ends.control;
    HANDLE handles[] = {handle_of(control->reply_event), link->ends.process};
    uint64_t now_ns = cbpi_now_ns();
    if (now_ns >= deadline_ns)
        return CBP_ERROR_TIMEOUT;
    DWORD wait_ms = (DWORD) ((deadline_ns - now_ns) / NS_PER_MS) + 1;
    switch (WaitForMultipleObjects(2, handles, FALSE, wait_ms)) {
    case WAIT_OBJECT_0:
        memcpy(reply, &control->reply, sizeof *reply);
        return 0;
    case WAIT_TIMEOUT:
        return CBP_ERROR_TIMEOUT;
    default:
        return cbpi_link_fail_dead(link);
    }
}

/* A section with these bytes, or NULL; GetLastError() says why. */
static HANDLE make_rules_section(const void *bytes, uint64_t size)
{
    HANDLE section = CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, (DWORD) (size >> 32),
                                        (DWORD) size, NULL);
    void *memory = section ? MapViewOfFile(section, FILE_MAP_WRITE, 0, 0, (SIZE_T) size) : NULL;
    if (memory) {
        memcpy(memory, bytes, (size_t) size);
        UnmapViewOfFile(memory);
        return section;
    }
    DWORD os_error = GetLastError();
    if (section)
        CloseHandle(section);
    SetLastError(os_error);
    return NULL;
}

/* The helper closes its handle, whatever it replies; one of a request that never reached it is closed here.
 */
uint32_t cbpi_link_request_rules(struct cbpi_link *link, struct cbp_rules *request, const void *block,
                                 struct cbp_reply *reply)
{
    HANDLE theirs = NULL;
    HANDLE section = make_rules_section(block, request->block_size);
    int is_there = section && DuplicateHandle(GetCurrentProcess(), section, link->ends.process, &theirs,
                                              FILE_MAP_READ, FALSE, 0);
    uint32_t error = is_there ? 0 : cbpi_fail_os(GetLastError(), "cannot make the rules' memory");
    if (section)
        CloseHandle(section);
    if (error != 0)
        return error;
    request->section_handle = value_of(theirs);
    reply->header.id = 0;
    error = cbpi_link_request(link, &request->header, reply);
    int was_answered = reply->header.id != 0;
    if (error != 0 && error != CBP_ERROR_TIMEOUT && !was_answered)
        DuplicateHandle(link->ends.process, theirs, NULL, NULL, 0, FALSE, DUPLICATE_CLOSE_SOURCE);
    return error;
}

/* ---- Starting the helper ---- */

static uint32_t make_section(struct cbpi_link *link)
{
    link->ends.section =
        CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, CBP_DEBUG_SECTION_SIZE, NULL);
    if (link->ends.section)
        link->channel = MapViewOfFile(link->ends.section, FILE_MAP_ALL_ACCESS, 0, 0, CBP_DEBUG_SECTION_SIZE);
    if (!link->channel)
        return cbpi_fail_os(GetLastError(), "cannot make the channel's memory");
    link->channel->magic = CBP_PROTOCOL_MAGIC;
    link->channel->version = CBP_PROTOCOL_VERSION;
    link->channel->size = CBP_CHANNEL_SIZE;
    unsigned char *bytes = (unsigned char *) link->channel;
    link->ends.control = (struct cbp_debug_control *) (void *) (bytes + CBP_DEBUG_CONTROL_OFFSET);
    return 0;
}

static uint64_t make_event(void)
{
    return value_of(CreateEventW(NULL, FALSE, FALSE, NULL));
}

/* A handle of this process that tells the helper when it ends, and allows nothing else. */
static uint64_t make_controller_handle(void)
{
    HANDLE made = NULL;
    DuplicateHandle(GetCurrentProcess(), GetCurrentProcess(), GetCurrentProcess(), &made, SYNCHRONIZE, FALSE,
                    0);
    return value_of(made);
}

static uint32_t make_objects(struct cbp_debug_control *control)
{
    control->answer_event = make_event();
    control->request_event = make_event();
    control->reply_event = make_event();
    control->controller_handle = make_controller_handle();
    int all =
        control->answer_event && control->request_event && control->reply_event && control->controller_handle;
    for (uint32_t i = 0; i < CBP_SESSION_MAX && all; i++) {
        control->bells[i] = value_of(CreateSemaphoreW(NULL, 0, SLEEPERS_MAX, NULL));
        all = control->bells[i] != 0;
    }
    return all ? 0 : cbpi_fail_os(GetLastError(), "cannot make the debug helper's events");
}

/* The handles that the helper inherits, and no others. */
static void list_handles(const struct cbpi_link *link, HANDLE *handles)
{
    const struct cbp_debug_control *control = link->ends.control;
    *handles++ = link->ends.section;
    *handles++ = handle_of(control->controller_handle);
    *handles++ = handle_of(control->answer_event);
    *handles++ = handle_of(control->request_event);
    *handles++ = handle_of(control->reply_event);
    for (uint32_t i = 0; i < CBP_SESSION_MAX; i++)
        *handles++ = handle_of(control->bells[i]);
}

/* Inheritable only while the helper is being created: other threads may create processes too. */
static void set_inheritable(const HANDLE *handles, uint32_t count, int inheritable)
{
    for (uint32_t i = 0; i < count; i++)
        SetHandleInformation(handles[i], HANDLE_FLAG_INHERIT, inheritable ? HANDLE_FLAG_INHERIT : 0);
}

#define PATH_SIZE (3u * PATH_UNITS_MAX)

uint32_t cbpi_debug_helper_is_there(void)
{
    char *path = malloc(PATH_SIZE);
    uint32_t found = path && cbpi_helper_path(CBP_DEBUG_HELPER_NAME, path, PATH_SIZE) == 0;
    free(path);
    return found;
}

/* The path of the helper's program, in memory that the caller frees. */
static uint32_t helper_path(WCHAR **path)
{
    uint32_t error = CBP_ERROR_NOT_ENOUGH_MEMORY;
    char *text = malloc(PATH_SIZE);
    uint16_t *units = malloc(PATH_SIZE * sizeof *units);
    if (!text || !units)
        goto cleanup;
    error = cbpi_helper_path(CBP_DEBUG_HELPER_NAME, text, PATH_SIZE);
    if (error != 0)
        goto cleanup;
    units[cbp_wtf8_decode(text, strlen(text), units)] = 0;
    *path = (WCHAR *) units;
    units = NULL;
cleanup:
    free(units);
    free(text);
    return error;
}

/* Apart from this console and its Ctrl-C; nothing of this process but the listed handles. */
static uint32_t create_process(struct cbpi_link *link, const WCHAR *path, STARTUPINFOEXW *startup)
{
    PROCESS_INFORMATION made;
    WCHAR arguments[64];
    const DWORD flags = DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP | EXTENDED_STARTUPINFO_PRESENT;
    swprintf(arguments, 64, L"cbprocess-debug %llu", (unsigned long long) value_of(link->ends.section));
    if (!CreateProcessW(path, arguments, NULL, NULL, TRUE, flags, NULL, NULL, &startup->StartupInfo, &made)) {
        DWORD os_error = GetLastError();
        uint32_t error = cbpi_fail_os(os_error, "cannot execute " CBP_DEBUG_HELPER_NAME);
        int is_damaged = os_error == ERROR_FILE_NOT_FOUND || os_error == ERROR_PATH_NOT_FOUND ||
                         os_error == ERROR_BAD_EXE_FORMAT || os_error == ERROR_ACCESS_DENIED;
        return is_damaged ? CBP_ERROR_FS_DRIVER_REQUIRED : error;
    }
    CloseHandle(made.hThread);
    link->ends.process = made.hProcess;
    link->process_id = made.dwProcessId;
    return 0;
}

static uint32_t start_process(struct cbpi_link *link)
{
    HANDLE handles[HANDLE_COUNT];
    STARTUPINFOEXW startup = {.StartupInfo = {.cb = sizeof startup}};
    SIZE_T size = 0;
    InitializeProcThreadAttributeList(NULL, 1, 0, &size);
    startup.lpAttributeList = malloc(size);
    WCHAR *path = NULL;
    uint32_t error = CBP_ERROR_NOT_ENOUGH_MEMORY;
    int is_listed = 0;
    if (!startup.lpAttributeList)
        goto cleanup;
    error = helper_path(&path);
    if (error != 0)
        goto cleanup;
    list_handles(link, handles);
    is_listed = InitializeProcThreadAttributeList(startup.lpAttributeList, 1, 0, &size) != 0;
    if (is_listed && UpdateProcThreadAttribute(startup.lpAttributeList, 0, PROC_THREAD_ATTRIBUTE_HANDLE_LIST,
                                               handles, sizeof handles, NULL, NULL)) {
        set_inheritable(handles, HANDLE_COUNT, 1);
        error = create_process(link, path, &startup);
        set_inheritable(handles, HANDLE_COUNT, 0);
    } else {
        error = cbpi_fail_os(GetLastError(), "cannot prepare the debug helper's start");
    }
cleanup:
    if (is_listed)
        DeleteProcThreadAttributeList(startup.lpAttributeList);
    free(path);
    free(startup.lpAttributeList);
    return error;
}

uint32_t cbpi_link_open(struct cbpi_link *link)
{
    uint32_t error = make_section(link);
    if (error == 0)
        error = make_objects(link->ends.control);
    if (error == 0)
        error = start_process(link);
    return error;
}

void cbpi_link_abandon(struct cbpi_link *link)
{
    (void) link; /* no process of this system is a fork */
}

static void close_value(uint64_t value)
{
    if (value != 0)
        CloseHandle(handle_of(value));
}

void cbpi_link_shut(struct cbpi_link *link)
{
    struct cbp_debug_control *control = link->ends.control;
    if (control) {
        cbp_store_u32(&control->is_closing, 1);
        if (control->request_event)
            SetEvent(handle_of(control->request_event));
        close_value(control->controller_handle);
        close_value(control->answer_event);
        close_value(control->request_event);
        close_value(control->reply_event);
        for (uint32_t i = 0; i < CBP_SESSION_MAX; i++)
            close_value(control->bells[i]);
    }
    if (link->channel)
        UnmapViewOfFile(link->channel);
    if (link->ends.section)
        CloseHandle(link->ends.section);
    if (link->ends.process)
        CloseHandle(link->ends.process);
}

/* ---- The bells of channel_client.h ---- */

/* A wake-up that comes when nobody sleeps any more stays in the semaphore and lets a later sleeper look once
 * for nothing. */
int cbpi_bell_wait(struct cbpi_link *link, uint32_t session_id, uint32_t value, uint64_t timeout_ns)
{
    const struct cbp_channel_session *session = &link->channel->sessions[session_id];
    DWORD wait_ms = INFINITE;
    if (cbp_load_u32(&session->bell) != value)
        return 0;
    if (timeout_ns / NS_PER_MS < INFINITE - 1)
        wait_ms = (DWORD) ((timeout_ns + NS_PER_MS - 1) / NS_PER_MS);
    return WaitForSingleObject(handle_of(link->ends.control->bells[session_id]), wait_ms) == WAIT_OBJECT_0;
}

void cbpi_bell_wake(struct cbpi_link *link, uint32_t session_id, uint32_t count)
{
    uint32_t sleepers = cbp_load_u32(&link->channel->sessions[session_id].sleepers);
    LONG releases = (LONG) (count < sleepers ? count : sleepers);
    if (releases > 0)
        ReleaseSemaphore(handle_of(link->ends.control->bells[session_id]), releases, NULL);
}

void cbpi_bell_wake_driver(struct cbpi_link *link)
{
    SetEvent(handle_of(link->ends.control->answer_event));
}
