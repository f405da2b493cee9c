/* Lets an operation wait for the answers of the sessions that were asked. Each wait is bounded: by the deadline
 * of each message, by the heartbeat of its session, and by the end of the session or of its controller. It goes
 * in slices, so that a deadline that was moved, and a heartbeat that has stopped, are noticed. */
#include "cbp_message_check.h"
#include "cbp_time.h"
#include "outbox.h"

enum { SLICE_MS = 250, NS_PER_UNIT = 100 /* of the system's time */ };

/* ---- Sending ---- */

struct cbpd_pending *cbpd_pending_create(void)
{
    struct cbpd_pending *pending = cbpd_pool_allocate(sizeof *pending);
    if (pending)
        KeInitializeEvent(&pending->event, SynchronizationEvent, FALSE);
    return pending;
}

/* Keeps the originator from being forgotten, so that its id cannot become that of another process. */
static void note_originator(struct cbpd_pending *pending, uint32_t pid)
{
    PEPROCESS process;
    if (pending->originator || pid == 0)
        return;
    if (NT_SUCCESS(PsLookupProcessByProcessId((HANDLE) (ULONG_PTR) pid, &process)))
        pending->originator = process;
}

static struct cbpd_message *make_message(struct cbpd_pending *pending, struct cbp_event_message *bytes)
{
    struct cbpd_message *message = cbpd_pool_allocate(sizeof *message);
    if (!message)
        return NULL;
    message->bytes = bytes;
    message->pending = pending;
    message->deadline_ns = bytes->header.deadline_ns;
    message->reference_count = 1;
    if (pending)
        message->answer = pending->count;
    return message;
}

/* The operation waits for one message more. With the lock. */
static void await(struct cbpd_pending *pending, struct cbpd_message *message, uint32_t place,
                  const struct cbpd_answerable *answerable)
{
    struct cbpd_answer *answer = &pending->answers[pending->count];
    memset(answer, 0, sizeof *answer);
    answer->place = place;
    answer->answerable = *answerable;
    memcpy(answer->items, cbp_event_items(message->bytes), sizeof answer->items);
    pending->messages[pending->count++] = message;
    pending->unsettled_count++;
}

static bool put(struct cbpd_pending *pending, uint32_t place, struct cbpd_message *message,
                const struct cbpd_answerable *answerable)
{
    KIRQL irql = cbpd_outboxes_lock();
    struct cbpd_outbox *outbox = cbpd_outbox_at(place);
    bool is_put = outbox && cbpd_outbox_put(outbox, message);
    if (is_put && pending)
        await(pending, message, place, answerable);
    if (is_put)
        cbpd_outbox_match(outbox);
    cbpd_outboxes_unlock(irql);
    return is_put;
}

bool cbpd_pending_send(struct cbpd_pending *pending, uint32_t place, struct cbp_event_message *bytes,
                       const struct cbpd_answerable *answerable)
{
    struct cbpd_message *message = NULL;
    if (pending)
        note_originator(pending, bytes->originator_process_id);
    if (!pending || pending->count < CBP_SESSION_MAX)
        message = make_message(pending, bytes);
    if (!message) {
        cbpd_pool_free(bytes);
        return false;
    }
    if (put(pending, place, message, answerable))
        return true;
    cbpd_message_release(message);
    return false;
}

/* ---- Waiting ---- */

/* The deadline has passed, or nobody is there to answer. With the lock. */
static void expire(struct cbpd_message *message)
{
    struct cbpd_outbox *outbox = message->outbox;
    if (message->state == CBPD_HELD)
        outbox->expired_ids[outbox->expired_next++ % CBPD_EXPIRED_IDS] = message->bytes->header.id;
    else
        message->is_overtaken = true;
    cbpd_settle(message, CBPD_EXPIRED);
}

/* Gives up what is overdue. Returns after how many nanoseconds to look again. With the lock. */
static uint64_t look(struct cbpd_pending *pending, uint64_t now_ns)
{
    uint64_t slice_ns = SLICE_MS * CBP_NS_PER_MS;
    for (uint32_t i = 0; i < pending->count; i++) {
        struct cbpd_message *message = pending->messages[i];
        uint64_t deadline_ns = message->deadline_ns;
        if (message->state > CBPD_HELD)
            continue;
        if ((deadline_ns != 0 && now_ns >= deadline_ns) || cbpd_outbox_is_silent(message->outbox, now_ns))
            expire(message);
        else if (deadline_ns != 0 && deadline_ns - now_ns < slice_ns)
            slice_ns = deadline_ns - now_ns;
    }
    return slice_ns;
}

uint32_t cbpd_pending_wait(struct cbpd_pending *pending, const struct cbpd_answer **answers)
{
    cbpd_deliveries_flush();
    for (;;) {
        LARGE_INTEGER timeout;
        uint64_t now = cbpd_now_ns();
        KIRQL irql = cbpd_outboxes_lock();
        uint64_t slice_ns = look(pending, now);
        bool is_over = pending->unsettled_count == 0;
        cbpd_outboxes_unlock(irql);
        if (is_over)
            break;
        timeout.QuadPart = -(LONGLONG) (slice_ns / NS_PER_UNIT) - 1; /* from now */
        (void) KeWaitForSingleObject(&pending->event, Executive, KernelMode, FALSE, &timeout);
    }
    *answers = pending->answers;
    return pending->count;
}

/* ---- Afterwards ---- */

/* No receive has seen the message before its deadline. The session is told of it now, and nothing waits. */
static void tell_late(struct cbpd_message *message, uint32_t place)
{
    struct cbp_event_item *items = cbp_event_items(message->bytes);
    for (uint32_t i = 0; i < message->bytes->item_count; i++)
        if ((items[i].flags & CBP_EVENT_FLAG_DECIDED_BY_RULE) == 0)
            items[i].flags = (items[i].flags & ~(uint32_t) (CBP_EVENT_FLAG_HELD | CBP_EVENT_FLAG_REFUSABLE)) |
                             CBP_EVENT_FLAG_TIMED_OUT;
    message->bytes->header.deadline_ns = 0;
    message->pending = NULL;
    message->is_overtaken = false;
    KIRQL irql = cbpd_outboxes_lock();
    struct cbpd_outbox *outbox = cbpd_outbox_at(place);
    bool is_same = outbox && outbox->serial == message->outbox_serial;
    bool is_put = is_same && cbpd_outbox_put(outbox, message);
    if (is_put)
        cbpd_outbox_match(outbox);
    else if (is_same)
        outbox->counts[CBPD_COUNT_LOST] += message->bytes->item_count;
    cbpd_outboxes_unlock(irql);
    if (!is_put)
        cbpd_message_release(message);
}

/* Messages that were sent and never waited for have no answer any more. */
static void give_up(struct cbpd_pending *pending)
{
    KIRQL irql = cbpd_outboxes_lock();
    for (uint32_t i = 0; i < pending->count; i++)
        if (pending->messages[i]->state <= CBPD_HELD)
            cbpd_settle(pending->messages[i], CBPD_LET_GO);
    cbpd_outboxes_unlock(irql);
}

void cbpd_pending_destroy(struct cbpd_pending *pending)
{
    if (!pending)
        return;
    give_up(pending);
    for (uint32_t i = 0; i < pending->count; i++) {
        if (pending->messages[i]->is_overtaken)
            tell_late(pending->messages[i], pending->answers[i].place);
        else
            cbpd_message_release(pending->messages[i]);
    }
    if (pending->originator)
        ObDereferenceObject(pending->originator);
    cbpd_pool_free(pending);
    cbpd_deliveries_flush();
}
