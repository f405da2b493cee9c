/* Is the I/O manager: devices, links, files, and requests from their start to their one end. Checks at each
 * completion what Driver Verifier checks there. Loading and unloading are in loading.c. Knows no protocol of
 * the driver. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"

enum {
    IRP_TYPE = 6,
    METHOD_MASK = 3,
    FILL_NEW = 0xcd,
    UNWRITTEN_RUN = 16,
    BUFFER_TAG = 0x66754249,
    FILE_TYPE = 5
};

struct io_request {
    struct io_request *next_free;
    pthread_mutex_t lock;
    IRP *irp; /* NULL: it has ended */
    struct io_file *file;
    uint32_t is_complete; /* threads wait for this word */
    bool was_marked_pending;
    IO_STATUS_BLOCK end;
    void *output;
    uint32_t output_size;
};

struct io_file {
    FILE_OBJECT object;
    uint32_t is_cleaned; /* atomic: IRP_MJ_CLEANUP has ended */
    uint32_t pending;    /* requests and threads that need it; the closing thread waits for this word */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct io_request *free_requests;
static unsigned long failing_call, call_count;

void io_fail_at(unsigned long number)
{
    failing_call = number;
    call_count = 0;
}

bool io_shall_fail(void)
{
    return failing_call != 0 && __atomic_add_fetch(&call_count, 1, __ATOMIC_RELAXED) == failing_call;
}

unsigned long io_failable_calls(void)
{
    return call_count;
}

/* ---- Requests. Their memory is never given back, so that a late look at one finds that it has ended ---- */

static struct io_request *make_request(struct io_file *file, UCHAR major)
{
    pthread_mutex_lock(&lock);
    struct io_request *request = free_requests;
    if (request)
        free_requests = request->next_free;
    pthread_mutex_unlock(&lock);
    if (!request) {
        request = calloc(1, sizeof *request);
        pthread_mutex_init(&request->lock, NULL);
    }
    IRP *irp = pool_take(sizeof *irp + sizeof(IO_STACK_LOCATION), POOL_TAG_IRP, false);
    IO_STACK_LOCATION *stack = (IO_STACK_LOCATION *) (void *) (irp + 1);
    memset(irp, 0, sizeof *irp + sizeof *stack);
    irp->Type = IRP_TYPE;
    irp->Size = sizeof *irp + sizeof *stack;
    irp->RequestorMode = UserMode;
    irp->StackCount = irp->CurrentLocation = 1;
    irp->UserIosb = request;
    irp->Thread = actor();
    irp->CurrentStackLocation = stack;
    irp->OriginalFileObject = stack->FileObject = &file->object;
    stack->DeviceObject = file->object.DeviceObject;
    stack->MajorFunction = major;
    request->irp = irp;
    request->file = file;
    request->is_complete = 0;
    request->was_marked_pending = false;
    request->output = NULL;
    request->output_size = 0;
    __atomic_add_fetch(&file->pending, 1, __ATOMIC_SEQ_CST);
    return request;
}

/* A program gets no bytes that the driver has not written: they are what was in the pool before. */
static void check_written(const uint8_t *bytes, uint64_t size)
{
    unsigned run = 0;
    for (uint64_t i = 0; i < size; i++) {
        run = bytes[i] == FILL_NEW ? run + 1 : 0;
        if (run == UNWRITTEN_RUN)
            violation("uninitialized_output", "bytes %llu to %llu of %llu have never been written",
                      (unsigned long long) i + 1 - run, (unsigned long long) i, (unsigned long long) size);
    }
}

static void check_completion(const IRP *irp)
{
    level_at_most(DISPATCH_LEVEL, "IoCompleteRequest");
    if (level_spin_locks() > 0)
        violation("completion_with_spin_lock", "IoCompleteRequest with a spin lock held");
    if (irp->CancelRoutine)
        violation("cancel_routine_set", "IoCompleteRequest of a request that still has a cancel routine");
    if (irp->IoStatus.Status == STATUS_PENDING)
        violation("completed_as_pending", "IoCompleteRequest with STATUS_PENDING");
}

/* Hands the result to the program. An error carries no data; a warning does. */
static void copy_output(const struct io_request *request, const IRP *irp)
{
    uint64_t size = irp->IoStatus.Information;
    if (NT_ERROR(irp->IoStatus.Status) || irp->CurrentStackLocation->MajorFunction != IRP_MJ_DEVICE_CONTROL)
        return;
    if (size > request->output_size)
        violation("information_too_large", "a request with room for %u bytes ends with %llu",
                  request->output_size, (unsigned long long) size);
    check_written(irp->SystemBuffer, size);
    memcpy(request->output, irp->SystemBuffer, size);
}

/* IofCompleteRequest. Documentation, Requirements: at most DISPATCH_LEVEL; Remarks: without a spin lock, with
 * no cancel routine, once, and after that the driver does not touch the request; a status of STATUS_PENDING is
 * for the return value of the dispatch routine alone. */
static NTAPI void IofCompleteRequest(IRP *irp, UCHAR boost)
{
    (void) boost;
    if (pool_is_freed_block(irp))
        violation("double_completion", "IoCompleteRequest of a request that has ended");
    struct io_request *request = irp->UserIosb;
    pthread_mutex_lock(&request->lock);
    if (request->irp != irp)
        violation("double_completion", "IoCompleteRequest of a request that has ended");
    check_completion(irp);
    copy_output(request, irp);
    request->end = irp->IoStatus;
    request->was_marked_pending = (irp->CurrentStackLocation->Control & SL_PENDING_RETURNED) != 0;
    if (irp->SystemBuffer)
        pool_give_back(irp->SystemBuffer);
    pool_give_back(irp);
    request->irp = NULL;
    struct io_file *file = request->file;
    pthread_mutex_unlock(&request->lock);
    /* The requester may go on from here and use the request for something else; its address stays good. */
    __atomic_store_n(&request->is_complete, 1, __ATOMIC_SEQ_CST);
    wake_word(&request->is_complete, 1);
    io_release(file);
}

/* Compares what a dispatch routine returned with what it did. Documentation, "Dispatch routines": it returns
 * STATUS_PENDING if and only if it has called IoMarkIrpPending; otherwise it has completed the request, with
 * the status that it returns. */
static void check_return(struct io_request *request, NTSTATUS status, UCHAR major)
{
    pthread_mutex_lock(&request->lock);
    bool has_ended = !request->irp;
    bool is_marked = has_ended ? request->was_marked_pending
                               : (request->irp->CurrentStackLocation->Control & SL_PENDING_RETURNED) != 0;
    NTSTATUS end = request->end.Status;
    pthread_mutex_unlock(&request->lock);
    if ((status == STATUS_PENDING) != is_marked)
        violation("pending_not_marked",
                  "major function %u returns 0x%x of a request that is%s marked pending", major,
                  (unsigned) status, is_marked ? "" : " not");
    if (status != STATUS_PENDING && !has_ended)
        violation("not_completed", "major function %u returns 0x%x and has not completed", major,
                  (unsigned) status);
    if (status != STATUS_PENDING && status != end)
        violation("status_mismatch", "major function %u returns 0x%x and has completed with 0x%x", major,
                  (unsigned) status, (unsigned) end);
}

/* Calls the driver as the I/O manager does: at PASSIVE_LEVEL, in the requester's thread. */
static void dispatch(struct io_request *request)
{
    DEVICE_OBJECT *device = request->file->object.DeviceObject;
    UCHAR major = request->irp->CurrentStackLocation->MajorFunction;
    DRIVER_DISPATCH routine = device->DriverObject->MajorFunction[major];
    verdicts_doing("in a dispatch routine");
    struct level_mark mark = level_enter();
    NTSTATUS status = routine(device, request->irp);
    level_leave(mark, "a dispatch routine");
    verdicts_doing("-");
    check_return(request, status, major);
}

/* ---- What scenarios call ---- */

bool io_is_complete(const struct io_request *request)
{
    return __atomic_load_n(&request->is_complete, __ATOMIC_SEQ_CST) != 0;
}

void io_wait(struct io_request *request)
{
    verdicts_doing("waits for a request to end");
    while (!io_is_complete(request))
        wait_on_word(&request->is_complete, 0);
    verdicts_doing("-");
}

NTSTATUS io_finish(struct io_request *request, uint64_t *information)
{
    io_wait(request);
    IO_STATUS_BLOCK end = request->end;
    if (information)
        *information = NT_ERROR(end.Status) ? 0 : end.Information;
    pthread_mutex_lock(&lock);
    request->next_free = free_requests;
    free_requests = request;
    pthread_mutex_unlock(&lock);
    return end.Status;
}

/* Cancels as IoCancelIrp does (its documentation, Remarks): Cancel is set, the cancel routine is taken out, both
 * under the cancel spin lock, and the routine is called with the lock held, which it releases. */
void io_cancel(struct io_request *request)
{
    KIRQL old;
    pthread_mutex_lock(&request->lock);
    IRP *irp = request->irp;
    if (!irp) {
        pthread_mutex_unlock(&request->lock);
        return;
    }
    level_acquire_cancel(&old);
    __atomic_store_n(&irp->Cancel, 1, __ATOMIC_SEQ_CST);
    DRIVER_CANCEL routine = __atomic_exchange_n(&irp->CancelRoutine, (DRIVER_CANCEL) NULL, __ATOMIC_SEQ_CST);
    irp->CancelIrql = old;
    pthread_mutex_unlock(&request->lock);
    if (!routine) {
        level_release_cancel(old);
        return;
    }
    verdicts_doing("in a cancel routine");
    /* The lock is the kernel's until the routine has it. */
    struct level_mark mark = level_enter();
    mark.level = old;
    routine(request->file->object.DeviceObject, irp);
    level_leave(mark, "a cancel routine");
    verdicts_doing("-");
}

struct io_request *io_prepare(struct io_file *file, uint32_t code, const void *input, uint32_t input_size,
                              void *output, uint32_t output_size)
{
    uint32_t size = input_size > output_size ? input_size : output_size;
    struct io_request *request = make_request(file, IRP_MJ_DEVICE_CONTROL);
    IO_STACK_LOCATION *stack = request->irp->CurrentStackLocation;
    if ((code & METHOD_MASK) != 0)
        wrong("the I/O manager of the loader has METHOD_BUFFERED alone");
    stack->Parameters.DeviceIoControl.InputBufferLength = input_size;
    stack->Parameters.DeviceIoControl.OutputBufferLength = output_size;
    stack->Parameters.DeviceIoControl.IoControlCode = code;
    request->output = output;
    request->output_size = output_size;
    if (size > 0) {
        request->irp->SystemBuffer = pool_take(size, BUFFER_TAG, false);
        memcpy(request->irp->SystemBuffer, input, input_size);
    }
    return request;
}

void io_start(struct io_request *request)
{
    dispatch(request);
}

struct io_request *io_send(struct io_file *file, uint32_t code, const void *input, uint32_t input_size,
                           void *output, uint32_t output_size)
{
    struct io_request *request = io_prepare(file, code, input, input_size, output, output_size);
    io_start(request);
    return request;
}

NTSTATUS io_control(struct io_file *file, uint32_t code, const void *input, uint32_t input_size, void *output,
                    uint32_t output_size, uint64_t *information)
{
    return io_finish(io_send(file, code, input, input_size, output, output_size), information);
}

void io_hold(struct io_file *file)
{
    __atomic_add_fetch(&file->pending, 1, __ATOMIC_SEQ_CST);
}

void io_release(struct io_file *file)
{
    if (__atomic_sub_fetch(&file->pending, 1, __ATOMIC_SEQ_CST) == 0)
        wake_word(&file->pending, 1);
}

static NTSTATUS send_plain(struct io_file *file, UCHAR major)
{
    struct io_request *request = make_request(file, major);
    dispatch(request);
    return io_finish(request, NULL);
}

struct io_file *io_open(const char *name, NTSTATUS *status)
{
    DEVICE_OBJECT *device = device_open(name, status);
    if (!device)
        return NULL;
    struct io_file *file = calloc(1, sizeof *file);
    file->object.Type = FILE_TYPE;
    file->object.Size = sizeof file->object;
    file->object.DeviceObject = device;
    *status = send_plain(file, IRP_MJ_CREATE);
    if (NT_SUCCESS(*status))
        return file;
    device_close(device);
    free(file);
    return NULL;
}

bool io_is_cleaned(const struct io_file *file)
{
    return __atomic_load_n(&file->is_cleaned, __ATOMIC_SEQ_CST) != 0;
}

/* The last handle is closed: IRP_MJ_CLEANUP ends what is pending, and IRP_MJ_CLOSE comes when nothing is. */
void io_close(struct io_file *file)
{
    DEVICE_OBJECT *device = file->object.DeviceObject;
    uint32_t pending;
    send_plain(file, IRP_MJ_CLEANUP);
    __atomic_store_n(&file->is_cleaned, 1, __ATOMIC_SEQ_CST);
    verdicts_doing("waits for the requests of a closed file to end");
    while ((pending = __atomic_load_n(&file->pending, __ATOMIC_SEQ_CST)) != 0)
        wait_on_word(&file->pending, pending);
    verdicts_doing("-");
    send_plain(file, IRP_MJ_CLOSE);
    device_close(device);
    free(file);
}

const struct export irp_exports[] = {EXPORT(IofCompleteRequest), {NULL, NULL}};
