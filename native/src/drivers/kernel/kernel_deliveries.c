/* Implements kernel_deliveries.h. Every worker waits at the device, and puts what it gets there into its place
 * in the order; then it takes what comes next, which may be another message. What the driver sends is checked,
 * though it could do worse things than to send a wrong message: it may be of another version, or damaged. */
#include "kernel_deliveries.h"

#include "cbp_atomic.h"
#include "errors.h"
#include "event_message.h"

#include <string.h>

#define LAST_WAIT_MS 3000u /* for receives that were cancelled */

static bool is_closed(const struct cbpi_kernel_deliveries *deliveries)
{
    return cbp_load_u32(&deliveries->is_closed);
}

static struct cbpi_kernel_slot *slot_of(const struct cbpi_kernel_deliveries *deliveries, uint32_t index)
{
    return deliveries->slots.slots[index];
}

/* ---- What a slot is about ---- */

static void look(const void *memory, uint32_t index, struct cbpi_turn_subject *subject)
{
    const struct cbpi_kernel_slots *slots = memory;
    const struct cbp_event_message *message = cbpi_kernel_slot_message(slots->slots[index]);
    const struct cbp_event_item *items = cbp_event_items_const(message);
    *subject = (struct cbpi_turn_subject){.process_id = message->process_id, .thread_id = message->thread_id};
    for (uint32_t i = 0; i < CBP_BATCH_MAX; i++) { /* all is 0 behind the last one */
        subject->types |= items[i].type;
        subject->flags |= items[i].flags;
    }
}

static bool is_past(const struct cbpi_kernel_slot *slot, uint64_t now_ns)
{
    uint64_t deadline_ns = cbp_load_u64(&slot->deadline_ns);
    return deadline_ns != 0 && now_ns >= deadline_ns;
}

static bool is_expired(const void *memory, uint32_t index, uint64_t now_ns)
{
    const struct cbpi_kernel_slots *slots = memory;
    return is_past(slots->slots[index], now_ns);
}

static const struct cbpi_turn_slots turn_slots = {.look = look, .is_expired = is_expired};

/* ---- Slots that are given back ---- */

static void keep_dead(struct cbpi_kernel_deliveries *deliveries)
{
    cbp_store_u32(&deliveries->is_dead, 1);
    cbpi_kernel_device_wake(deliveries->way.device);
}

/* Keeps receives waiting. The order is locked. */
static void fill(struct cbpi_kernel_deliveries *deliveries)
{
    bool is_over = is_closed(deliveries) || cbp_load_u32(&deliveries->is_dead);
    if (!is_over && cbpi_kernel_slots_fill(&deliveries->slots) != 0)
        keep_dead(deliveries);
}

static void free_slot(struct cbpi_kernel_deliveries *deliveries, struct cbpi_kernel_slot *slot)
{
    cbpi_mutex_lock(&deliveries->order);
    cbpi_kernel_slots_give_back(&deliveries->slots, slot);
    fill(deliveries);
    cbpi_mutex_unlock(&deliveries->order);
}

/* Lets the operation go on as it came: nothing is refused, and nothing taken away. A message that has not
 * come whole is answered, too, so that the driver forgets it. */
static void give_back(struct cbpi_kernel_deliveries *deliveries, struct cbpi_kernel_slot *slot)
{
    const struct cbp_event_message *message = cbpi_kernel_slot_message(slot);
    if (slot->receive.size >= sizeof *message)
        (void) cbpi_kernel_answer(deliveries->way, message->header.id, cbp_event_items_const(message),
                                  message->item_count <= CBP_BATCH_MAX ? message->item_count : 0);
    free_slot(deliveries, slot);
}

/* ---- Counts ---- */

/* Asks what the driver has counted. After the close the last counts stand. */
static uint32_t refresh(struct cbpi_kernel_deliveries *deliveries)
{
    struct cbp_kernel_counts counts;
    uint32_t error =
        is_closed(deliveries) ? CBP_ERROR_OPERATION_ABORTED : cbpi_kernel_beat(deliveries->way, &counts);
    if (error != 0)
        return error;
    cbpi_mutex_lock(&deliveries->counts_mutex);
    deliveries->counts = counts;
    cbpi_mutex_unlock(&deliveries->counts_mutex);
    return 0;
}

/* ---- Taking messages ---- */

/* Says whether a slot has a message, or the fixed part of one that the driver still has. */
static bool is_sound(const struct cbpi_kernel_deliveries *deliveries, struct cbpi_kernel_slot *slot)
{
    const struct cbp_event_message *message = cbpi_kernel_slot_message(slot);
    if (slot->receive.error == 0)
        return cbpd_message_check(message, slot->receive.size, CBP_MESSAGE_EVENT) == 0 &&
               message->session_id == deliveries->way.session_id;
    return slot->receive.size == sizeof *message && message->header.type == CBP_MESSAGE_EVENT &&
           message->header.size > sizeof slot->buffer && message->header.size <= CBP_KERNEL_MESSAGE_SIZE_MAX;
}

static bool is_held(const struct cbp_event_message *message)
{
    const struct cbp_event_item *items = cbp_event_items_const(message);
    uint32_t flags = 0;
    for (uint32_t i = 0; i < CBP_BATCH_MAX; i++)
        flags |= items[i].flags;
    return (flags & CBP_EVENT_FLAG_HELD) != 0;
}

/* Takes the next of the messages that have come whose turn it is; those before it wait with the workers that
 * they follow. A malformed one is taken at once: it is in no order. The order is locked. */
static bool take_arrived(struct cbpi_kernel_deliveries *deliveries, struct cbpi_turn *turn, uint32_t *index)
{
    struct cbpi_kernel_slot *slot;
    while ((slot = cbpi_kernel_slots_take(&deliveries->slots))) {
        const struct cbp_event_message *message = cbpi_kernel_slot_message(slot);
        *index = slot->index;
        if (!is_sound(deliveries, slot))
            return true;
        cbp_store_u64(&slot->deadline_ns, is_held(message) ? message->header.deadline_ns : 0);
        if (cbpi_turns_begin(&deliveries->turns, turn, slot->index))
            return true;
    }
    return false;
}

/* Ends the turn of a worker and takes the next message for it. What else could be taken needs another worker.
 */
static bool take_turn(struct cbpi_kernel_deliveries *deliveries, struct cbpi_turn *turn, uint32_t *index)
{
    struct cbpi_turns *turns = &deliveries->turns;
    cbpi_mutex_lock(&deliveries->order);
    bool is_taken = cbpi_turns_end(turns, turn, index);
    while (!is_taken && cbpi_turns_take_ready(turns, index))
        is_taken = cbpi_turns_begin(turns, turn, *index);
    if (!is_taken)
        is_taken = take_arrived(deliveries, turn, index);
    bool has_more = cbpi_kernel_slots_has_next(&deliveries->slots) || cbp_load_u32(&turns->ready_count) > 0;
    fill(deliveries);
    cbpi_mutex_unlock(&deliveries->order);
    if (is_taken && has_more)
        cbpi_kernel_device_wake(deliveries->way.device);
    return is_taken;
}

/* The wake-up of one worker that ends wakes the next. */
static uint32_t end(struct cbpi_kernel_deliveries *deliveries, struct cbpi_turn *turn, uint32_t error)
{
    cbpi_mutex_lock(&deliveries->order);
    cbpi_turns_leave(&deliveries->turns, turn);
    cbpi_mutex_unlock(&deliveries->order);
    cbpi_kernel_device_wake(deliveries->way.device);
    return error;
}

/* Receives are cancelled when the thread that began them ends, and when the session does. */
static void ask_for_session(struct cbpi_kernel_deliveries *deliveries)
{
    if (refresh(deliveries) == CBP_ERROR_BROKEN_PIPE)
        keep_dead(deliveries);
}

static void arrive(struct cbpi_kernel_deliveries *deliveries, struct cbpi_kernel_receive *receive)
{
    uint32_t error = receive->error;
    if (error == CBP_ERROR_OPERATION_ABORTED)
        ask_for_session(deliveries);
    else if (error != 0 && error != CBP_ERROR_INSUFFICIENT_BUFFER)
        keep_dead(deliveries);
    cbpi_mutex_lock(&deliveries->order);
    cbpi_kernel_slots_arrive(&deliveries->slots, receive);
    cbpi_mutex_unlock(&deliveries->order);
}

/* Gives the ms until a time of the clock, rounded up; UINT64_MAX: no limit. */
static uint32_t left_ms(uint64_t deadline_ns)
{
    uint64_t now_ns = cbpi_now_ns();
    if (deadline_ns == UINT64_MAX)
        return CBPI_WAIT_FOREVER;
    return now_ns >= deadline_ns ? 0
                                 : (uint32_t) ((deadline_ns - now_ns + CBP_NS_PER_MS - 1) / CBP_NS_PER_MS);
}

/* Ends the turn of a worker, and waits for a message whose turn it is. */
static uint32_t take(struct cbpi_kernel_deliveries *deliveries, struct cbpi_turn *turn, uint32_t timeout_ms,
                     uint32_t *index)
{
    uint64_t deadline_ns =
        timeout_ms == CBPI_WAIT_FOREVER ? UINT64_MAX : cbpi_now_ns() + timeout_ms * CBP_NS_PER_MS;
    for (;;) {
        struct cbpi_kernel_receive *receive;
        if (is_closed(deliveries))
            return end(deliveries, turn, CBP_ERROR_OPERATION_ABORTED);
        if (take_turn(deliveries, turn, index))
            return 0;
        if (cbp_load_u32(&deliveries->is_dead))
            return end(deliveries, turn, CBP_ERROR_BROKEN_PIPE);
        uint32_t error = cbpi_kernel_device_take(deliveries->way.device, left_ms(deadline_ns), &receive);
        if (error != 0)
            return error;
        if (receive)
            arrive(deliveries, receive);
    }
}

/* ---- Reading messages ---- */

/* Marks what was too late before a handler could see it. The driver has the last word about that. */
static void mark_late(struct cbpi_kernel_deliveries *deliveries, struct cbpi_kernel_slot *slot,
                      struct cbpi_delivery *delivery)
{
    uint64_t deadline_ns, id = cbpi_kernel_slot_message(slot)->header.id;
    bool is_late = is_past(slot, cbpi_now_ns()) &&
                   cbpi_kernel_deadline(deliveries->way, id, false, 0, &deadline_ns) != 0;
    for (uint32_t i = 0; i < delivery->count && is_late; i++)
        if (delivery->items[i].flags & CBP_EVENT_FLAG_HELD)
            delivery->items[i].flags |= CBP_EVENT_FLAG_TIMED_OUT;
}

/* Gets a message that did not fit into its slot: it stands at the end of the event's memory, and the event
 * grows from the start. */
static uint32_t fetch(struct cbpi_kernel_deliveries *deliveries, struct cbpi_kernel_slot *slot,
                      struct cbpi_delivery *delivery, const struct cbp_event_message **fetched)
{
    const struct cbp_event_message *part = cbpi_kernel_slot_message(slot);
    uint32_t size = part->header.size, room = (size + 7u) & ~7u;
    if (delivery->capacity < 2 * room) {
        delivery->capacity = 2 * room;
        return CBP_ERROR_INSUFFICIENT_BUFFER;
    }
    unsigned char *at = (unsigned char *) delivery->event + delivery->capacity - room;
    struct cbp_event_message *message = (struct cbp_event_message *) (void *) at;
    struct cbp_kernel_receive wanted = slot->receive.request;
    wanted.header.id = part->header.id;
    uint32_t error = cbpi_kernel_device_fetch(deliveries->way.device, &wanted, message, size);
    if (error != 0)
        return error;
    *fetched = message;
    return cbpd_message_check(message, size, CBP_MESSAGE_EVENT) != 0 ||
                   message->session_id != deliveries->way.session_id || message->header.id != part->header.id
               ? CBP_ERROR_INVALID_DATA
               : 0;
}

/* Decodes the message of a slot. Keeps the slot. */
static uint32_t read_message(struct cbpi_kernel_deliveries *deliveries, struct cbpi_kernel_slot *slot,
                             struct cbpi_delivery *delivery)
{
    const struct cbp_event_message *message = cbpi_kernel_slot_message(slot);
    uint32_t behind = 0; /* bytes at the end of the event's memory that are in use */
    if (!is_sound(deliveries, slot))
        return CBP_ERROR_INVALID_DATA;
    if (slot->receive.error != 0) {
        uint32_t error = fetch(deliveries, slot, delivery, &message);
        if (error != 0)
            return error;
        behind = (message->header.size + 7u) & ~7u;
    }
    uint32_t wanted = ((cbpi_event_decoded_size(message) + 7u) & ~7u) + behind;
    if (delivery->capacity < wanted) {
        delivery->capacity = wanted;
        return CBP_ERROR_INSUFFICIENT_BUFFER;
    }
    cbpi_event_decode(message, delivery);
    delivery->slot = slot->index;
    delivery->nobody_waits = !is_held(cbpi_kernel_slot_message(slot));
    mark_late(deliveries, slot, delivery);
    delivery->event->flags = delivery->items[0].flags;
    return 0;
}

uint32_t cbpi_kernel_deliveries_receive(struct cbpi_kernel_deliveries *deliveries,
                                        struct cbpi_delivery *delivery, uint32_t timeout_ms,
                                        uint32_t *pending)
{
    for (;;) {
        uint32_t index = *pending - 1;
        uint32_t error = *pending ? 0 : take(deliveries, delivery->turn, timeout_ms, &index);
        if (error != 0)
            return error;
        struct cbpi_kernel_slot *slot = slot_of(deliveries, index);
        error = read_message(deliveries, slot, delivery);
        *pending = error == CBP_ERROR_INSUFFICIENT_BUFFER ? index + 1 : 0;
        if (error == 0 || error == CBP_ERROR_INSUFFICIENT_BUFFER)
            return error;
        /* It could not be fetched: its deadline has passed, or the session is being closed. */
        if (error != CBP_ERROR_INVALID_DATA)
            cbp_add_u64(&deliveries->vanished, cbpi_kernel_slot_message(slot)->item_count);
        give_back(deliveries, slot);
        if (error == CBP_ERROR_INVALID_DATA)
            return error;
    }
}

void cbpi_kernel_deliveries_skip(struct cbpi_kernel_deliveries *deliveries, uint32_t *pending)
{
    give_back(deliveries, slot_of(deliveries, *pending - 1));
    *pending = 0;
}

/* ---- Answers ---- */

static uint64_t id_of(const struct cbpi_kernel_deliveries *deliveries, const struct cbpi_delivery *delivery)
{
    return cbpi_kernel_slot_message(slot_of(deliveries, delivery->slot))->header.id;
}

uint32_t cbpi_kernel_deliveries_answer(struct cbpi_kernel_deliveries *deliveries,
                                       const struct cbpi_delivery *delivery)
{
    uint32_t error = 0;
    if (!delivery->nobody_waits)
        error = cbpi_kernel_answer(deliveries->way, id_of(deliveries, delivery), delivery->items,
                                   delivery->count);
    free_slot(deliveries, slot_of(deliveries, delivery->slot));
    return error;
}

uint32_t cbpi_kernel_deliveries_check(struct cbpi_kernel_deliveries *deliveries,
                                      const struct cbpi_delivery *delivery)
{
    uint64_t deadline_ns;
    return delivery->nobody_waits
               ? 0
               : cbpi_kernel_deadline(deliveries->way, id_of(deliveries, delivery), false, 0, &deadline_ns);
}

uint32_t cbpi_kernel_deliveries_extend(struct cbpi_kernel_deliveries *deliveries,
                                       const struct cbpi_delivery *delivery, uint32_t timeout_ms)
{
    uint64_t deadline_ns;
    if (delivery->nobody_waits)
        return 0;
    uint32_t error =
        cbpi_kernel_deadline(deliveries->way, id_of(deliveries, delivery), true, timeout_ms, &deadline_ns);
    if (error == 0)
        cbp_store_u64(&slot_of(deliveries, delivery->slot)->deadline_ns, deadline_ns);
    return error;
}

int64_t cbpi_kernel_deliveries_token(struct cbpi_kernel_deliveries *deliveries,
                                     const struct cbpi_delivery *delivery)
{
    return delivery->nobody_waits ? -1 : cbpi_kernel_token(deliveries->way, id_of(deliveries, delivery));
}

/* ---- The dispatcher's part ---- */

/* Ends the wait of deliveries that follow one whose deadline has passed, and begins receives for which there
 * was no memory. */
static void tend(struct cbpi_kernel_deliveries *deliveries)
{
    cbpi_mutex_lock(&deliveries->order);
    cbpi_turns_expire(&deliveries->turns, cbpi_now_ns());
    fill(deliveries);
    bool has_more = cbp_load_u32(&deliveries->turns.ready_count) > 0;
    cbpi_mutex_unlock(&deliveries->order);
    if (has_more)
        cbpi_kernel_device_wake(deliveries->way.device);
}

uint32_t cbpi_kernel_deliveries_beat(struct cbpi_kernel_deliveries *deliveries)
{
    uint32_t error = refresh(deliveries);
    tend(deliveries);
    return error;
}

uint32_t cbpi_kernel_deliveries_backlog(struct cbpi_kernel_deliveries *deliveries)
{
    cbpi_mutex_lock(&deliveries->order);
    uint32_t come = cbpi_kernel_slots_backlog(&deliveries->slots);
    bool no_receive_waits = come >= deliveries->slots.waiting_count;
    uint32_t ready = cbp_load_u32(&deliveries->turns.ready_count);
    cbpi_mutex_unlock(&deliveries->order);
    cbpi_mutex_lock(&deliveries->counts_mutex);
    uint64_t in_driver = no_receive_waits ? deliveries->counts.backlog : 0;
    cbpi_mutex_unlock(&deliveries->counts_mutex);
    return come + ready + (uint32_t) (in_driver < UINT16_MAX ? in_driver : UINT16_MAX);
}

void cbpi_kernel_deliveries_counts(struct cbpi_kernel_deliveries *deliveries, struct cbp_statistics *counts)
{
    (void) refresh(deliveries);
    cbpi_mutex_lock(&deliveries->counts_mutex);
    const struct cbp_kernel_counts *all = &deliveries->counts;
    counts->lost = all->lost + cbp_load_u64(&deliveries->vanished);
    counts->timed_out = all->timed_out;
    counts->refused = all->refused;
    counts->decided_by_rule = all->decided;
    counts->failed_after = counts->guessed = 0;
    counts->supervised = all->supervised;
    cbpi_mutex_unlock(&deliveries->counts_mutex);
    counts->queued =
        cbp_load_u32(&deliveries->turns.waiting_count) - cbp_load_u32(&deliveries->turns.ready_count);
}

/* ---- The beginning and the end ---- */

void cbpi_kernel_deliveries_init(struct cbpi_kernel_deliveries *deliveries, struct cbpi_kernel_device *device,
                                 uint32_t session_id)
{
    deliveries->way = (struct cbpi_kernel_way){device, session_id};
    deliveries->slots.device = device;
    deliveries->slots.session_id = session_id;
    deliveries->turns.slots = &turn_slots;
    deliveries->turns.memory = &deliveries->slots;
    cbpi_mutex_init(&deliveries->order);
    cbpi_mutex_init(&deliveries->counts_mutex);
}

void cbpi_kernel_deliveries_close(struct cbpi_kernel_deliveries *deliveries)
{
    (void) refresh(deliveries);
    cbp_store_u32(&deliveries->is_closed, 1);
    cbpi_kernel_device_wake(deliveries->way.device);
}

void cbpi_kernel_deliveries_destroy(struct cbpi_kernel_deliveries *deliveries)
{
    uint64_t deadline_ns = cbpi_now_ns() + LAST_WAIT_MS * CBP_NS_PER_MS;
    struct cbpi_kernel_receive *receive;
    cbpi_kernel_device_cancel(deliveries->way.device);
    while (deliveries->slots.waiting_count > 0 &&
           cbpi_kernel_device_take(deliveries->way.device, left_ms(deadline_ns), &receive) == 0)
        if (receive)
            cbpi_kernel_slots_arrive(&deliveries->slots, receive);
    cbpi_kernel_slots_free(&deliveries->slots);
    cbpi_mutex_destroy(&deliveries->order);
    cbpi_mutex_destroy(&deliveries->counts_mutex);
}
