/* See channel_client.h. The other side is a process of its own, which may be damaged or taken over: nothing
 * in the shared memory is believed unchecked, and nothing is read from it twice. */
#include "channel_client.h"

#include "cbp_atomic.h"
#include "errors.h"
#include "event_decode.h"
#include "platform.h"

#include <string.h>

#define RING_SIZE (uint32_t)(sizeof((struct cbp_channel_session *) 0)->ring / sizeof(uint32_t))
#define NS_PER_MS 1000000u

static struct cbp_channel_session *session_of(const struct cbpi_channel_client *client)
{
    return &client->channel->sessions[client->session_id];
}

uint32_t cbpi_channel_backlog(const struct cbpi_channel_client *client)
{
    struct cbp_channel_session *session = session_of(client);
    uint32_t head = cbp_load_u32(&session->head);
    return cbp_load_u32(&session->tail) - head + cbp_load_u32(&client->turns.ready_count);
}

/* Takes the oldest entry, if there is one. The entry is read before it is taken: until head moves on the
 * driver cannot have come round the ring to it. */
static int try_take(struct cbp_channel_session *session, uint32_t *slot)
{
    uint32_t head = cbp_load_u32(&session->head);
    while (head != cbp_load_u32(&session->tail)) {
        uint32_t number = cbp_load_relaxed_u32(&session->ring[head % RING_SIZE]);
        if (cbp_compare_swap_u32(&session->head, &head, head + 1)) {
            *slot = number;
            return 1;
        }
    }
    return 0;
}

/* Of the ring's entries the next one whose turn it is; those before it wait with the workers that they
 * follow. The order is locked. */
static int take_from_ring(struct cbpi_channel_client *client, struct cbpi_turn *turn, uint32_t *slot)
{
    while (try_take(session_of(client), slot)) {
        if (*slot >= CBP_SLOT_COUNT || cbpi_turns_have(&client->turns, *slot)) {
            *slot = CBP_SLOT_COUNT; /* there is none such */
            return 1;
        }
        if (cbpi_turns_begin(&client->turns, turn, *slot))
            return 1;
    }
    return 0;
}

static int take_turn(struct cbpi_channel_client *client, struct cbpi_turn *turn, uint32_t *slot)
{
    if (!turn->is_on && cbpi_channel_backlog(client) == 0)
        return 0;
    cbpi_mutex_lock(&client->order);
    int is_taken = (int) cbpi_turns_end(&client->turns, turn, slot);
    while (!is_taken && cbpi_turns_take_ready(&client->turns, slot))
        is_taken = (int) cbpi_turns_begin(&client->turns, turn, *slot);
    if (!is_taken)
        is_taken = take_from_ring(client, turn, slot);
    cbpi_mutex_unlock(&client->order);
    return is_taken;
}

static uint32_t leave_turns(struct cbpi_channel_client *client, struct cbpi_turn *turn)
{
    cbpi_mutex_lock(&client->order);
    cbpi_turns_leave(&client->turns, turn);
    cbpi_mutex_unlock(&client->order);
    return CBP_ERROR_OPERATION_ABORTED;
}

void cbpi_channel_expire_turns(struct cbpi_channel_client *client)
{
    if (cbp_load_u32(&client->turns.waiting_count) == 0)
        return;
    cbpi_mutex_lock(&client->order);
    uint32_t has_ready = cbpi_turns_expire(&client->turns, cbpi_now_ns());
    cbpi_mutex_unlock(&client->order);
    if (has_ready)
        cbpi_channel_wake_one(client);
}

void cbpi_channel_wake_one(struct cbpi_channel_client *client)
{
    struct cbp_channel_session *session = session_of(client);
    if (cbp_load_u32(&session->sleepers) > 0)
        cbpi_bell_wake(client->link, client->session_id, 1);
}

/* Sleeps until the bell rings; gives 1 if that was for this sleeper. Either the driver sees the sleeper and
 * wakes it, or the sleeper sees the entry: each writes its word before it reads the other's. */
static int sleep_on_bell(struct cbpi_channel_client *client, uint32_t bell, uint64_t timeout_ns)
{
    struct cbp_channel_session *session = session_of(client);
    int woken = 0;
    cbp_add_u32(&session->sleepers, 1);
    if (cbpi_channel_backlog(client) == 0 && !cbp_load_u32(&client->is_closed))
        woken = cbpi_bell_wait(client->link, client->session_id, bell, timeout_ns);
    cbp_subtract_u32(&session->sleepers, 1);
    return woken;
}

/* A short sleep, from which messages that nobody waits for need not wake. */
static int doze_on_bell(struct cbpi_channel_client *client, uint32_t bell)
{
    struct cbp_channel_session *session = session_of(client);
    cbp_store_u32(&client->has_dozed, 1);
    cbp_add_u32(&session->dozers, 1);
    int woken = sleep_on_bell(client, bell, CBP_DOZE_MS * NS_PER_MS);
    cbp_subtract_u32(&session->dozers, 1);
    return woken;
}

/* A wake-up is for one message, but the worker takes the oldest, and that may be one for which nobody was
 * woken because of a dozer: then the next worker has to come for the other. */
static void pass_wake_up_on(struct cbpi_channel_client *client)
{
    if (cbp_load_u32(&client->has_dozed) && cbpi_channel_backlog(client) > 0)
        cbpi_channel_wake_one(client);
}

static uint32_t wait_for_slot(struct cbpi_channel_client *client, struct cbpi_turn *turn, uint32_t timeout_ms,
                              uint32_t doze, uint32_t *slot)
{
    struct cbp_channel_session *session = session_of(client);
    uint64_t deadline_ns = 0;
    int woken = 0;
    for (;;) {
        uint32_t bell = cbp_load_u32(&session->bell);
        if (cbp_load_u32(&client->is_closed))
            return leave_turns(client, turn);
        if (take_turn(client, turn, slot)) {
            if (woken)
                pass_wake_up_on(client);
            return 0;
        }
        if (cbp_load_u32(client->is_dead))
            return CBP_ERROR_BROKEN_PIPE;
        if (timeout_ms == 0)
            return CBP_ERROR_TIMEOUT;
        if (doze) {
            doze = 0;
            woken = doze_on_bell(client, bell);
            continue;
        }
        uint64_t left_ns = UINT64_MAX;
        if (timeout_ms != CBPI_WAIT_FOREVER) {
            uint64_t now_ns = cbpi_now_ns();
            if (deadline_ns == 0)
                deadline_ns = now_ns + (uint64_t) timeout_ms * NS_PER_MS;
            if (now_ns >= deadline_ns)
                return CBP_ERROR_TIMEOUT;
            left_ns = deadline_ns - now_ns;
        }
        woken = sleep_on_bell(client, bell, left_ns);
    }
}

uint32_t cbpi_channel_take(struct cbpi_channel_client *client, struct cbpi_turn *turn, uint32_t timeout_ms,
                           uint32_t doze, uint32_t *slot)
{
    uint32_t number;
    uint32_t error = wait_for_slot(client, turn, timeout_ms, doze, &number);
    if (error != 0)
        return error;
    if (number >= CBP_SLOT_COUNT)
        return CBP_ERROR_INVALID_DATA;
    *slot = number;
    return 0;
}

/* The event grows from the block's start, the private copy of the message stands at its end. */
uint32_t cbpi_channel_read(struct cbpi_channel_client *client, uint32_t number,
                           struct cbpi_delivery *delivery)
{
    struct cbp_slot *slot = cbp_channel_slot(client->channel, number);
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
    if (cbp_message_check(message, size, CBP_MESSAGE_EVENT) != 0 || message->session_id != client->session_id)
        return CBP_ERROR_INVALID_DATA;
    uint32_t wanted = ((cbpi_event_decoded_size(message) + 7u) & ~7u) + copy_size;
    if (delivery->capacity < wanted) {
        delivery->capacity = wanted;
        return CBP_ERROR_INSUFFICIENT_BUFFER;
    }
    cbpi_event_decode(message, delivery);
    delivery->slot = number;
    delivery->nobody_waits = 1;
    for (uint32_t i = 0; i < delivery->count; i++)
        delivery->nobody_waits &= (delivery->items[i][1] & CBP_EVENT_FLAG_HELD) == 0;
    if (decision == CBP_DECISION_EXPIRED)
        cbpi_delivery_expired(delivery);
    return 0;
}

/* Lets the driver look at what was answered. */
static void ring_answer_bell(struct cbpi_channel_client *client)
{
    cbp_add_u32(&client->channel->answer_bell, 1);
    if (cbp_load_u32(&client->channel->driver_sleeping))
        cbpi_bell_wake_driver(client->link);
}

static void push_answer(struct cbpi_channel_client *client, uint32_t number)
{
    struct cbp_channel *channel = client->channel;
    struct cbp_slot *slot = cbp_channel_slot(channel, number);
    uint32_t first = cbp_load_relaxed_u32(&channel->answers);
    do {
        cbp_store_relaxed_u32(&slot->next, first);
    } while (!cbp_compare_swap_u32(&channel->answers, &first, number + 1));
    ring_answer_bell(client);
}

static uint32_t decide(struct cbp_slot *slot)
{
    uint32_t open = CBP_DECISION_OPEN;
    return cbp_compare_swap_u32(&slot->decision, &open, CBP_DECISION_ANSWERED) ? 0 : CBP_ERROR_TIMEOUT;
}

uint32_t cbpi_channel_answer(struct cbpi_channel_client *client, const struct cbpi_delivery *delivery)
{
    struct cbp_slot *slot = cbp_channel_slot(client->channel, delivery->slot);
    struct cbp_event_item *items = cbp_event_items(&slot->message);
    uint32_t is_open = cbp_load_u32(&slot->decision) == CBP_DECISION_OPEN;
    for (uint32_t i = 0; is_open && i < delivery->count; i++) {
        cbp_store_relaxed_u32(&items[i].result_code, delivery->result_codes[i]);
        cbp_store_relaxed_u32(&items[i].desired_access, delivery->desired_access[i]);
    }
    uint32_t error = decide(slot);
    push_answer(client, delivery->slot);
    return delivery->nobody_waits ? 0 : error;
}

void cbpi_channel_return(struct cbpi_channel_client *client, uint32_t number)
{
    decide(cbp_channel_slot(client->channel, number));
    push_answer(client, number);
}

uint32_t cbpi_channel_check(const struct cbpi_channel_client *client, const struct cbpi_delivery *delivery)
{
    struct cbp_slot *slot = cbp_channel_slot(client->channel, delivery->slot);
    int is_late = !delivery->nobody_waits && cbp_load_u32(&slot->decision) == CBP_DECISION_EXPIRED;
    return is_late ? CBP_ERROR_TIMEOUT : 0;
}

uint32_t cbpi_channel_extend(struct cbpi_channel_client *client, const struct cbpi_delivery *delivery,
                             uint32_t timeout_ms)
{
    struct cbp_slot *slot = cbp_channel_slot(client->channel, delivery->slot);
    uint32_t open = CBP_DECISION_OPEN;
    if (delivery->nobody_waits)
        return 0;
    if (!cbp_compare_swap_u32(&slot->decision, &open, CBP_DECISION_RESETTING))
        return CBP_ERROR_TIMEOUT;
    cbp_store_u64(&slot->deadline_ns, timeout_ms ? cbpi_now_ns() + (uint64_t) timeout_ms * NS_PER_MS : 0);
    cbp_store_u32(&slot->decision, CBP_DECISION_OPEN);
    ring_answer_bell(client); /* the driver may be asleep until the old deadline, or for ever */
    return 0;
}

void cbpi_channel_wake(struct cbpi_channel_client *client)
{
    struct cbp_channel_session *session = session_of(client);
    cbp_add_u32(&session->bell, 1);
    cbpi_bell_wake(client->link, client->session_id, UINT32_MAX);
}

void cbpi_channel_drain(struct cbpi_channel_client *client)
{
    uint32_t number;
    while (cbpi_turns_take_ready(&client->turns, &number))
        cbpi_channel_return(client, number);
    for (uint32_t i = 0; i < CBP_SLOT_COUNT && try_take(session_of(client), &number); i++)
        if (number < CBP_SLOT_COUNT)
            cbpi_channel_return(client, number);
}
