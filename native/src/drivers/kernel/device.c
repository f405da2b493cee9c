/* Implements device.h with overlapped control requests and an I/O completion port. A request's memory is the
 * device's own: one that the driver does not complete in time is left behind with it. */
#include "device.h"

#include "cbp_atomic.h"
#include "cbp_time.h"
#include "errors.h"
#include "os_error.h"
#include "platform.h"
#include "windows_api.h"

#include <stdlib.h>
#include <string.h>

#define REQUEST_LIMIT_MS 10000u
#define CANCEL_LIMIT_MS 1000u
/* A handler may compute for long, so that the port must not hold other workers back. */
#define CONCURRENT_THREADS_MAX 4096u

/* One request at a time uses this. */
struct call {
    OVERLAPPED overlapped;
    HANDLE event;
    struct call *next;
    void *output;
    uint32_t output_size;
};

struct cbpi_kernel_device {
    HANDLE file;
    HANDLE port;
    uint32_t has_gone;         /* atomic */
    struct cbpi_mutex mutex;   /* of the next one */
    struct call *unused_calls; /* there are as many as there were requests at once */
};

_Static_assert(sizeof(OVERLAPPED) <= sizeof(((struct cbpi_kernel_receive *) 0)->system),
               "a receive holds an OVERLAPPED");
_Static_assert(offsetof(struct cbpi_kernel_receive, system) == 0, "the port gives back its address");

/* ---- Opening ---- */

static uint32_t fail_open(uint32_t os_error)
{
    switch (os_error) {
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
        return cbpi_fail(CBP_ERROR_FILE_NOT_FOUND, "the kernel driver does not run");
    case ERROR_ACCESS_DENIED:
        return cbpi_fail(CBP_ERROR_ACCESS_DENIED, "the kernel driver serves administrators only");
    default:
        return cbpi_fail_os(os_error, "cannot open the kernel driver's device");
    }
}

uint32_t cbpi_kernel_device_open(struct cbpi_kernel_device **device)
{
    struct cbpi_kernel_device *made = calloc(1, sizeof *made);
    if (!made)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for the kernel driver's device");
    cbpi_mutex_init(&made->mutex);
    made->file = CreateFileW(L"" CBP_KERNEL_DEVICE_PATH, GENERIC_READ | GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
                             FILE_FLAG_OVERLAPPED, NULL);
    uint32_t error = made->file != INVALID_HANDLE_VALUE ? 0 : fail_open(GetLastError());
    if (error == 0) {
        made->port = CreateIoCompletionPort(made->file, NULL, 0, CONCURRENT_THREADS_MAX);
        error = made->port ? 0 : cbpi_fail_os(GetLastError(), "cannot make a completion port");
    }
    if (error == 0)
        *device = made;
    else
        cbpi_kernel_device_close(made);
    return error;
}

static void free_call(struct call *call)
{
    if (call->event)
        CloseHandle(call->event);
    free(call->output);
    free(call);
}

void cbpi_kernel_device_close(struct cbpi_kernel_device *device)
{
    if (device->file != INVALID_HANDLE_VALUE)
        CloseHandle(device->file);
    if (device->port)
        CloseHandle(device->port);
    while (device->unused_calls) {
        struct call *call = device->unused_calls;
        device->unused_calls = call->next;
        free_call(call);
    }
    cbpi_mutex_destroy(&device->mutex);
    free(device);
}

bool cbpi_kernel_device_has_gone(const struct cbpi_kernel_device *device)
{
    return cbp_load_u32(&device->has_gone);
}

/* ---- Errors ---- */

/* Gives the code for an error of a control request. */
static uint32_t code_of(struct cbpi_kernel_device *device, uint32_t os_error)
{
    switch (os_error) {
    case ERROR_MORE_DATA:
        return CBP_ERROR_INSUFFICIENT_BUFFER;
    case ERROR_OPERATION_ABORTED:
    case ERROR_CANCELLED:
        return CBP_ERROR_OPERATION_ABORTED;
    case ERROR_NOT_FOUND:
        return CBP_ERROR_NOT_FOUND;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_NO_SYSTEM_RESOURCES:
    case ERROR_NOT_ENOUGH_QUOTA:
    case ERROR_WORKING_SET_QUOTA:
    case ERROR_COMMITMENT_LIMIT:
        return CBP_ERROR_NO_SYSTEM_RESOURCES;
    case ERROR_INVALID_PARAMETER:
    case ERROR_INVALID_FUNCTION:
    case ERROR_NOT_SUPPORTED:
    case ERROR_INSUFFICIENT_BUFFER:
    case ERROR_BAD_LENGTH:
        return CBP_ERROR_INVALID_DATA;
    default:
        cbp_store_u32(&device->has_gone, 1);
        return CBP_ERROR_BROKEN_PIPE;
    }
}

static uint32_t fail(struct cbpi_kernel_device *device, uint32_t os_error)
{
    uint32_t code = code_of(device, os_error);
    (void) cbpi_fail_os(os_error, code == CBP_ERROR_INVALID_DATA
                                      ? "the kernel driver does not know the request"
                                      : "the kernel driver does not serve");
    return code;
}

/* ---- Requests ---- */

static struct call *make_call(void)
{
    struct call *made = calloc(1, sizeof *made);
    if (!made)
        return NULL;
    made->event = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (!made->event) {
        free_call(made);
        return NULL;
    }
    return made;
}

/* Gives a call with room for that output, or NULL without memory. */
static struct call *take_call(struct cbpi_kernel_device *device, uint32_t output_size)
{
    cbpi_mutex_lock(&device->mutex);
    struct call *call = device->unused_calls;
    if (call)
        device->unused_calls = call->next;
    cbpi_mutex_unlock(&device->mutex);
    if (!call)
        call = make_call();
    if (!call || call->output_size >= output_size)
        return call;
    free(call->output);
    call->output_size = output_size;
    call->output = malloc(output_size);
    if (call->output)
        return call;
    free_call(call);
    return NULL;
}

static void give_call_back(struct cbpi_kernel_device *device, struct call *call)
{
    cbpi_mutex_lock(&device->mutex);
    call->next = device->unused_calls;
    device->unused_calls = call;
    cbpi_mutex_unlock(&device->mutex);
}

/* Waits for a call that the driver has not completed at once. False: it still has not. */
static bool wait_for_call(struct cbpi_kernel_device *device, struct call *call)
{
    if (WaitForSingleObject(call->event, REQUEST_LIMIT_MS) == WAIT_OBJECT_0)
        return true;
    CancelIoEx(device->file, &call->overlapped);
    return WaitForSingleObject(call->event, CANCEL_LIMIT_MS) == WAIT_OBJECT_0;
}

/* Sends a control request, and gets exactly output_size bytes. */
static uint32_t send(struct cbpi_kernel_device *device, uint32_t code, const void *input, size_t input_size,
                     void *output, uint32_t output_size)
{
    struct call *call = input_size <= UINT32_MAX ? take_call(device, output_size) : NULL;
    if (!call)
        return cbpi_fail(CBP_ERROR_NO_SYSTEM_RESOURCES, "no memory for a request to the kernel driver");
    DWORD got = 0;
    memset(&call->overlapped, 0, sizeof call->overlapped);
    /* The lowest bit keeps the completion from the port. */
    call->overlapped.hEvent = (HANDLE) ((uintptr_t) call->event | 1u);
    BOOL is_done = DeviceIoControl(device->file, code, (void *) (uintptr_t) input, (DWORD) input_size,
                                   call->output, output_size, NULL, &call->overlapped);
    DWORD os_error = is_done ? 0 : GetLastError();
    if (os_error == ERROR_IO_PENDING && !wait_for_call(device, call)) /* its memory is the system's still */
        return cbpi_fail(CBP_ERROR_SERVICE_REQUEST_TIMEOUT, "the kernel driver does not answer");
    if (os_error == 0 || os_error == ERROR_IO_PENDING)
        os_error = GetOverlappedResult(device->file, &call->overlapped, &got, FALSE) ? 0 : GetLastError();
    uint32_t error = os_error ? fail(device, os_error) : 0;
    if (error == 0 && got != output_size)
        error = cbpi_fail(CBP_ERROR_INVALID_DATA, "the kernel driver has sent %u bytes in place of %u",
                          (unsigned) got, (unsigned) output_size);
    if (error == 0)
        memcpy(output, call->output, output_size);
    give_call_back(device, call);
    return error;
}

uint32_t cbpi_kernel_device_request(struct cbpi_kernel_device *device, const void *request, size_t size,
                                    void *reply, uint32_t reply_size)
{
    return send(device, CBP_KERNEL_REQUEST, request, size, reply, reply_size);
}

uint32_t cbpi_kernel_device_fetch(struct cbpi_kernel_device *device, const struct cbp_kernel_receive *request,
                                  void *message, uint32_t size)
{
    return send(device, CBP_KERNEL_RECEIVE, request, sizeof *request, message, size);
}

/* ---- Receives ---- */

static OVERLAPPED *overlapped_of(struct cbpi_kernel_receive *receive)
{
    return (OVERLAPPED *) (void *) receive->system;
}

/* A receive that the driver completes at once comes out of the port, too. */
uint32_t cbpi_kernel_device_receive(struct cbpi_kernel_device *device, struct cbpi_kernel_receive *receive)
{
    memset(receive->system, 0, sizeof receive->system);
    if (DeviceIoControl(device->file, CBP_KERNEL_RECEIVE, &receive->request, sizeof receive->request,
                        receive->buffer, receive->buffer_size, NULL, overlapped_of(receive)))
        return 0;
    DWORD os_error = GetLastError();
    if (os_error == ERROR_IO_PENDING || os_error == ERROR_MORE_DATA)
        return 0;
    return code_of(device, os_error) == CBP_ERROR_NO_SYSTEM_RESOURCES ? CBP_ERROR_NO_SYSTEM_RESOURCES
                                                                      : CBP_ERROR_BROKEN_PIPE;
}

bool cbpi_kernel_device_is_complete(const struct cbpi_kernel_receive *receive)
{
    return HasOverlappedIoCompleted((const OVERLAPPED *) (const void *) receive->system);
}

uint32_t cbpi_kernel_device_take(struct cbpi_kernel_device *device, uint32_t timeout_ms,
                                 struct cbpi_kernel_receive **receive)
{
    DWORD size = 0;
    ULONG_PTR key;
    OVERLAPPED *overlapped = NULL;
    BOOL is_good = GetQueuedCompletionStatus(device->port, &size, &key, &overlapped, timeout_ms);
    DWORD os_error = is_good ? 0 : GetLastError();
    *receive = (struct cbpi_kernel_receive *) (void *) overlapped;
    if (!overlapped)
        return is_good ? 0 : os_error == WAIT_TIMEOUT ? CBP_ERROR_TIMEOUT : CBP_ERROR_BROKEN_PIPE;
    (*receive)->size = size;
    (*receive)->error = is_good ? 0 : code_of(device, os_error);
    return 0;
}

void cbpi_kernel_device_wake(struct cbpi_kernel_device *device)
{
    PostQueuedCompletionStatus(device->port, 0, 0, NULL);
}

void cbpi_kernel_device_cancel(struct cbpi_kernel_device *device)
{
    CancelIoEx(device->file, NULL);
}
