/* Implements launch.h for the debug driver: the caller's own thread creates the process, for the helper.
 * ntdll keeps the debug object of a thread, which CreateProcess with DEBUG_PROCESS gives to the kernel; here
 * it is the helper's for a while. The result comes through a section and an event. */
#include "debug_launch.h"

#include "cbp_atomic.h"
#include "cbp_debug_control.h"
#include "cbp_message_check.h"
#include "debug_link.h"
#include "errors.h"
#include "helper_session.h"
#include "os_error.h"
#include "windows_api.h"

#include <stdlib.h>

/* These are handles, NULL where there is none. */
struct channel {
    struct cbpi_launch_channel base;
    void *debug_object;               /* the helper's, while the caller's thread creates processes for it */
    void *own_debug_object;           /* which that thread had before */
    bool is_counted;                  /* the helper counts it among the launches that go on */
    void *helper;                     /* the helper process */
    void *event;                      /* set once the result stands */
    struct cbp_launch_result *result; /* in memory shared with the helper */
};

static struct channel *own(struct cbpi_launch_channel *channel)
{
    return (struct channel *) channel;
}

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

static struct cbpi_debug_link *link_of(struct cbpi_transport *transport)
{
    return (struct cbpi_debug_link *) cbpi_helper_session(transport)->link;
}

/* Lets the calling thread create processes for the helper's debug object. */
static uint32_t enter(struct cbpi_transport *transport, uint32_t rule_id,
                      struct cbpi_launch_channel **channel)
{
    const struct cbpi_debug_link *link = link_of(transport);
    HANDLE theirs = (HANDLE) (uintptr_t) link->control->debug_object;
    struct channel *made = calloc(1, sizeof *made);
    (void) rule_id; /* the process gets it when its id is known */
    if (!made)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a launch");
    if (!DuplicateHandle(link->process, theirs, GetCurrentProcess(), &made->debug_object, 0, FALSE,
                         DUPLICATE_SAME_ACCESS)) {
        uint32_t error = cbpi_fail_os(GetLastError(), "cannot get at the debug helper's debug object");
        free(made);
        return error;
    }
    (void) cbp_add_u32(&link->control->launch_count, 1);
    made->base.ops = &cbpi_debug_launch_ops;
    made->is_counted = true;
    made->own_debug_object = thread_debug_object();
    set_thread_debug_object(made->debug_object);
    *channel = &made->base;
    return 0;
}

/* Tells the helper the new process. The helper gets copies of the section and the event by which the result
 * comes. */
static uint32_t name_process(struct cbpi_transport *transport, struct channel *channel, uint32_t process_id,
                             uint32_t rule_id)
{
    struct cbpi_debug_link *link = link_of(transport);
    void *memory;
    HANDLE section = cbpi_debug_make_section(sizeof *channel->result, &memory);
    uint32_t error = CBP_ERROR_NO_SYSTEM_RESOURCES;
    channel->result = memory;
    channel->event = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (!channel->result || !channel->event ||
        !DuplicateHandle(GetCurrentProcess(), link->process, GetCurrentProcess(), &channel->helper, 0, FALSE,
                         DUPLICATE_SAME_ACCESS)) {
        error = cbpi_fail_os(GetLastError(), "cannot make the launch's event");
        goto cleanup;
    }
    struct cbp_launch_process message = {
        .header = {.size = sizeof message, .type = CBP_MESSAGE_LAUNCH_PROCESS},
        .session_id = cbpi_helper_session(transport)->session_id,
        .rule_id = rule_id,
        .thread_id = cbpi_thread_id(),
        .process_id = process_id,
        .section_handle = cbpi_debug_give(link->process, section),
        .event_handle = cbpi_debug_give(link->process, channel->event)};
    error = cbpi_link_request(&link->base, &message.header, NULL, NULL);
cleanup:
    if (section)
        CloseHandle(section);
    return error;
}

/* Ends a launch. Until it is off the count the helper keeps processes waiting that may belong to it. */
static uint32_t claim(struct cbpi_transport *transport, struct cbpi_launch_channel *base, uint32_t process_id,
                      uint32_t rule_id)
{
    struct channel *channel = own(base);
    uint32_t error = process_id != 0 ? name_process(transport, channel, process_id, rule_id) : 0;
    if (channel->is_counted)
        (void) cbp_subtract_u32(&link_of(transport)->control->launch_count, 1);
    channel->is_counted = false;
    return error;
}

/* Closes the debug object, which must not be kept: as long as a handle of it is open its processes stay held,
 * even if the helper has died. */
static void leave(struct cbpi_launch_channel *base)
{
    struct channel *channel = own(base);
    if (channel->debug_object)
        set_thread_debug_object(channel->own_debug_object);
    close_handle(&channel->debug_object);
}

static uint32_t wait_for_result(struct cbpi_launch_channel *base, uint32_t slice_ms,
                                struct cbp_launch_result *result)
{
    const struct channel *channel = own(base);
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
    *result = *channel->result;
    if (cbpd_message_check(result, sizeof *result, CBP_MESSAGE_LAUNCH_RESULT) != 0)
        return cbpi_fail(CBP_ERROR_INVALID_DATA, "the launch's result is malformed");
    if (result->status == CBP_ERROR_NOT_FOUND)
        return cbpi_fail(result->status,
                         "the process that cbp_launch_leave() was told of was not created for "
                         "this launch, or has ended");
    if (result->status != 0)
        return cbpi_fail(result->status, "the launch failed: %s", cbp_error_message(result->status));
    return 0;
}

static void close_channel(struct cbpi_launch_channel *base)
{
    struct channel *channel = own(base);
    close_handle(&channel->event);
    close_handle(&channel->helper);
    if (channel->result)
        UnmapViewOfFile(channel->result);
    free(channel);
}

const struct cbpi_launch_ops cbpi_debug_launch_ops = {
    .ways = CBPI_LAUNCH_BY_CALLER,
    .creation_flags = DEBUG_PROCESS,
    .enter = enter,
    .leave = leave,
    .claim = claim,
    .wait = wait_for_result,
    .close = close_channel,
    .forget = cbpi_helper_forget_launch,
};
