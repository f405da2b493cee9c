/* Implements channel_deliveries.h, the core's side of cbp_channel.h: takes slots from a session's ring, reads
 * and answers them. The other side is a process of its own, which may be damaged or taken over: nothing in the
 * shared memory is believed unchecked, and nothing is read from it twice. */
#include "channel_deliveries.h"

#include "cbp_atomic.h"
#include "errors.h"
#include "event_message.h"

#include <string.h>

#define RING_SIZE (uint32_t)(sizeof((struct cbp_channel_session *) 0)->ring / sizeof(uint32_t))

static uint32_t backlog(const struct cbpi_channel_session *session)
{
    struct cbp_channel_session *place = cbpi_channel_place(session);
    uint32_t head = cbp_load_u32(&place->head);
    return cbp_load_u32(&place->tail) - head + cbp_load_u32(&session->turns.ready_count);
}

/* ---- What a slot is about ---- */

static struct cbp_slot *slot_of(const void *channel, uint32_t number)
{
    return cbp_channel_slot((struct cbp_channel *) (uintptr_t) channel, number);
}

static void look(const void *channel, uint32_t number, struct cbpi_turn_subject *subject)
{
    struct cbp_slot *slot = slot_of(channel, number);
    const struct cbp_event_item *items = cbp_event_items(&slot->message);
    *subject = (struct cbpi_turn_subject){.process_id = cbp_load_relaxed_u32(&slot->message.process_id),
                                          .thread_id = cbp_load_relaxed_u32(&slot->message.thread_id)};
    for (uint32_t i = 0; i < CBP_BATCH_MAX; i++) { /* all is 0 behind the last one */
        subject->types |= cbp_load_relaxed_u32(&items[i].type);
        subject->flags |= cbp_load_relaxed_u32(&items[i].flags);
    }
}

static bool is_expired(const void *channel, uint32_t number, uint64_t now_ns)
{
    struct cbp_slot *slot = slot_of(channel, number);
    uint64_t deadline_ns = cbp_load_u64(&slot->deadline_ns);
    return deadline_ns != 0 && now_ns >= deadline_ns && cbp_load_u32(&slot->decision) == CBP_DECISION_EXPIRED;
}

_Static_assert(CBP_SLOT_COUNT <= CBPI_TURNS_SLOT_MAX, "turns know all slots");
const struct cbpi_turn_slots cbpi_channel_turn_slots = {.look = look, .is_expired = is_expired};

/* ---- Taking slots ---- */

/* Takes the oldest entry, if there is one. The entry is read before it is taken: until head moves on the
 * driver cannot have come round the ring to it. */
static bool try_take(struct cbp_channel_session *place, uint32_t *slot)
{
    uint32_t head = cbp_load_u32(&place->head);
    while (head != cbp_load_u32(&place->tail)) {
        uint32_t number = cbp_load_relaxed_u32(&place->ring[head % RING_SIZE]);
        if (cbp_compare_swap_u32(&place->head, &head, head + 1)) {
            *slot = number;
            return true;
        }
    }
    return false;
}

/* Takes the next of the ring's entries whose turn it is; the entries before it wait with the workers that
 * they follow. The order is locked. */
static bool take_from_ring(struct cbpi_channel_session *session, struct cbpi_turn *turn, uint32_t *slot)
{
    while (try_take(cbpi_channel_place(session), slot)) {
        /* A sound driver has no slot twice. */
        if (*slot >= CBP_SLOT_COUNT || session->turns.is_queued[*slot]) {
            *slot = CBP_SLOT_COUNT; /* there is none such */
            return true;
        }
        if (cbpi_turns_begin(&session->turns, turn, *slot))
            return true;
    }
    return false;
}

static bool take_turn(struct cbpi_channel_session *session, struct cbpi_turn *turn, uint32_t *slot)
{
    if (!turn->is_on && backlog(session) == 0)
        return false;
    cbpi_mutex_lock(&session->order);
    bool is_taken = cbpi_turns_end(&session->turns, turn, slot);
    while (!is_taken && cbpi_turns_take_ready(&session->turns, slot))
        is_taken = cbpi_turns_begin(&session->turns, turn, *slot);
    if (!is_taken)
        is_taken = take_from_ring(session, turn, slot);
    cbpi_mutex_unlock(&session->order);
    return is_taken;
}

static uint32_t leave_turns(struct cbpi_channel_session *session, struct cbpi_turn *turn)
{
    cbpi_mutex_lock(&session->order);
    cbpi_turns_leave(&session->turns, turn);
    cbpi_mutex_unlock(&session->order);
    return CBP_ERROR_OPERATION_ABORTED;
}

static void wake(struct cbpi_channel_session *session, uint32_t bell, uint32_t count)
{
    struct cbpi_link *link = session->base.link;
    link->ops->bell_wake(link, bell, count);
}

static void wake_one(struct cbpi_channel_session *session)
{
    struct cbp_channel_session *place = cbpi_channel_place(session);
    if (cbp_load_u32(&place->sleepers) > 0)
        wake(session, session->base.session_id, 1);
}

/* Messages without a waiting task may have been left to a worker that is now busy with another. */
void cbpi_channel_tend(struct cbpi_channel_session *session)
{
    if (cbp_load_u32(&session->turns.waiting_count) > 0) {
        cbpi_mutex_lock(&session->order);
        cbpi_turns_expire(&session->turns, cbpi_now_ns());
        cbpi_mutex_unlock(&session->order);
    }
    if (backlog(session) > 0)
        wake_one(session);
}

/* Sleeps until the bell rings; gives true if that was for this sleeper. Either the driver sees the sleeper
 * and wakes it, or the sleeper sees the entry: each writes its word before it reads the other's. */
static bool sleep_on_bell(struct cbpi_channel_session *session, uint32_t bell, uint64_t timeout_ns)
{
    struct cbp_channel_session *place = cbpi_channel_place(session);
    struct cbpi_link *link = session->base.link;
    bool woken = false;
    cbp_add_u32(&place->sleepers, 1);
    if (backlog(session) == 0 && !cbp_load_u32(&session->is_closed))
        woken = link->ops->bell_wait(link, session->base.session_id, bell, timeout_ns);
    cbp_subtract_u32(&place->sleepers, 1);
    return woken;
}

/* Sleeps for a short time, from which messages without a waiting task need not wake. */
static bool doze_on_bell(struct cbpi_channel_session *session, uint32_t bell)
{
    struct cbp_channel_session *place = cbpi_channel_place(session);
    cbp_store_u32(&session->has_dozed, 1);
    cbp_add_u32(&place->dozers, 1);
    bool woken = sleep_on_bell(session, bell, CBP_DOZE_MS * CBP_NS_PER_MS);
    cbp_subtract_u32(&place->dozers, 1);
    return woken;
}

/* A wake-up is for one message, but the worker takes the oldest, and that may be one for which no worker was
 * woken because of a dozer: then the next worker has to come for the other. */
static void pass_wake_up_on(struct cbpi_channel_session *session)
{
    if (cbp_load_u32(&session->has_dozed) && backlog(session) > 0)
        wake_one(session);
}

/* Ends the turn of a worker, waits for a slot whose turn it is, and takes it. With doze set the wait begins
 * with a short sleep, from which messages without a waiting task need not wake. CBP_ERROR_INVALID_DATA: there
 * is no such slot. */
static uint32_t take(struct cbpi_channel_session *session, struct cbpi_turn *turn, uint32_t timeout_ms,
                     uint32_t doze, uint32_t *slot)
{
    struct cbp_channel_session *place = cbpi_channel_place(session);
    uint64_t deadline_ns = 0;
    bool woken = false;
    for (;;) {
        uint32_t bell = cbp_load_u32(&place->bell);
        if (cbp_load_u32(&session->is_closed))
            return leave_turns(session, turn);
        if (take_turn(session, turn, slot)) {
            if (woken)
                pass_wake_up_on(session);
            return *slot < CBP_SLOT_COUNT ? 0 : CBP_ERROR_INVALID_DATA;
        }
        if (cbp_load_u32(&session->base.link->is_dead))
            return CBP_ERROR_BROKEN_PIPE;
        if (timeout_ms == 0)
            return CBP_ERROR_TIMEOUT;
        if (doze) {
            doze = 0;
            woken = doze_on_bell(session, bell);
            continue;
        }
        uint64_t left_ns = UINT64_MAX;
        if (timeout_ms != CBPI_WAIT_FOREVER) {
            uint64_t now_ns = cbpi_now_ns();
            if (deadline_ns == 0)
                deadline_ns = now_ns + timeout_ms * CBP_NS_PER_MS;
            if (now_ns >= deadline_ns)
                return CBP_ERROR_TIMEOUT;
            left_ns = deadline_ns - now_ns;
        }
        woken = sleep_on_bell(session, bell, left_ns);
    }
}

/* ---- Deliveries ---- */

/* Copies the message of a taken slot out of the shared memory, checks the copy and decodes it. The event
 * grows from the block's start, and the private copy of the message stands at its end. Keeps the slot. */
static uint32_t read_message(struct cbpi_channel_session *session, uint32_t number,
                             struct cbpi_delivery *delivery)
{
    struct cbp_slot *slot = cbp_channel_slot(session->channel, number);
    uint32_t size = cbp_load_relaxed_u32(&slot->message.header.size);
    if (size < sizeof(struct cbp_event_message) || size > cbp_channel_message_capacity(number))
        return CBP_ERROR_INVALID_DATA;
    uint32_t decision = cbp_load_u32(&slot->decision);
    uint32_t copy_size = (size + 7u) & ~7u;
    if (delivery->capacity < 2 * copy_size) {
        delivery->capacity = 2 * copy_size;
        return CBP_ERROR_INSUFFICIENT_BUFFER;
    }
    unsigned char *at = (unsigned char *) delivery->event + delivery->capacity - copy_size;
    struct cbp_event_message *message = (struct cbp_event_message *) (void *) at;
    memcpy(message, &slot->message, size);
    if (cbpd_message_check(message, size, CBP_MESSAGE_EVENT) != 0 ||
        message->session_id != session->base.session_id)
        return CBP_ERROR_INVALID_DATA;
    uint32_t wanted = ((cbpi_event_decoded_size(message) + 7u) & ~7u) + copy_size;
    if (delivery->capacity < wanted) {
        delivery->capacity = wanted;
        return CBP_ERROR_INSUFFICIENT_BUFFER;
    }
    cbpi_event_decode(message, delivery);
    delivery->slot = number;
    delivery->nobody_waits = true;
    for (uint32_t i = 0; i < delivery->count; i++) {
        uint32_t *flags = &delivery->items[i].flags;
        if ((*flags & CBP_EVENT_FLAG_HELD) == 0)
            continue;
        delivery->nobody_waits = false;
        *flags |= decision == CBP_DECISION_EXPIRED ? CBP_EVENT_FLAG_TIMED_OUT : 0;
    }
    delivery->event->flags = delivery->items[0].flags;
    return 0;
}

/* Lets the helper look at the answers. */
static void ring_answer_bell(struct cbpi_channel_session *session)
{
    cbp_add_u32(&session->channel->answer_bell, 1);
    if (cbp_load_u32(&session->channel->driver_sleeping))
        wake(session, CBPI_BELL_OF_HELPER, 1);
}

static void push_answer(struct cbpi_channel_session *session, uint32_t number)
{
    struct cbp_channel *channel = session->channel;
    struct cbp_slot *slot = cbp_channel_slot(channel, number);
    uint32_t first = cbp_load_relaxed_u32(&channel->answers);
    do {
        cbp_store_relaxed_u32(&slot->next, first);
    } while (!cbp_compare_swap_u32(&channel->answers, &first, number + 1));
    ring_answer_bell(session);
}

static uint32_t decide(struct cbp_slot *slot)
{
    uint32_t open = CBP_DECISION_OPEN;
    return cbp_compare_swap_u32(&slot->decision, &open, CBP_DECISION_ANSWERED) ? 0 : CBP_ERROR_TIMEOUT;
}

/* Gives a slot back as it came: nothing is refused, and nothing taken away. */
static void give_back(struct cbpi_channel_session *session, uint32_t number)
{
    decide(cbp_channel_slot(session->channel, number));
    push_answer(session, number);
}

uint32_t cbpi_channel_receive(struct cbpi_transport *transport, struct cbpi_delivery *delivery,
                              uint32_t timeout_ms, uint32_t *pending)
{
    struct cbpi_channel_session *session = cbpi_channel_session(transport);
    uint32_t slot = *pending - 1;
    uint32_t error = *pending ? 0 : take(session, delivery->turn, timeout_ms, delivery->nobody_waits, &slot);
    if (error != 0)
        return error;
    error = read_message(session, slot, delivery);
    *pending = error == CBP_ERROR_INSUFFICIENT_BUFFER ? slot + 1 : 0;
    if (error == CBP_ERROR_INVALID_DATA)
        give_back(session, slot);
    return error;
}

void cbpi_channel_skip(struct cbpi_transport *transport, uint32_t *pending)
{
    give_back(cbpi_channel_session(transport), *pending - 1);
    *pending = 0;
}

uint32_t cbpi_channel_backlog(struct cbpi_transport *transport)
{
    return backlog(cbpi_channel_session(transport));
}

uint32_t cbpi_channel_answer(struct cbpi_transport *transport, const struct cbpi_delivery *delivery)
{
    struct cbpi_channel_session *session = cbpi_channel_session(transport);
    struct cbp_slot *slot = cbp_channel_slot(session->channel, delivery->slot);
    struct cbp_event_item *items = cbp_event_items(&slot->message);
    bool is_open = cbp_load_u32(&slot->decision) == CBP_DECISION_OPEN;
    for (uint32_t i = 0; is_open && i < delivery->count; i++) {
        cbp_store_relaxed_u32(&items[i].result_code, delivery->items[i].result_code);
        cbp_store_relaxed_u32(&items[i].desired_access, delivery->items[i].desired_access);
    }
    uint32_t error = decide(slot);
    push_answer(session, delivery->slot);
    return delivery->nobody_waits ? 0 : error;
}

uint32_t cbpi_channel_check(struct cbpi_transport *transport, const struct cbpi_delivery *delivery)
{
    struct cbp_slot *slot = cbp_channel_slot(cbpi_channel_session(transport)->channel, delivery->slot);
    bool is_late = !delivery->nobody_waits && cbp_load_u32(&slot->decision) == CBP_DECISION_EXPIRED;
    return is_late ? CBP_ERROR_TIMEOUT : 0;
}

uint32_t cbpi_channel_extend(struct cbpi_transport *transport, const struct cbpi_delivery *delivery,
                             uint32_t timeout_ms)
{
    struct cbpi_channel_session *session = cbpi_channel_session(transport);
    struct cbp_slot *slot = cbp_channel_slot(session->channel, delivery->slot);
    uint32_t open = CBP_DECISION_OPEN;
    if (delivery->nobody_waits)
        return 0;
    if (!cbp_compare_swap_u32(&slot->decision, &open, CBP_DECISION_RESETTING))
        return CBP_ERROR_TIMEOUT;
    cbp_store_u64(&slot->deadline_ns, timeout_ms ? cbpi_now_ns() + timeout_ms * CBP_NS_PER_MS : 0);
    cbp_store_u32(&slot->decision, CBP_DECISION_OPEN);
    ring_answer_bell(session); /* the driver may be asleep until the old deadline, or for ever */
    return 0;
}

void cbpi_channel_wake(struct cbpi_channel_session *session)
{
    struct cbp_channel_session *place = cbpi_channel_place(session);
    cbp_add_u32(&place->bell, 1);
    wake(session, session->base.session_id, UINT32_MAX);
}

void cbpi_channel_drain(struct cbpi_channel_session *session)
{
    uint32_t number;
    while (cbpi_turns_take_ready(&session->turns, &number))
        give_back(session, number);
    for (uint32_t i = 0; i < CBP_SLOT_COUNT && try_take(cbpi_channel_place(session), &number); i++)
        if (number < CBP_SLOT_COUNT)
            give_back(session, number);
}
