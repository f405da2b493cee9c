/* Brings messages to receives: requests of controllers that wait for a message. A receive has one owner at any
 * time: its list, whose cancel routine may take it, or the one that has taken its cancel routine away.
 *
 * No request is completed with a lock held, and callers of cbpd_pending_send() hold the books. So a receive that
 * is over goes to a list, which cbpd_deliveries_flush() completes when no lock is held any more. */
#include "cbp_atomic.h"
#include "cbp_message_check.h"
#include "outbox.h"

/* The request keeps here the message that it ends with; NULL: it is cancelled. */
enum { CONTEXT_MESSAGE };

/* The list is under the lock of outboxes. The count is read without it, to see that there is nothing to do. */
static struct {
    LIST_ENTRY receives;
    uint32_t count; /* atomic */
} over;

void cbpd_deliveries_begin(void)
{
    InitializeListHead(&over.receives);
}

/* ---- Completing ---- */

static void complete(PIRP irp, NTSTATUS status, size_t size)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = size;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
}

static size_t room_in(PIRP irp)
{
    return IoGetCurrentIrpStackLocation(irp)->Parameters.DeviceIoControl.OutputBufferLength;
}

/* Copies the message that the receive has got. It has room for the fixed part at least. */
static NTSTATUS complete_with_message(PIRP irp, struct cbpd_message *message)
{
    size_t size = message->bytes->header.size;
    NTSTATUS status = STATUS_SUCCESS;
    if (room_in(irp) < size) {
        size = sizeof *message->bytes;
        status = STATUS_BUFFER_OVERFLOW;
    }
    memcpy(irp->AssociatedIrp.SystemBuffer, message->bytes, size);
    cbpd_message_release(message);
    complete(irp, status, size);
    return status;
}

/* A thread must not be suspended while it has a receive that is another controller's. */
void cbpd_deliveries_flush(void)
{
    KeEnterCriticalRegion();
    while (cbp_load_u32(&over.count) > 0) {
        KIRQL irql = cbpd_outboxes_lock();
        PIRP irp = NULL;
        if (!IsListEmpty(&over.receives)) {
            LIST_ENTRY *entry = RemoveHeadList(&over.receives);
            irp = CONTAINING_RECORD(entry, IRP, Tail.Overlay.ListEntry);
            cbp_subtract_u32(&over.count, 1);
        }
        cbpd_outboxes_unlock(irql);
        struct cbpd_message *message = irp ? irp->Tail.Overlay.DriverContext[CONTEXT_MESSAGE] : NULL;
        if (message)
            (void) complete_with_message(irp, message);
        else if (irp)
            complete(irp, STATUS_CANCELLED, 0);
    }
    KeLeaveCriticalRegion();
}

/* ---- Under the lock ---- */

/* Takes the first receive of which the caller becomes the owner. NULL: there is none. */
static PIRP next_receive(struct cbpd_outbox *outbox)
{
    while (!IsListEmpty(&outbox->receives)) {
        LIST_ENTRY *entry = RemoveHeadList(&outbox->receives);
        PIRP irp = CONTAINING_RECORD(entry, IRP, Tail.Overlay.ListEntry);
        if (IoSetCancelRoutine(irp, NULL))
            return irp;
        InitializeListHead(entry); /* its cancel routine is on its way, and will take it out of this list */
    }
    return NULL;
}

/* message NULL: the receive is cancelled. */
static void end_receive(PIRP irp, struct cbpd_message *message)
{
    irp->Tail.Overlay.DriverContext[CONTEXT_MESSAGE] = message;
    InsertTailList(&over.receives, &irp->Tail.Overlay.ListEntry);
    cbp_add_u32(&over.count, 1);
}

/* A receive gets the message, whole or in part. The receive has a reference to it. */
static void take(struct cbpd_message *message, PIRP irp)
{
    struct cbpd_outbox *outbox = message->outbox;
    cbp_add_u32(&message->reference_count, 1);
    message->is_given = room_in(irp) >= message->bytes->header.size;
    if (!message->pending && message->is_given) {
        cbpd_outbox_remove(message);
        cbpd_message_release(message); /* the receive has the last reference now */
    } else if (message->state == CBPD_QUEUED) {
        RemoveEntryList(&message->link);
        outbox->queue_count--;
        InsertTailList(&outbox->held[message->bytes->header.id % CBPD_HELD_BUCKETS], &message->link);
        message->state = CBPD_HELD;
    }
}

void cbpd_outbox_match(struct cbpd_outbox *outbox)
{
    while (!IsListEmpty(&outbox->queue)) {
        PIRP irp = next_receive(outbox);
        if (!irp)
            return;
        struct cbpd_message *message = CONTAINING_RECORD(outbox->queue.Flink, struct cbpd_message, link);
        take(message, irp);
        end_receive(irp, message);
    }
}

void cbpd_deliveries_close(uint32_t place)
{
    PIRP irp;
    KIRQL irql = cbpd_outboxes_lock();
    struct cbpd_outbox *outbox = cbpd_outbox_take(place);
    while (outbox && (irp = next_receive(outbox)) != NULL)
        end_receive(irp, NULL);
    cbpd_outboxes_unlock(irql);
    cbpd_outbox_free(outbox);
}

/* ---- Receiving ---- */

static DRIVER_CANCEL cancel_receive;

static void NTAPI cancel_receive(PDEVICE_OBJECT device, PIRP irp)
{
    (void) device;
    IoReleaseCancelSpinLock(irp->CancelIrql);
    KIRQL irql = cbpd_outboxes_lock();
    RemoveEntryList(&irp->Tail.Overlay.ListEntry);
    cbpd_outboxes_unlock(irql);
    complete(irp, STATUS_CANCELLED, 0);
}

/* Puts the request among those that wait. False: it was cancelled before it had a cancel routine. */
static bool pend(struct cbpd_outbox *outbox, PIRP irp)
{
    IoMarkIrpPending(irp);
    InsertTailList(&outbox->receives, &irp->Tail.Overlay.ListEntry);
    (void) IoSetCancelRoutine(irp, cancel_receive);
    if (!irp->Cancel || !IoSetCancelRoutine(irp, NULL))
        return true;
    RemoveEntryList(&irp->Tail.Overlay.ListEntry);
    return false;
}

static struct cbpd_message *find_message(struct cbpd_outbox *outbox, uint64_t wanted_id)
{
    if (wanted_id != 0) {
        struct cbpd_message *message = cbpd_held_message(outbox, wanted_id);
        return message && !message->is_given ? message : NULL;
    }
    return IsListEmpty(&outbox->queue) ? NULL
                                       : CONTAINING_RECORD(outbox->queue.Flink, struct cbpd_message, link);
}

/* Ends or pends a well-formed receive. */
static NTSTATUS receive(const struct cbpd_controller *controller, const struct cbp_kernel_receive *request,
                        PIRP irp)
{
    NTSTATUS status = STATUS_PENDING;
    struct cbpd_message *message = NULL;
    bool is_cancelled = false;
    KIRQL irql = cbpd_outboxes_lock();
    struct cbpd_outbox *outbox = cbpd_outbox_of(controller, request->session_id);
    if (outbox)
        message = find_message(outbox, request->header.id);
    if (message)
        take(message, irp);
    else if (!outbox)
        status = STATUS_CANCELLED;
    else if (request->header.id != 0)
        status = STATUS_NOT_FOUND;
    else
        is_cancelled = !pend(outbox, irp);
    cbpd_outboxes_unlock(irql);
    /* A request that waits may be somebody else's by now. */
    if (message)
        return complete_with_message(irp, message);
    if (status != STATUS_PENDING || is_cancelled)
        complete(irp, is_cancelled ? STATUS_CANCELLED : status, 0);
    return status;
}

NTSTATUS cbpd_deliveries_receive(struct cbpd_controller *controller, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    size_t size = stack->Parameters.DeviceIoControl.InputBufferLength;
    struct cbp_kernel_receive request; /* the message will overwrite it */
    NTSTATUS status = STATUS_SUCCESS;
    if (size != sizeof request ||
        cbpd_message_check(irp->AssociatedIrp.SystemBuffer, size, CBP_MESSAGE_KERNEL_RECEIVE) != 0)
        status = STATUS_INVALID_PARAMETER;
    else if (room_in(irp) < sizeof(struct cbp_event_message))
        status = STATUS_BUFFER_TOO_SMALL;
    if (status != STATUS_SUCCESS) {
        complete(irp, status, 0);
        return status;
    }
    memcpy(&request, irp->AssociatedIrp.SystemBuffer, sizeof request);
    return receive(controller, &request, irp);
}
