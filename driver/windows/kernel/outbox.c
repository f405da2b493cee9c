/* Keeps the outboxes: one for each session, with its messages from their sending until they are answered, given
 * up or, if nothing waits for them, received. Knows no request of the system and no operation. */
#include "outbox.h"

#include "cbp_atomic.h"

static struct {
    KSPIN_LOCK lock;
    struct cbpd_outbox *outboxes[CBP_SESSION_MAX]; /* by the session's place in the policy */
    uint64_t last_id, last_serial;
} all;

void cbpd_outboxes_open(void)
{
    KeInitializeSpinLock(&all.lock);
}

KIRQL cbpd_outboxes_lock(void)
{
    KIRQL irql;
    KeAcquireSpinLock(&all.lock, &irql);
    return irql;
}

void cbpd_outboxes_unlock(KIRQL irql)
{
    KeReleaseSpinLock(&all.lock, irql);
}

struct cbpd_outbox *cbpd_outbox_at(uint32_t place)
{
    return place < CBP_SESSION_MAX ? all.outboxes[place] : NULL;
}

struct cbpd_outbox *cbpd_outbox_of(const struct cbpd_controller *controller, uint32_t session_id)
{
    for (uint32_t place = 0; place < CBP_SESSION_MAX; place++) {
        struct cbpd_outbox *outbox = all.outboxes[place];
        if (outbox && outbox->controller == controller && outbox->session_id == session_id)
            return outbox;
    }
    return NULL;
}

/* ---- Opening and closing ---- */

uint32_t cbpd_deliveries_open(struct cbpd_controller *controller, uint32_t session_id, uint32_t place)
{
    struct cbpd_outbox *outbox = cbpd_pool_allocate(sizeof *outbox);
    if (!outbox)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    outbox->controller = controller;
    outbox->session_id = session_id;
    outbox->place = place;
    outbox->heartbeat_ns = cbpd_now_ns();
    InitializeListHead(&outbox->queue);
    InitializeListHead(&outbox->receives);
    for (uint32_t i = 0; i < CBPD_HELD_BUCKETS; i++)
        InitializeListHead(&outbox->held[i]);
    KIRQL irql = cbpd_outboxes_lock();
    outbox->serial = ++all.last_serial;
    all.outboxes[place] = outbox;
    cbpd_outboxes_unlock(irql);
    return 0;
}

void cbpd_deliveries_limit_silence(uint32_t place, uint64_t limit_ns)
{
    KIRQL irql = cbpd_outboxes_lock();
    struct cbpd_outbox *outbox = cbpd_outbox_at(place);
    if (outbox)
        outbox->silence_limit_ns = limit_ns;
    cbpd_outboxes_unlock(irql);
}

/* Operations that wait go on. */
static void let_go(LIST_ENTRY *list)
{
    for (LIST_ENTRY *entry = list->Flink, *next; entry != list; entry = next) {
        struct cbpd_message *message = CONTAINING_RECORD(entry, struct cbpd_message, link);
        next = entry->Flink;
        if (message->pending)
            cbpd_settle(message, CBPD_LET_GO);
    }
}

/* What nothing waits for is freed. */
static void forget(LIST_ENTRY *list)
{
    while (!IsListEmpty(list)) {
        struct cbpd_message *message = CONTAINING_RECORD(list->Flink, struct cbpd_message, link);
        cbpd_outbox_remove(message);
        cbpd_message_release(message);
    }
}

struct cbpd_outbox *cbpd_outbox_take(uint32_t place)
{
    struct cbpd_outbox *outbox = cbpd_outbox_at(place);
    if (!outbox)
        return NULL;
    all.outboxes[place] = NULL;
    let_go(&outbox->queue);
    for (uint32_t i = 0; i < CBPD_HELD_BUCKETS; i++)
        let_go(&outbox->held[i]);
    return outbox;
}

void cbpd_outbox_free(struct cbpd_outbox *outbox)
{
    if (!outbox)
        return;
    forget(&outbox->queue);
    for (uint32_t i = 0; i < CBPD_HELD_BUCKETS; i++)
        forget(&outbox->held[i]);
    cbpd_pool_free(outbox);
}

/* ---- Messages ---- */

static uint64_t size_of(const struct cbpd_message *message)
{
    return sizeof *message + message->bytes->header.size;
}

static bool has_room(const struct cbpd_outbox *outbox, const struct cbpd_message *message)
{
    if (message->pending)
        return outbox->asked_bytes + size_of(message) <= CBPD_ASKED_BYTES_MAX;
    return outbox->told_count < CBPD_TOLD_MAX && outbox->told_bytes + size_of(message) <= CBPD_TOLD_BYTES_MAX;
}

bool cbpd_outbox_put(struct cbpd_outbox *outbox, struct cbpd_message *message)
{
    if (!has_room(outbox, message))
        return false;
    message->outbox = outbox;
    message->outbox_serial = outbox->serial;
    message->state = CBPD_QUEUED;
    message->bytes->header.id = ++all.last_id;
    if (message->pending) {
        outbox->asked_bytes += size_of(message);
    } else {
        outbox->told_count++;
        outbox->told_bytes += size_of(message);
    }
    outbox->queue_count++;
    InsertTailList(&outbox->queue, &message->link);
    return true;
}

void cbpd_outbox_remove(struct cbpd_message *message)
{
    struct cbpd_outbox *outbox = message->outbox;
    RemoveEntryList(&message->link);
    outbox->queue_count -= message->state == CBPD_QUEUED;
    if (message->pending) {
        outbox->asked_bytes -= size_of(message);
    } else {
        outbox->told_count--;
        outbox->told_bytes -= size_of(message);
    }
}

void cbpd_settle(struct cbpd_message *message, enum cbpd_message_state state)
{
    struct cbpd_pending *pending = message->pending;
    struct cbpd_answer *answer = &pending->answers[message->answer];
    cbpd_outbox_remove(message);
    message->state = state;
    answer->is_answered = state == CBPD_ANSWERED;
    answer->is_let_go = state == CBPD_LET_GO;
    if (--pending->unsettled_count == 0)
        (void) KeSetEvent(&pending->event, IO_NO_INCREMENT, FALSE);
}

struct cbpd_message *cbpd_held_message(struct cbpd_outbox *outbox, uint64_t id)
{
    LIST_ENTRY *bucket = &outbox->held[id % CBPD_HELD_BUCKETS];
    for (LIST_ENTRY *entry = bucket->Flink; entry != bucket; entry = entry->Flink) {
        struct cbpd_message *message = CONTAINING_RECORD(entry, struct cbpd_message, link);
        if (message->bytes->header.id == id)
            return message;
    }
    return NULL;
}

void cbpd_message_release(struct cbpd_message *message)
{
    if (cbp_subtract_u32(&message->reference_count, 1) > 1)
        return;
    cbpd_pool_free(message->bytes);
    cbpd_pool_free(message);
}

/* ---- Heartbeat and counts ---- */

bool cbpd_outbox_is_silent(const struct cbpd_outbox *outbox, uint64_t now_ns)
{
    return now_ns > outbox->heartbeat_ns && now_ns - outbox->heartbeat_ns > outbox->silence_limit_ns;
}

bool cbpd_session_is_silent(uint32_t place, uint64_t now_ns)
{
    KIRQL irql = cbpd_outboxes_lock();
    const struct cbpd_outbox *outbox = cbpd_outbox_at(place);
    bool is_silent = !outbox || cbpd_outbox_is_silent(outbox, now_ns);
    cbpd_outboxes_unlock(irql);
    return is_silent;
}

void cbpd_count(uint32_t place, enum cbpd_count what, uint32_t more)
{
    KIRQL irql = cbpd_outboxes_lock();
    struct cbpd_outbox *outbox = cbpd_outbox_at(place);
    if (outbox)
        outbox->counts[what] += more;
    cbpd_outboxes_unlock(irql);
}

uint32_t cbpd_deliveries_beat(struct cbpd_controller *controller, uint32_t session_id,
                              struct cbp_kernel_counts *counts)
{
    uint64_t now = cbpd_now_ns();
    KIRQL irql = cbpd_outboxes_lock();
    struct cbpd_outbox *outbox = cbpd_outbox_of(controller, session_id);
    if (outbox) {
        outbox->heartbeat_ns = now;
        counts->lost = outbox->counts[CBPD_COUNT_LOST];
        counts->timed_out = outbox->counts[CBPD_COUNT_TIMED_OUT];
        counts->refused = outbox->counts[CBPD_COUNT_REFUSED];
        counts->decided = outbox->counts[CBPD_COUNT_DECIDED];
        counts->backlog = outbox->queue_count;
    }
    cbpd_outboxes_unlock(irql);
    return outbox ? 0 : CBP_ERROR_NOT_FOUND;
}
