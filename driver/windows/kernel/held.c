/* Serves the requests about a message that its controller has received: the answer, the deadline, the token. An
 * answer counts once, in time, from the message's own controller for its own session. */
#include "cbp_time.h"
#include "outbox.h"

/* Says how a request ends about a message that is not held. */
static uint32_t error_of_missing(const struct cbpd_outbox *outbox, uint64_t id)
{
    for (uint32_t i = 0; outbox && i < CBPD_EXPIRED_IDS; i++)
        if (id != 0 && outbox->expired_ids[i] == id)
            return CBP_ERROR_TIMEOUT;
    return CBP_ERROR_NOT_FOUND;
}

/* Finds the message with that id that an operation waits for. With the lock. */
static uint32_t find(const struct cbpd_controller *controller, uint32_t session_id, uint64_t id,
                     struct cbpd_message **message)
{
    struct cbpd_outbox *outbox = cbpd_outbox_of(controller, session_id);
    *message = outbox ? cbpd_held_message(outbox, id) : NULL;
    if (!*message || !(*message)->pending)
        return error_of_missing(outbox, id);
    uint64_t deadline_ns = (*message)->deadline_ns;
    return deadline_ns != 0 && cbpd_now_ns() >= deadline_ns ? CBP_ERROR_TIMEOUT : 0;
}

/* Nothing waits for the message, of which the controller has got the fixed part: it does not want the rest. */
static uint32_t forget(struct cbpd_message *message)
{
    cbpd_outbox_remove(message);
    cbpd_message_release(message);
    return 0;
}

uint32_t cbpd_deliveries_answer(struct cbpd_controller *controller, const struct cbp_kernel_answer *answer)
{
    const struct cbp_event_item *items = &answer->item0;
    struct cbpd_message *message;
    KIRQL irql = cbpd_outboxes_lock();
    uint32_t error = find(controller, answer->session_id, answer->header.id, &message);
    if (message && !message->pending) {
        error = forget(message);
    } else if (error == 0 && answer->item_count != message->bytes->item_count) {
        error = CBP_ERROR_INVALID_DATA;
    } else if (error == 0) {
        struct cbp_event_item *kept = message->pending->answers[message->answer].items;
        for (uint32_t i = 0; i < answer->item_count; i++) {
            kept[i].result_code = items[i].result_code;
            kept[i].desired_access = items[i].desired_access;
        }
        cbpd_settle(message, CBPD_ANSWERED);
    }
    cbpd_outboxes_unlock(irql);
    return error;
}

uint32_t cbpd_deliveries_deadline(struct cbpd_controller *controller,
                                  const struct cbp_kernel_deadline *request, uint64_t *deadline_ns)
{
    struct cbpd_message *message;
    uint64_t now = cbpd_now_ns();
    KIRQL irql = cbpd_outboxes_lock();
    uint32_t error = find(controller, request->session_id, request->header.id, &message);
    if (error == 0 && request->moves) {
        message->deadline_ns = request->timeout_ms != 0 ? now + request->timeout_ms * CBP_NS_PER_MS : 0;
        /* It may come before the end of the operation's slice. */
        (void) KeSetEvent(&message->pending->event, IO_NO_INCREMENT, FALSE);
    }
    if (error == 0)
        *deadline_ns = message->deadline_ns;
    cbpd_outboxes_unlock(irql);
    return error;
}

/* A handle of the current process, which has sent the request. */
static uint32_t open_token(PEPROCESS process, uint64_t *handle)
{
    HANDLE opened = NULL;
    PACCESS_TOKEN token = PsReferencePrimaryToken(process);
    NTSTATUS status = ObOpenObjectByPointer(token, 0, NULL, TOKEN_QUERY | TOKEN_DUPLICATE | TOKEN_IMPERSONATE,
                                            *CBPD_TOKEN_TYPE, KernelMode, &opened);
    PsDereferencePrimaryToken(token);
    if (NT_SUCCESS(status))
        *handle = (uint64_t) (ULONG_PTR) opened;
    return cbpd_error_of(status);
}

uint32_t cbpd_deliveries_token(struct cbpd_controller *controller, const struct cbp_kernel_token *request,
                               uint64_t *handle)
{
    PEPROCESS originator = NULL;
    struct cbpd_message *message;
    KIRQL irql = cbpd_outboxes_lock();
    uint32_t error = find(controller, request->session_id, request->header.id, &message);
    if (error == 0)
        originator = message->pending->originator;
    if (originator)
        ObReferenceObject(originator);
    cbpd_outboxes_unlock(irql);
    if (!originator)
        return error != 0 ? error : CBP_ERROR_NOT_FOUND;
    error = open_token(originator, handle);
    ObDereferenceObject(originator);
    return error;
}
