/* Is the I/O manager's requests: files, control requests, completion and cancellation. A completed request's
 * memory is freed at once, so that a driver that touches it later is seen. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "shim.h"

enum { REQUEST_TIMEOUT_S = 10, METHODS = 3, GARBAGE = 0xbd };

struct shim_file {
    FILE_OBJECT object;
    struct shim_device *device;
    uint32_t pid, access;
    uint32_t live_count;
    bool is_cleaned_up;
};

struct shim_call {
    struct shim_file *file;
    struct request *request; /* NULL: completed */
    uint32_t pid;
    pthread_cond_t completed;
    NTSTATUS status;
    bool was_marked_pending;
    size_t output_max, output_size;
    unsigned char *output;
};

/* A request that is not completed. */
struct request {
    IRP irp; /* first */
    IO_STACK_LOCATION location;
    struct request *next, *previous;
    struct shim_call *call;
    bool is_cancelled;
};

static pthread_mutex_t request_lock = PTHREAD_MUTEX_INITIALIZER;
static struct request live = {.next = &live, .previous = &live};
_Thread_local bool shim_is_next_cancelled;
void (*shim_before_cancel_routine)(void);

/* ---- Making and completing ---- */

static struct request *make_request(struct shim_call *call, UCHAR major)
{
    struct request *request = calloc(1, sizeof *request);
    PIRP irp = &request->irp;
    irp->Type = 6;
    irp->Size = sizeof *irp;
    irp->StackCount = 1;
    irp->CurrentLocation = 1;
    irp->RequestorMode = UserMode;
    irp->Tail.Overlay.CurrentStackLocation = &request->location;
    irp->Tail.Overlay.OriginalFileObject = &call->file->object;
    irp->Tail.Overlay.Thread = shim_thread_object(shim_self()->tid);
    request->location.MajorFunction = major;
    request->location.DeviceObject = &call->file->device->device;
    request->location.FileObject = &call->file->object;
    request->call = call;
    call->request = request;
    if (major == IRP_MJ_DEVICE_CONTROL) {
        irp->Cancel = request->is_cancelled = shim_is_next_cancelled;
        shim_is_next_cancelled = false;
    }
    pthread_mutex_lock(&request_lock);
    request->next = &live;
    request->previous = live.previous;
    live.previous->next = request;
    live.previous = request;
    call->file->live_count++;
    pthread_mutex_unlock(&request_lock);
    return request;
}

static struct request *find_live(const IRP *irp)
{
    for (struct request *at = live.next; at != &live; at = at->next)
        if (&at->irp == irp)
            return at;
    return NULL;
}

/* Documented: STATUS_PENDING completes nothing; Information is within the buffer; no cancel routine is set. */
static void check_completion(const struct request *request)
{
    const IRP *irp = &request->irp;
    if (__atomic_load_n(&irp->CancelRoutine, __ATOMIC_SEQ_CST))
        shim_breach("cancel-routine", "a request is completed with its cancel routine set");
    if (irp->IoStatus.Status == STATUS_PENDING)
        shim_breach("completion-status", "a request is completed with STATUS_PENDING");
    if (!NT_ERROR(irp->IoStatus.Status) && irp->IoStatus.Information > request->call->output_max)
        shim_breach("information", "a request gives %zu bytes, and its buffer has %zu",
                    (size_t) irp->IoStatus.Information, request->call->output_max);
}

/* Documented: up to DISPATCH_LEVEL, with no spin lock held, once for each request, which is the system's from
 * then on. Output is copied unless the status is an error. */
void IofCompleteRequest(PIRP irp, CCHAR boost)
{
    (void) boost;
    shim_irql_at_most("IofCompleteRequest", DISPATCH_LEVEL);
    if (shim_self()->spin_count != 0)
        shim_breach("completion-lock", "a request is completed with a spin lock held");
    pthread_mutex_lock(&request_lock);
    struct request *request = find_live(irp);
    if (!request)
        shim_breach("double-completion", "%p is no request, or is completed already", (void *) irp);
    check_completion(request);
    struct shim_call *call = request->call;
    call->status = irp->IoStatus.Status;
    call->was_marked_pending = (request->location.Control & SL_PENDING_RETURNED) != 0;
    call->output_size = NT_ERROR(call->status) ? 0 : irp->IoStatus.Information;
    if (call->output_size > 0)
        memcpy(call->output, irp->AssociatedIrp.SystemBuffer, call->output_size);
    call->request = NULL;
    call->file->live_count--;
    request->previous->next = request->next;
    request->next->previous = request->previous;
    pthread_cond_broadcast(&call->completed);
    pthread_mutex_unlock(&request_lock);
    free(irp->AssociatedIrp.SystemBuffer);
    memset(request, 0xdd, sizeof *request);
    free(request);
}

/* ---- Sending. Documented: a request that the dispatch routine marks pending returns STATUS_PENDING; any other
 * is completed when it returns, with the status that it returns ---- */

static void check_return(const struct shim_call *call, NTSTATUS returned)
{
    pthread_mutex_lock(&request_lock);
    bool is_marked = call->request ? (call->request->location.Control & SL_PENDING_RETURNED) != 0
                                   : call->was_marked_pending;
    if (is_marked != (returned == STATUS_PENDING))
        shim_breach("pending", "a dispatch routine returns %x, and the request is %smarked pending",
                    (unsigned) returned, is_marked ? "" : "not ");
    if (!is_marked && call->request)
        shim_breach("request-lost", "a request is neither completed nor pended");
    if (!is_marked && returned != call->status)
        shim_breach("status", "a dispatch routine returns %x for a request completed with %x",
                    (unsigned) returned, (unsigned) call->status);
    pthread_mutex_unlock(&request_lock);
}

static void send(struct shim_call *call, UCHAR major)
{
    struct shim_device *device = call->file->device;
    struct shim_thread before = shim_enter(PASSIVE_LEVEL, 0);
    NTSTATUS returned =
        device->device.DriverObject->MajorFunction[major](&device->device, &call->request->irp);
    shim_leave("a dispatch routine", before, 0);
    check_return(call, returned);
}

static void init_call(struct shim_call *call, struct shim_file *file)
{
    *call = (struct shim_call){.file = file, .pid = shim_self()->pid};
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&call->completed, &attributes);
    pthread_condattr_destroy(&attributes);
}

static NTSTATUS send_simple(struct shim_file *file, UCHAR major, ACCESS_MASK access)
{
    struct shim_call call;
    IO_SECURITY_CONTEXT security = {.DesiredAccess = access};
    init_call(&call, file);
    struct request *request = make_request(&call, major);
    if (major == IRP_MJ_CREATE) {
        request->location.Parameters.Create.SecurityContext = &security;
        request->location.Parameters.Create.Options = 1u << 24; /* FILE_OPEN */
    }
    send(&call, major);
    if (call.request)
        shim_breach("request-lost", "a request of kind %u is pended", major);
    pthread_cond_destroy(&call.completed);
    return call.status;
}

NTSTATUS shim_major(struct shim_file *file, UCHAR major)
{
    return send_simple(file, major, 0);
}

/* ---- Files ---- */

NTSTATUS shim_open(const wchar_t *path, const wchar_t *rest, uint32_t access, struct shim_file **opened)
{
    struct shim_device *device = shim_device_named(path);
    *opened = NULL;
    if (!device || (device->device.Flags & DO_DEVICE_INITIALIZING) != 0)
        return STATUS_OBJECT_NAME_NOT_FOUND;
    if (!shim_dacl_grants(device, shim_account_of(shim_self()->pid), access))
        return STATUS_ACCESS_DENIED;
    struct shim_file *file = calloc(1, sizeof *file);
    *file = (struct shim_file){.device = device, .pid = shim_self()->pid, .access = access};
    file->object.DeviceObject = &device->device;
    if (rest) {
        RtlInitUnicodeString(&file->object.FileName, rest);
    }
    NTSTATUS status = send_simple(file, IRP_MJ_CREATE, access);
    if (!NT_SUCCESS(status)) {
        free(file); /* documented: there is no cleanup and no close after a create that failed */
        return status;
    }
    __atomic_fetch_add(&device->device.ReferenceCount, 1, __ATOMIC_SEQ_CST);
    *opened = file;
    return status;
}

static void wait_for_requests(struct shim_file *file)
{
    for (int i = 0; i < REQUEST_TIMEOUT_S * 1000; i++) {
        pthread_mutex_lock(&request_lock);
        uint32_t count = file->live_count;
        pthread_mutex_unlock(&request_lock);
        if (count == 0)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    shim_breach("request-kept", "a request is pended for %u s after the cleanup of its file",
                REQUEST_TIMEOUT_S);
}

/* Documented: IRP_MJ_CLEANUP comes when the last handle is closed, and the driver completes what it has pended
 * for the file. */
void shim_cleanup(struct shim_file *file)
{
    if (!file->is_cleaned_up)
        send_simple(file, IRP_MJ_CLEANUP, 0);
    file->is_cleaned_up = true;
}

/* Documented: IRP_MJ_CLOSE comes when the file has no more references and no more requests. */
void shim_close(struct shim_file *file)
{
    shim_cleanup(file);
    wait_for_requests(file);
    send_simple(file, IRP_MJ_CLOSE, 0);
    __atomic_fetch_sub(&file->device->device.ReferenceCount, 1, __ATOMIC_SEQ_CST);
    free(file);
}

/* ---- Control requests ---- */

/* Documented: METHOD_BUFFERED has one buffer for input and output, as large as the larger of both. */
static void give_buffers(struct shim_call *call, struct request *request, uint32_t code, const void *input,
                         size_t input_size)
{
    PIO_STACK_LOCATION location = &request->location;
    location->Parameters.DeviceIoControl.IoControlCode = code;
    location->Parameters.DeviceIoControl.InputBufferLength = (ULONG) input_size;
    location->Parameters.DeviceIoControl.OutputBufferLength = (ULONG) call->output_max;
    call->output = malloc(call->output_max > 0 ? call->output_max : 1);
    if ((code & METHODS) == METHOD_NEITHER) {
        location->Parameters.DeviceIoControl.Type3InputBuffer = (PVOID) (uintptr_t) input;
        request->irp.UserBuffer = call->output;
        return;
    }
    bool is_buffered = (code & METHODS) == METHOD_BUFFERED;
    size_t size = is_buffered && call->output_max > input_size ? call->output_max : input_size;
    if (size == 0)
        return;
    request->irp.AssociatedIrp.SystemBuffer = malloc(size);
    memset(request->irp.AssociatedIrp.SystemBuffer, GARBAGE, size);
    if (input_size > 0)
        memcpy(request->irp.AssociatedIrp.SystemBuffer, input, input_size);
}

struct shim_call *shim_call_start(struct shim_file *file, uint32_t code, const void *input, size_t input_size,
                                  size_t output_max)
{
    struct shim_call *call = malloc(sizeof *call);
    init_call(call, file);
    /* Documented: the I/O manager compares a code's access bits with those of the handle. */
    uint32_t needed = code >> 14 & (FILE_READ_ACCESS | FILE_WRITE_ACCESS);
    if ((needed & ~file->access) != 0) {
        call->status = STATUS_ACCESS_DENIED;
        return call;
    }
    call->output_max = output_max;
    give_buffers(call, make_request(call, IRP_MJ_DEVICE_CONTROL), code, input, input_size);
    send(call, IRP_MJ_DEVICE_CONTROL);
    return call;
}

bool shim_call_wait(struct shim_call *call, uint32_t timeout_ms)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += timeout_ms / 1000;
    end.tv_nsec += (long) (timeout_ms % 1000) * 1000000;
    if (end.tv_nsec >= 1000000000) {
        end.tv_nsec -= 1000000000;
        end.tv_sec++;
    }
    pthread_mutex_lock(&request_lock);
    int error = 0;
    while (call->request && error != ETIMEDOUT)
        error = pthread_cond_timedwait(&call->completed, &request_lock, &end);
    bool is_done = !call->request;
    pthread_mutex_unlock(&request_lock);
    return is_done;
}

NTSTATUS shim_call_status(const struct shim_call *call)
{
    return call->status;
}

const void *shim_call_output(const struct shim_call *call, size_t *size)
{
    *size = call->output_size;
    return call->output;
}

/* ---- Cancelling ---- */

/* Documented: the cancel spin lock is held while the routine is taken and called, with CancelIrql in the
 * request; the routine releases it. Taking the routine makes the request the caller's. */
static bool cancel(struct request *request, KIRQL irql)
{
    request->is_cancelled = true;
    __atomic_store_n((BOOLEAN *) &request->irp.Cancel, TRUE, __ATOMIC_SEQ_CST);
    PDRIVER_CANCEL routine = IoSetCancelRoutine(&request->irp, NULL);
    if (routine)
        request->irp.CancelIrql = irql;
    pthread_mutex_unlock(&request_lock);
    if (!routine) {
        IoReleaseCancelSpinLock(irql);
        return false;
    }
    if (shim_before_cancel_routine)
        shim_before_cancel_routine();
    struct shim_thread before = *shim_self();
    routine(request->location.DeviceObject, &request->irp);
    shim_cancel_lock_check();
    if (shim_self()->irql != irql || shim_self()->spin_count != before.spin_count - 1)
        shim_breach("irql", "a cancel routine returns at IRQL %u with %u spin locks", shim_self()->irql,
                    shim_self()->spin_count);
    return true;
}

bool shim_call_cancel(struct shim_call *call)
{
    KIRQL irql;
    IoAcquireCancelSpinLock(&irql);
    pthread_mutex_lock(&request_lock);
    if (call->request && !call->request->is_cancelled)
        return cancel(call->request, irql);
    pthread_mutex_unlock(&request_lock);
    IoReleaseCancelSpinLock(irql);
    return false;
}

void shim_call_free(struct shim_call *call)
{
    if (!shim_call_wait(call, 0))
        shim_call_cancel(call);
    if (!shim_call_wait(call, REQUEST_TIMEOUT_S * 1000))
        shim_breach("request-kept", "a request is still pended %u s after it was cancelled",
                    REQUEST_TIMEOUT_S);
    pthread_cond_destroy(&call->completed);
    free(call->output);
    free(call);
}

void shim_cancel_all_of(uint32_t pid)
{
    for (;;) {
        KIRQL irql;
        IoAcquireCancelSpinLock(&irql);
        pthread_mutex_lock(&request_lock);
        struct request *at = live.next;
        while (at != &live && (at->is_cancelled || at->call->pid != pid))
            at = at->next;
        if (at != &live) {
            cancel(at, irql);
            continue;
        }
        pthread_mutex_unlock(&request_lock);
        IoReleaseCancelSpinLock(irql);
        return;
    }
}
