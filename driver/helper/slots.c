/* Puts messages into the channel and takes answers out of it: slots, deadlines, and a queue for when all
 * slots are taken. Reads of a message only its size and its answers. The driver decides what a held task does
 * next.
 *
 * The core owns a slot from its push on a request ring until it comes back on the answer list. What the
 * helper must remember about the slot stands in its own record, out of the core's reach. */
#include <string.h>

#include "cbp_atomic.h"
#include "cbp_message_check.h"
#include "helper.h"

enum { QUEUE_COUNT_MAX = 65536, RING_MASK = 4095 };
enum { QUEUE_SIZE_MAX = 256 * 1024 * 1024, QUEUE_HELD_SIZE_MAX = 32 * 1024 * 1024 };

struct cbpd_queued {
    struct cbpd_queued *next;
    struct cbpd_awaited answer;
    struct cbp_event_message message; /* its variable parts follow */
};

enum { NO_SLOT = CBP_SLOT_COUNT }; /* also the head of the list of waiting slots */

static void put_free(struct cbpd_slots *slots, uint32_t number)
{
    struct cbpd_free_slots *those = number < CBP_SMALL_SLOT_COUNT ? &slots->free_small : &slots->free_large;
    those->numbers[those->count++] = (uint16_t) number;
}

void cbpd_slots_init(struct cbpd_slots *slots)
{
    for (uint32_t number = CBP_SLOT_COUNT; number-- > 0;)
        put_free(slots, number);
    slots->queue_tail = &slots->queue_head;
    slots->records[NO_SLOT].next = slots->records[NO_SLOT].previous = NO_SLOT;
}

struct cbp_channel_session *cbpd_channel_of(const struct cbpd_helper *helper, uint32_t session_id)
{
    return &helper->channel->sessions[session_id];
}

/* ---- Slots ---- */

static uint32_t take_slot(struct cbpd_slots *slots, uint32_t message_size)
{
    struct cbpd_free_slots *those =
        message_size <= cbp_channel_message_capacity(0) ? &slots->free_small : &slots->free_large;
    return those->count > 0 ? those->numbers[--those->count] : NO_SLOT;
}

static void free_slot(struct cbpd_helper *helper, uint32_t number)
{
    helper->slots.records[number].posted = false;
    /* A large message is rare, so the system gets its memory back. */
    if (number >= CBP_SMALL_SLOT_COUNT && helper->host->discard_slot)
        helper->host->discard_slot(cbp_channel_slot(helper->channel, number), CBP_LARGE_SLOT_SIZE);
    put_free(&helper->slots, number);
}

static void link_waiting(struct cbpd_slots *slots, uint32_t number)
{
    struct cbpd_slot_record *head = &slots->records[NO_SLOT];
    slots->records[number].next = NO_SLOT;
    slots->records[number].previous = head->previous;
    slots->records[head->previous].next = (uint16_t) number;
    head->previous = (uint16_t) number;
    slots->waiting_count++;
}

static void unlink_waiting(struct cbpd_slots *slots, uint32_t number)
{
    slots->records[slots->records[number].previous].next = slots->records[number].next;
    slots->records[slots->records[number].next].previous = slots->records[number].previous;
    slots->waiting_count--;
}

/* Says whether a dozing worker will take the message with others: a wake-up costs more than the message. */
static bool can_wait_for_dozer(const struct cbp_channel_session *ring)
{
    return cbp_load_u32(&ring->dozers) != 0 &&
           cbp_load_u32(&ring->tail) - cbp_load_u32(&ring->head) < CBP_DOZE_BACKLOG_MAX;
}

static void ring_bell(struct cbpd_helper *helper, uint32_t session_id, bool somebody_waits)
{
    struct cbp_channel_session *ring = cbpd_channel_of(helper, session_id);
    cbp_add_u32(&ring->bell, 1);
    if (!somebody_waits && can_wait_for_dozer(ring))
        return;
    if (cbp_load_u32(&ring->sleepers) != 0)
        helper->host->wake_worker(helper, session_id);
}

/* Hands a filled slot to the core. */
static void push_slot(struct cbpd_helper *helper, uint32_t number, const struct cbpd_awaited *answer)
{
    struct cbpd_slots *slots = &helper->slots;
    struct cbp_slot *slot = cbp_channel_slot(helper->channel, number);
    struct cbp_channel_session *ring = cbpd_channel_of(helper, answer->session_id);
    slots->records[number].answer = *answer;
    slots->records[number].posted = true;
    if (answer->held)
        link_waiting(slots, number);
    slot->session_id = answer->session_id;
    cbp_store_u64(&slot->deadline_ns, answer->held ? slot->message.header.deadline_ns : 0);
    cbp_store_u32(&slot->decision, answer->held ? CBP_DECISION_OPEN : CBP_DECISION_EXPIRED);
    uint32_t tail = cbp_load_relaxed_u32(&ring->tail);
    cbp_store_relaxed_u32(&ring->ring[tail & RING_MASK], number);
    cbp_store_u32(&ring->tail, tail + 1);
    ring_bell(helper, answer->session_id, answer->held);
}

/* ---- The queue ---- */

static bool queue_message(struct cbpd_slots *slots, const struct cbp_event_message *message,
                          const struct cbpd_awaited *answer)
{
    uint32_t size = message->header.size;
    bool full = slots->queue_count >= QUEUE_COUNT_MAX || slots->queue_size + size > QUEUE_SIZE_MAX;
    /* A held task makes no more events, so their number limits itself. Other events need a limit. */
    struct cbpd_queued *queued =
        full && !answer->held ? NULL : cbpd_allocate_surely(offsetof(struct cbpd_queued, message) + size);
    if (!queued)
        return false;
    queued->next = NULL;
    queued->answer = *answer;
    memcpy(&queued->message, message, size);
    *slots->queue_tail = queued;
    slots->queue_tail = &queued->next;
    slots->queue_count++;
    slots->queue_size += size;
    if (answer->held) {
        slots->queue_held_size += size;
        slots->waiting_count++;
    }
    return true;
}

/* No operation waits any more for the answer to this queued message. */
static void stop_waiting_for(struct cbpd_slots *slots, struct cbpd_queued *queued)
{
    if (!queued->answer.held)
        return;
    queued->answer.held = NULL;
    slots->queue_held_size -= queued->message.header.size;
    slots->waiting_count--;
}

bool cbpd_has_room_to_hold(const struct cbpd_helper *helper, size_t size)
{
    const struct cbpd_slots *slots = &helper->slots;
    return !slots->queue_head || (slots->queue_held_size + size <= QUEUE_HELD_SIZE_MAX &&
                                  slots->queue_size + size <= QUEUE_SIZE_MAX);
}

static void unqueue_head(struct cbpd_slots *slots)
{
    struct cbpd_queued *queued = slots->queue_head;
    slots->queue_head = queued->next;
    if (!slots->queue_head)
        slots->queue_tail = &slots->queue_head;
    slots->queue_count--;
    slots->queue_size -= queued->message.header.size;
    stop_waiting_for(slots, queued);
    cbpd_free_surely(queued);
}

/* Moves queued messages into slots, in order, while there are free slots. */
static void drain_queue(struct cbpd_helper *helper)
{
    struct cbpd_slots *slots = &helper->slots;
    while (slots->queue_head) {
        uint32_t size = slots->queue_head->message.header.size;
        if (helper->policy.sessions[slots->queue_head->answer.session_id].open) {
            uint32_t number = take_slot(slots, size);
            if (number == NO_SLOT)
                return;
            memcpy(&cbp_channel_slot(helper->channel, number)->message, &slots->queue_head->message, size);
            push_slot(helper, number, &slots->queue_head->answer);
        }
        unqueue_head(slots);
    }
}

/* ---- Sending ---- */

struct cbp_event_message *cbpd_begin_message(struct cbpd_helper *helper, uint32_t size, uint32_t *slot)
{
    struct cbpd_slots *slots = &helper->slots;
    *slot = !slots->queue_head ? take_slot(slots, size) : NO_SLOT;
    if (*slot != NO_SLOT)
        return &cbp_channel_slot(helper->channel, *slot)->message;
    return text_reserve(&slots->scratch, size) ? (struct cbp_event_message *) (void *) slots->scratch.bytes
                                               : NULL;
}

/* Plans the next look at operations: at this deadline, or without one (0) when the session may be stale. */
static void plan_expiry(struct cbpd_slots *slots, uint64_t deadline_ns, uint64_t now)
{
    uint64_t at = deadline_ns != 0 ? deadline_ns : now + CBP_HEARTBEAT_LIMIT_MS * CBP_NS_PER_MS;
    if (slots->next_expiry_ns == 0 || at < slots->next_expiry_ns)
        slots->next_expiry_ns = at;
}

bool cbpd_commit_message(struct cbpd_helper *helper, struct cbp_event_message *message, uint32_t slot,
                         struct cbpd_held *held, const struct cbpd_answerable *answerable)
{
    struct cbpd_slots *slots = &helper->slots;
    const struct cbpd_awaited answer = {held, message->session_id, *answerable};
    uint64_t deadline_ns = message->header.deadline_ns;
    if (slot != NO_SLOT)
        push_slot(helper, slot, &answer);
    else if (!queue_message(slots, message, &answer))
        return false;
    if (held) {
        held->base.unanswered_count++;
        plan_expiry(slots, deadline_ns, helper->host->now_ns());
    }
    return true;
}

/* ---- Time running out ---- */

bool cbpd_session_is_stale(const struct cbpd_helper *helper, uint32_t session_id, uint64_t now)
{
    uint64_t limit_ms = cbpd_silence_limit_ms(&helper->policy, session_id);
    uint64_t heartbeat = cbp_load_u64(&cbpd_channel_of(helper, session_id)->heartbeat_ns);
    return now > heartbeat && now - heartbeat > limit_ms * CBP_NS_PER_MS;
}

uint32_t cbpd_count_timeout(struct cbpd_helper *helper, uint32_t session_id, bool is_creation)
{
    uint32_t result_code = cbpd_timeout_code(&helper->policy, session_id, is_creation);
    cbp_add_u64(&cbpd_channel_of(helper, session_id)->timed_out, 1);
    if (result_code != 0)
        cbp_add_u64(&cbpd_channel_of(helper, session_id)->refused, 1);
    return result_code;
}

/* ---- Answers ---- */

/* Counts down the answers to wait for. The driver asks for settled operations and applies them. */
static void settle(struct cbpd_helper *helper, struct cbpd_awaited *answer)
{
    struct cbpd_held *held = answer->held;
    answer->held = NULL;
    if (--held->base.unanswered_count > 0)
        return;
    held->next_settled = NULL;
    *helper->settled_tail = held;
    helper->settled_tail = &held->next_settled;
}

struct cbpd_held *cbpd_next_settled(struct cbpd_helper *helper)
{
    struct cbpd_held *held = helper->settled;
    if (!held)
        return NULL;
    helper->settled = held->next_settled;
    if (!helper->settled)
        helper->settled_tail = &helper->settled;
    if (held->task)
        held->task->held = NULL;
    return held;
}

/* Applies the answer in a slot that the core has given back, and frees the slot. */
static void accept_answer(struct cbpd_helper *helper, uint32_t number)
{
    struct cbpd_slots *slots = &helper->slots;
    struct cbpd_awaited *answer = &slots->records[number].answer;
    struct cbp_slot *slot = cbp_channel_slot(helper->channel, number);
    if (answer->held) {
        unlink_waiting(slots, number);
        if (cbp_load_u32(&slot->decision) == CBP_DECISION_ANSWERED)
            cbp_add_u64(&cbpd_channel_of(helper, answer->session_id)->refused,
                        cbpd_apply_answer(&helper->policy, answer->session_id, &answer->answerable,
                                          cbp_event_items_const(&slot->message), &answer->held->base));
        settle(helper, answer);
    }
    free_slot(helper, number);
}

bool cbpd_answers_are_there(const struct cbpd_helper *helper)
{
    return cbp_load_u32(&helper->channel->answers) != 0;
}

bool cbpd_answers_settle_everything(const struct cbpd_helper *helper)
{
    return helper->slots.waiting_count <= 1 && cbpd_answers_are_there(helper);
}

void cbpd_collect_answers(struct cbpd_helper *helper)
{
    uint32_t link = cbpd_answers_are_there(helper) ? cbp_swap_u32(&helper->channel->answers, 0) : 0;
    bool any = link != 0;
    /* The list is in the core's memory and may lie: it is bounded, and only posted slots are touched. */
    for (uint32_t i = 0; link != 0 && i < CBP_SLOT_COUNT; i++) {
        uint32_t number = link - 1;
        if (number >= CBP_SLOT_COUNT)
            break;
        link = cbp_load_u32(&cbp_channel_slot(helper->channel, number)->next);
        if (helper->slots.records[number].posted)
            accept_answer(helper, number);
    }
    if (any)
        drain_queue(helper);
}

/* Takes the decision of a posted slot away from the core. */
static bool close_decision(struct cbpd_helper *helper, uint32_t number)
{
    uint32_t expected = CBP_DECISION_OPEN;
    return cbp_compare_swap_u32(&cbp_channel_slot(helper->channel, number)->decision, &expected,
                                CBP_DECISION_EXPIRED);
}

static void let_time_out(struct cbpd_helper *helper, const struct cbpd_awaited *answer)
{
    uint32_t code = cbpd_count_timeout(helper, answer->session_id, answer->answerable.is_creation);
    cbpd_refuse(&helper->policy, answer->session_id, code, &answer->held->base);
}

/* Stops waiting for a slot's answer. The slot itself stays with the core. */
static void abandon_slot(struct cbpd_helper *helper, uint32_t number, bool timed_out)
{
    struct cbpd_slots *slots = &helper->slots;
    struct cbpd_awaited *answer = &slots->records[number].answer;
    /* The core is answering or moving the deadline now: look again later, unless the controller is gone. */
    if (!close_decision(helper, number) && !helper->controller_gone)
        return;
    unlink_waiting(slots, number);
    if (timed_out)
        let_time_out(helper, answer);
    settle(helper, answer);
}

static void expire_queued(struct cbpd_helper *helper, uint64_t now)
{
    struct cbpd_slots *slots = &helper->slots;
    for (struct cbpd_queued *queued = slots->queue_head; queued; queued = queued->next) {
        uint64_t deadline_ns = queued->message.header.deadline_ns;
        struct cbpd_awaited answer = queued->answer;
        if (!answer.held)
            continue;
        bool expired =
            deadline_ns != 0 ? now >= deadline_ns : cbpd_session_is_stale(helper, answer.session_id, now);
        if (!expired) {
            plan_expiry(slots, deadline_ns, now);
            continue;
        }
        struct cbp_event_item *items = cbp_event_items(&queued->message);
        for (uint32_t i = 0; i < queued->message.item_count; i++)
            items[i].flags = (items[i].flags & ~(uint32_t) (CBP_EVENT_FLAG_HELD | CBP_EVENT_FLAG_REFUSABLE)) |
                             CBP_EVENT_FLAG_TIMED_OUT;
        stop_waiting_for(slots, queued);
        let_time_out(helper, &answer);
        settle(helper, &answer);
    }
}

void cbpd_expire_operations(struct cbpd_helper *helper)
{
    struct cbpd_slots *slots = &helper->slots;
    uint64_t now = helper->host->now_ns();
    if (slots->next_expiry_ns == 0 || now < slots->next_expiry_ns)
        return;
    slots->next_expiry_ns = 0;
    for (uint32_t number = slots->records[NO_SLOT].next; number != NO_SLOT;) {
        uint32_t next = slots->records[number].next;
        uint64_t deadline_ns = cbp_load_u64(&cbp_channel_slot(helper->channel, number)->deadline_ns);
        bool stale = cbpd_session_is_stale(helper, slots->records[number].answer.session_id, now);
        if (stale || (deadline_ns != 0 && now >= deadline_ns))
            abandon_slot(helper, number, true);
        if (slots->records[number].answer.held)
            plan_expiry(slots, deadline_ns > now || deadline_ns == 0 ? deadline_ns : now + CBP_NS_PER_MS,
                        now);
        number = next;
    }
    expire_queued(helper, now);
}

/* Takes back the slots that the session's workers have not taken, and stops waiting for the rest. */
void cbpd_release_session_slots(struct cbpd_helper *helper, uint32_t session_id)
{
    struct cbpd_slots *slots = &helper->slots;
    struct cbp_channel_session *ring = cbpd_channel_of(helper, session_id);
    uint32_t head = cbp_load_u32(&ring->head);
    while (head != cbp_load_u32(&ring->tail)) {
        uint32_t number = cbp_load_u32(&ring->ring[head & RING_MASK]);
        if (!cbp_compare_swap_u32(&ring->head, &head, head + 1))
            continue;
        head++;
        if (number < CBP_SLOT_COUNT && slots->records[number].posted) {
            (void) close_decision(helper, number);
            accept_answer(helper, number);
        }
    }
    for (uint32_t number = slots->records[NO_SLOT].next; number != NO_SLOT;) {
        uint32_t next = slots->records[number].next;
        if (slots->records[number].answer.session_id == session_id)
            abandon_slot(helper, number, false);
        number = next;
    }
    for (struct cbpd_queued *queued = slots->queue_head; queued; queued = queued->next)
        if (queued->answer.session_id == session_id && queued->answer.held) {
            struct cbpd_awaited answer = queued->answer;
            stop_waiting_for(slots, queued);
            settle(helper, &answer);
        }
    drain_queue(helper);
}

void cbpd_release_every_slot(struct cbpd_helper *helper)
{
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if (helper->policy.sessions[id].open)
            cbpd_release_session_slots(helper, id);
}

bool cbpd_drop_held(struct cbpd_task *task)
{
    if (!task->held)
        return false;
    task->held->task = NULL;
    task->held = NULL;
    return true;
}

bool cbpd_anything_held(const struct cbpd_helper *helper)
{
    return helper->slots.waiting_count > 0;
}

uint64_t cbpd_next_deadline_ns(const struct cbpd_helper *helper)
{
    const struct cbpd_slots *slots = &helper->slots;
    return slots->waiting_count > 0 ? slots->next_expiry_ns : 0;
}
