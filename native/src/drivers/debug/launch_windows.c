/* Launches on Windows: the caller's own thread creates the process, for the helper's debug object. ntdll
 * keeps the debug object of a thread, which CreateProcess with DEBUG_PROCESS gives to the kernel; here it is
 * the helper's for a while. The result comes through a section and an event that the helper gets copies of.
 */
#include "launch_channel.h"

#include "cbp_atomic.h"
#include "cbp_debug_control.h"
#include "cbp_message_check.h"
#include "debug_link.h"
#include "errors.h"
#include "os_error.h"
#include "windows_api.h"

#include <string.h>

typedef HANDLE(NTAPI *get_debug_object)(void);
typedef void(NTAPI *set_debug_object)(HANDLE object);

static FARPROC ntdll_function(const char *name)
{
    return GetProcAddress(GetModuleHandleW(L"ntdll.dll"), name);
}

static HANDLE thread_debug_object(void)
{
    return ((get_debug_object) (void *) ntdll_function("DbgUiGetThreadDebugObject"))();
}

static void set_thread_debug_object(HANDLE object)
{
    ((set_debug_object) (void *) ntdll_function("DbgUiSetThreadDebugObject"))(object);
}

static void close_handle(void **handle)
{
    if (*handle)
        CloseHandle(*handle);
    *handle = NULL;
}

uint32_t cbpi_debug_launch_enter(struct cbpi_link *link, struct cbpi_launch_channel *channel)
{
    HANDLE theirs = (HANDLE) (uintptr_t) link->ends.control->debug_object, mine = NULL;
    memset(channel, 0, sizeof *channel);
    if (!DuplicateHandle(link->ends.process, theirs, GetCurrentProcess(), &mine, 0, FALSE,
                         DUPLICATE_SAME_ACCESS))
        return cbpi_fail_os(GetLastError(), "cannot get at the debug helper's debug object");
    (void) cbp_add_u32(&link->ends.control->launch_count, 1);
    channel->is_counted = 1;
    channel->debug_object = mine;
    channel->own_debug_object = thread_debug_object();
    set_thread_debug_object(mine);
    return 0;
}

/* The object must not be kept: as long as a handle of it is open the processes that it holds stay held, also
 * when the helper has died. */
void cbpi_launch_channel_leave(struct cbpi_launch_channel *channel)
{
    if (channel->debug_object)
        set_thread_debug_object(channel->own_debug_object);
    close_handle(&channel->debug_object);
}

static uint64_t copy_to(HANDLE process, HANDLE handle)
{
    HANDLE copy = NULL;
    DuplicateHandle(GetCurrentProcess(), handle, process, &copy, 0, FALSE, DUPLICATE_SAME_ACCESS);
    return (uint64_t) (uintptr_t) copy;
}

static uint32_t claim(struct cbpi_transport *transport, struct cbpi_launch_channel *channel,
                      uint32_t process_id, uint32_t rule_id)
{
    struct cbp_reply reply;
    struct cbpi_link *link = transport->link;
    HANDLE section =
        CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, 0, sizeof *channel->result, NULL);
    uint32_t error = CBP_ERROR_NO_SYSTEM_RESOURCES;
    if (section)
        channel->result = MapViewOfFile(section, FILE_MAP_ALL_ACCESS, 0, 0, 0);
    channel->event = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (!channel->result || !channel->event ||
        !DuplicateHandle(GetCurrentProcess(), link->ends.process, GetCurrentProcess(), &channel->helper, 0,
                         FALSE, DUPLICATE_SAME_ACCESS)) {
        error = cbpi_fail_os(GetLastError(), "cannot make the launch's event");
        goto cleanup;
    }
    struct cbp_launch_process message = {
        .header = {.size = sizeof message, .type = CBP_MESSAGE_LAUNCH_PROCESS},
        .session_id = transport->client.session_id,
        .rule_id = rule_id,
        .thread_id = cbpi_thread_id(),
        .process_id = process_id,
        .section_handle = copy_to(link->ends.process, section),
        .event_handle = copy_to(link->ends.process, channel->event)};
    error = cbpi_link_request(link, &message.header, &reply);
cleanup:
    if (section)
        CloseHandle(section);
    return error;
}

/* Until the launch is off the count the helper keeps waiting what may be its process. */
uint32_t cbpi_debug_launch_claim(struct cbpi_transport *transport, struct cbpi_launch_channel *channel,
                                 uint32_t process_id, uint32_t rule_id)
{
    uint32_t error = process_id != 0 ? claim(transport, channel, process_id, rule_id) : 0;
    if (channel->is_counted)
        (void) cbp_subtract_u32(&transport->link->ends.control->launch_count, 1);
    channel->is_counted = 0;
    return error;
}

uint32_t cbpi_launch_channel_open(const struct cbpi_launch_target *target,
                                  struct cbpi_launch_channel *channel)
{
    (void) target;
    (void) channel;
    return cbpi_fail(CBP_ERROR_NOT_SUPPORTED,
                     "on Windows the caller creates the process: cbp_launch_enter()");
}

uint32_t cbpi_launch_channel_wait(struct cbpi_launch_channel *channel, uint32_t slice_ms,
                                  struct cbpi_launch_outcome *outcome)
{
    HANDLE handles[] = {channel->event, channel->helper};
    if (!channel->event || !channel->helper || !channel->result)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "cbp_launch_leave() was not told of a process");
    switch (WaitForMultipleObjects(2, handles, FALSE, slice_ms != 0 ? slice_ms : INFINITE)) {
    case WAIT_OBJECT_0:
        break;
    case WAIT_TIMEOUT:
        return CBP_ERROR_TIMEOUT;
    default:
        return cbpi_fail(CBP_ERROR_BROKEN_PIPE, "the helper has gone");
    }
    const struct cbp_launch_result result = *channel->result;
    if (cbp_message_check(&result, sizeof result, CBP_MESSAGE_LAUNCH_RESULT) != 0)
        return cbpi_fail(CBP_ERROR_INVALID_DATA, "the launch's result is malformed");
    if (result.status == CBP_ERROR_NOT_FOUND)
        return cbpi_fail(result.status, "the process that cbp_launch_leave() was told of was not created for "
                                        "this launch, or has ended");
    if (result.status != 0)
        return cbpi_fail(result.status, "the launch failed: %s", cbp_error_message(result.status));
    outcome->os_error = result.os_error;
    outcome->process_id = result.process_id;
    outcome->start_time = result.start_time;
    return 0;
}

void cbpi_launch_channel_close_launcher(struct cbpi_launch_channel *channel)
{
    cbpi_launch_channel_leave(channel);
}

void cbpi_launch_channel_close(struct cbpi_launch_channel *channel)
{
    close_handle(&channel->event);
    close_handle(&channel->helper);
    if (channel->result)
        UnmapViewOfFile(channel->result);
    channel->result = NULL;
}
