/* Implements launch.h on Windows. ntdll keeps the debug object of a thread, which CreateProcess with
 * DEBUG_PROCESS gives to the kernel; here it is the helper's for a while. The result comes through a section
 * and an event. */
#include "launch.h"

#include "cbp_message_check.h"
#include "errors.h"
#include "windows_api.h"

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

void cbpi_launch_channel_enter(struct cbpi_launch_channel *channel, void *debug_object)
{
    channel->debug_object = debug_object;
    channel->own_debug_object = thread_debug_object();
    set_thread_debug_object(debug_object);
}

/* Closes the debug object, which must not be kept: as long as a handle of it is open its processes stay held,
 * even if the helper has died. */
void cbpi_launch_channel_leave(struct cbpi_launch_channel *channel)
{
    if (channel->debug_object)
        set_thread_debug_object(channel->own_debug_object);
    close_handle(&channel->debug_object);
}

int32_t cbpi_launch_channel_launcher(const struct cbpi_launch_channel *channel)
{
    (void) channel;
    return -1;
}

uint32_t cbpi_launch_channel_wait(struct cbpi_launch_channel *channel, uint32_t slice_ms,
                                  struct cbp_launch_result *result)
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
    *result = *channel->result;
    if (cbp_message_check(result, sizeof *result, CBP_MESSAGE_LAUNCH_RESULT) != 0)
        return cbpi_fail(CBP_ERROR_INVALID_DATA, "the launch's result is malformed");
    if (result->status == CBP_ERROR_NOT_FOUND)
        return cbpi_fail(result->status,
                         "the process that cbp_launch_leave() was told of was not created for "
                         "this launch, or has ended");
    if (result->status != 0)
        return cbpi_fail(result->status, "the launch failed: %s", cbp_error_message(result->status));
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
