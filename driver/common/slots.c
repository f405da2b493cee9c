/* Messages into the channel and answers out of it: slots, deadlines, and the queue for when all slots are
 * taken. Does not look into a message but for its size and its answers; what a held task does next is
 * trace.c's business.
 *
 * A slot that has been pushed on a request ring belongs to the core until it comes back on the answer list.
 * What the supervisor needs to remember about it stands in its own record, out of the core's reach. */
#include <string.h>

#include "cbp_atomic.h"
#include "cbp_message_check.h"
#include "supervisor.h"

enum { QUEUE_COUNT_MAX = 65536, RING_MASK = 4095 };
enum { QUEUE_SIZE_MAX = 256 * 1024 * 1024, QUEUE_HELD_SIZE_MAX = 32 * 1024 * 1024 };

struct slot_record {
    struct operation *operation; /* NULL: nobody waits for the answer (any more) */
    uint32_t session_id;
    struct answerable answerable;
    bool posted;
    uint16_t next, previous; /* posted slots whose operation waits */
};

struct queued {
    struct queued *next;
    struct operation *operation;
    uint64_t deadline_ns;
    uint32_t session_id;
    uint32_t size;
    struct answerable answerable;
    struct cbp_event_message message; /* variable parts follow */
};

enum { NO_SLOT = CBP_SLOT_COUNT }; /* also the head of the list of waiting slots */

static struct slot_record records[CBP_SLOT_COUNT + 1];
static uint16_t free_small[CBP_SMALL_SLOT_COUNT], free_large[CBP_LARGE_SLOT_COUNT];
static uint32_t free_small_count, free_large_count;
static struct queued *queue_head, **queue_tail = &queue_head;
static uint32_t queue_count;
static size_t queue_size;
static size_t queue_held_size;  /* of those whose operation waits */
static uint32_t waiting_count;  /* slots and queued messages whose operation waits */
static uint64_t next_expiry_ns; /* no deadline lies before it; 0: there is none */

void slots_init(void)
{
    for (uint32_t i = 0; i < CBP_SMALL_SLOT_COUNT; i++)
        free_small[free_small_count++] = (uint16_t) (CBP_SMALL_SLOT_COUNT - 1 - i);
    for (uint32_t i = 0; i < CBP_LARGE_SLOT_COUNT; i++)
        free_large[free_large_count++] = (uint16_t) (CBP_SLOT_COUNT - 1 - i);
    records[NO_SLOT].next = records[NO_SLOT].previous = NO_SLOT;
}

struct cbp_channel_session *channel_of(uint32_t session_id)
{
    return &self.channel->sessions[session_id];
}

/* ---- Slots ---- */

static uint32_t take_slot(uint32_t message_size)
{
    if (message_size <= cbp_channel_message_capacity(0))
        return free_small_count > 0 ? free_small[--free_small_count] : NO_SLOT;
    return free_large_count > 0 ? free_large[--free_large_count] : NO_SLOT;
}

static void free_slot(uint32_t number)
{
    records[number].posted = false;
    if (number < CBP_SMALL_SLOT_COUNT) {
        free_small[free_small_count++] = (uint16_t) number;
        return;
    }
    /* A large message is rare: its memory goes back to the system. */
    discard_slot(cbp_channel_slot(self.channel, number), CBP_LARGE_SLOT_SIZE);
    free_large[free_large_count++] = (uint16_t) number;
}

static void link_waiting(uint32_t number)
{
    struct slot_record *head = &records[NO_SLOT];
    records[number].next = NO_SLOT;
    records[number].previous = head->previous;
    records[head->previous].next = (uint16_t) number;
    head->previous = (uint16_t) number;
    waiting_count++;
}

static void unlink_waiting(uint32_t number)
{
    records[records[number].previous].next = records[number].next;
    records[records[number].next].previous = records[number].previous;
    waiting_count--;
}

/* What can wait is taken together: a wake-up costs more than the message. */
static bool can_wait_for_dozer(const struct cbp_channel_session *ring)
{
    return cbp_load_u32(&ring->dozers) != 0 &&
           cbp_load_u32(&ring->tail) - cbp_load_u32(&ring->head) < CBP_DOZE_BACKLOG_MAX;
}

static void ring_bell(uint32_t session_id, bool somebody_waits)
{
    struct cbp_channel_session *ring = channel_of(session_id);
    cbp_add_u32(&ring->bell, 1);
    if (!somebody_waits && can_wait_for_dozer(ring))
        return;
    if (cbp_load_u32(&ring->sleepers) != 0)
        wake_worker(session_id);
}

/* Hands a filled slot to the core. */
static void push_slot(uint32_t number, uint32_t session_id, struct operation *operation, uint64_t deadline_ns,
                      const struct answerable *answerable)
{
    struct cbp_slot *slot = cbp_channel_slot(self.channel, number);
    struct cbp_channel_session *ring = channel_of(session_id);
    records[number].operation = operation;
    records[number].session_id = session_id;
    records[number].answerable = *answerable;
    records[number].posted = true;
    if (operation != NULL)
        link_waiting(number);
    slot->session_id = session_id;
    cbp_store_u64(&slot->deadline_ns, operation != NULL ? deadline_ns : 0);
    cbp_store_u32(&slot->decision, operation != NULL ? CBP_DECISION_OPEN : CBP_DECISION_EXPIRED);
    uint32_t tail = cbp_load_relaxed_u32(&ring->tail);
    cbp_store_relaxed_u32(&ring->ring[tail & RING_MASK], number);
    cbp_store_u32(&ring->tail, tail + 1);
    ring_bell(session_id, operation != NULL);
}

/* ---- The queue ---- */

static bool queue_message(const struct cbp_event_message *message, struct operation *operation,
                          uint64_t deadline_ns, const struct answerable *answerable)
{
    uint32_t size = message->header.size;
    bool full = queue_count >= QUEUE_COUNT_MAX || queue_size + size > QUEUE_SIZE_MAX;
    /* Held tasks bound themselves; what nobody waits for needs a bound of ours. */
    struct queued *queued =
        full && operation == NULL ? NULL : allocate_surely(offsetof(struct queued, message) + size);
    if (queued == NULL)
        return false;
    queued->next = NULL;
    queued->operation = operation;
    queued->deadline_ns = deadline_ns;
    queued->session_id = message->session_id;
    queued->answerable = *answerable;
    queued->size = size;
    memcpy(&queued->message, message, size);
    *queue_tail = queued;
    queue_tail = &queued->next;
    queue_count++;
    queue_size += size;
    if (operation != NULL) {
        queue_held_size += size;
        waiting_count++;
    }
    return true;
}

/* Nobody waits for its answer from the queue any more. */
static void stop_waiting_for(struct queued *queued)
{
    if (queued->operation == NULL)
        return;
    queued->operation = NULL;
    queue_held_size -= queued->size;
    waiting_count--;
}

bool has_room_to_hold(size_t size)
{
    return queue_head == NULL ||
           (queue_held_size + size <= QUEUE_HELD_SIZE_MAX && queue_size + size <= QUEUE_SIZE_MAX);
}

static void unqueue_head(void)
{
    struct queued *queued = queue_head;
    queue_head = queued->next;
    if (queue_head == NULL)
        queue_tail = &queue_head;
    queue_count--;
    queue_size -= queued->size;
    stop_waiting_for(queued);
    free_surely(queued);
}

/* Moves queued messages into slots, in order, as long as there are any. */
static void drain_queue(void)
{
    while (queue_head != NULL) {
        if (!self.sessions[queue_head->session_id].open) {
            unqueue_head();
            continue;
        }
        uint32_t number = take_slot(queue_head->size);
        if (number == NO_SLOT)
            return;
        memcpy(&cbp_channel_slot(self.channel, number)->message, &queue_head->message, queue_head->size);
        push_slot(number, queue_head->session_id, queue_head->operation, queue_head->deadline_ns,
                  &queue_head->answerable);
        unqueue_head();
    }
}

/* ---- Sending ---- */

static struct text scratch; /* a message on its way to the queue */

struct cbp_event_message *begin_message(uint32_t size, uint32_t *slot)
{
    *slot = queue_head == NULL ? take_slot(size) : NO_SLOT;
    if (*slot != NO_SLOT)
        return &cbp_channel_slot(self.channel, *slot)->message;
    return text_reserve(&scratch, size) ? (struct cbp_event_message *) (void *) scratch.bytes : NULL;
}

/* When to look at an operation with this deadline; without one, when its session could have become stale. */
static void plan_expiry(uint64_t deadline_ns, uint64_t now)
{
    uint64_t at = deadline_ns != 0 ? deadline_ns : now + CBP_HEARTBEAT_LIMIT_MS * UINT64_C(1000000);
    if (next_expiry_ns == 0 || at < next_expiry_ns)
        next_expiry_ns = at;
}

bool commit_message(struct cbp_event_message *message, uint32_t slot, struct operation *operation,
                    const struct answerable *answerable)
{
    uint64_t deadline_ns = message->header.deadline_ns;
    if (slot != NO_SLOT)
        push_slot(slot, message->session_id, operation, deadline_ns, answerable);
    else if (!queue_message(message, operation, deadline_ns, answerable))
        return false;
    if (operation != NULL) {
        operation->unanswered_count++;
        plan_expiry(deadline_ns, now_ns());
    }
    return true;
}

/* ---- Time running out ---- */

/* The dispatcher has been silent for longer than a deadline: as if every deadline had passed already. */
bool session_is_stale(uint32_t session_id, uint64_t now)
{
    const struct session *session = &self.sessions[session_id];
    uint64_t limit_ms = session->timeout_ms != 0 ? session->timeout_ms : CBP_HEARTBEAT_LIMIT_MS;
    uint64_t heartbeat = cbp_load_u64(&channel_of(session_id)->heartbeat_ns);
    return now > heartbeat && now - heartbeat > limit_ms * 1000000u;
}

void count_timeout(uint32_t session_id, bool is_creation, uint32_t *result_code)
{
    cbp_add_u64(&channel_of(session_id)->timed_out, 1);
    if (is_creation && self.sessions[session_id].timeout_action == CBP_TIMEOUT_ACTION_DENY) {
        cbp_add_u64(&channel_of(session_id)->refused, 1);
        if (*result_code == 0)
            *result_code = CBP_ERROR_TIMEOUT;
    }
}

/* ---- Answers ---- */

static void settle(struct operation *operation)
{
    if (--operation->unanswered_count == 0)
        apply_operation(operation);
}

/* A refusal by a session, 0 being none. */
static void refuse(struct operation *operation, uint32_t session_id, uint32_t result_code)
{
    bool is_first = operation->result_code == 0;
    if (result_code == 0 || (!is_first && !session_is_above(session_id, operation->refuser_id)))
        return;
    operation->result_code = result_code;
    operation->refuser_id = session_id;
}

/* What an answer takes from the operation that waited for it. */
static void apply_answer(const struct slot_record *record, const struct cbp_event_item *items,
                         struct operation *operation)
{
    uint32_t result_code = 0;
    for (uint32_t i = 0; i < CBP_BATCH_MAX; i++)
        if ((record->answerable.refusable_items & (1u << i)) != 0 && items[i].result_code != 0) {
            cbp_add_u64(&channel_of(record->session_id)->refused, 1);
            if (result_code == 0)
                result_code = items[i].result_code;
        }
    if (result_code == 0 && (record->answerable.access & ~items[0].desired_access) != 0) {
        cbp_add_u64(&channel_of(record->session_id)->refused, 1);
        operation->is_stripped = true;
    }
    refuse(operation, record->session_id, result_code);
}

/* A slot that the core has given back: what it says, and the slot to the free ones. */
static void accept_answer(uint32_t number)
{
    struct slot_record *record = &records[number];
    struct cbp_slot *slot = cbp_channel_slot(self.channel, number);
    struct operation *operation = record->operation;
    if (operation != NULL) {
        unlink_waiting(number);
        record->operation = NULL;
        if (cbp_load_u32(&slot->decision) == CBP_DECISION_ANSWERED)
            apply_answer(record, cbp_event_items_const(&slot->message), operation);
    }
    free_slot(number);
    if (operation != NULL)
        settle(operation);
}

bool answers_are_there(void)
{
    return cbp_load_u32(&self.channel->answers) != 0;
}

bool answers_settle_everything(void)
{
    return waiting_count <= 1 && answers_are_there();
}

bool collect_answers(void)
{
    uint32_t link = answers_are_there() ? cbp_swap_u32(&self.channel->answers, 0) : 0;
    bool any = link != 0;
    /* The list is the core's memory: it may lie, so it is bounded, and a slot that is not out is left alone.
     */
    for (uint32_t i = 0; link != 0 && i < CBP_SLOT_COUNT; i++) {
        uint32_t number = link - 1;
        if (number >= CBP_SLOT_COUNT)
            break;
        link = cbp_load_u32(&cbp_channel_slot(self.channel, number)->next);
        if (records[number].posted)
            accept_answer(number);
    }
    if (any)
        drain_queue();
    return any;
}

/* Takes the decision of a posted slot away from the core. */
static bool close_decision(uint32_t number)
{
    uint32_t expected = CBP_DECISION_OPEN;
    return cbp_compare_swap_u32(&cbp_channel_slot(self.channel, number)->decision, &expected,
                                CBP_DECISION_EXPIRED);
}

/* Gives up waiting for a slot's answer; the slot itself stays the core's. */
static void abandon_slot(uint32_t number, bool timed_out)
{
    struct operation *operation = records[number].operation;
    uint32_t session_id = records[number].session_id, result_code = 0;
    /* Answered this very moment, or its deadline is being moved: look again later, unless nobody is left to
     * do so. */
    if (!close_decision(number) && !self.controller_gone)
        return;
    unlink_waiting(number);
    records[number].operation = NULL;
    if (timed_out)
        count_timeout(session_id, records[number].answerable.is_creation, &result_code);
    refuse(operation, session_id, result_code);
    settle(operation);
}

static void expire_queued(uint64_t now)
{
    for (struct queued *queued = queue_head; queued != NULL; queued = queued->next) {
        struct operation *operation = queued->operation;
        if (operation == NULL)
            continue;
        bool expired =
            queued->deadline_ns != 0 ? now >= queued->deadline_ns : session_is_stale(queued->session_id, now);
        if (!expired) {
            plan_expiry(queued->deadline_ns, now);
            continue;
        }
        struct cbp_event_item *items = cbp_event_items(&queued->message);
        for (uint32_t i = 0; i < queued->message.item_count; i++)
            items[i].flags = (items[i].flags & ~(uint32_t) (CBP_EVENT_FLAG_HELD | CBP_EVENT_FLAG_REFUSABLE)) |
                             CBP_EVENT_FLAG_TIMED_OUT;
        stop_waiting_for(queued);
        uint32_t result_code = 0;
        count_timeout(queued->session_id, queued->answerable.is_creation, &result_code);
        refuse(operation, queued->session_id, result_code);
        settle(operation);
    }
}

void expire_operations(void)
{
    uint64_t now = now_ns();
    if (next_expiry_ns == 0 || now < next_expiry_ns)
        return;
    next_expiry_ns = 0;
    for (uint32_t number = records[NO_SLOT].next; number != NO_SLOT;) {
        uint32_t next = records[number].next;
        uint64_t deadline_ns = cbp_load_u64(&cbp_channel_slot(self.channel, number)->deadline_ns);
        bool stale = session_is_stale(records[number].session_id, now);
        if (stale || (deadline_ns != 0 && now >= deadline_ns))
            abandon_slot(number, true);
        if (records[number].operation != NULL)
            plan_expiry(deadline_ns > now || deadline_ns == 0 ? deadline_ns : now + 1000000, now);
        number = next;
    }
    expire_queued(now);
}

/* Takes back what the session's workers have not taken, and stops waiting for the rest. */
void release_session_slots(uint32_t session_id)
{
    struct cbp_channel_session *ring = channel_of(session_id);
    uint32_t head = cbp_load_u32(&ring->head);
    while (head != cbp_load_u32(&ring->tail)) {
        uint32_t number = cbp_load_u32(&ring->ring[head & RING_MASK]);
        if (!cbp_compare_swap_u32(&ring->head, &head, head + 1))
            continue;
        head++;
        if (number < CBP_SLOT_COUNT && records[number].posted) {
            (void) close_decision(number);
            accept_answer(number);
        }
    }
    for (uint32_t number = records[NO_SLOT].next; number != NO_SLOT;) {
        uint32_t next = records[number].next;
        if (records[number].session_id == session_id)
            abandon_slot(number, false);
        number = next;
    }
    for (struct queued *queued = queue_head; queued != NULL; queued = queued->next)
        if (queued->session_id == session_id && queued->operation != NULL) {
            struct operation *operation = queued->operation;
            stop_waiting_for(queued);
            settle(operation);
        }
    drain_queue();
}

void release_every_slot(void)
{
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if (self.sessions[id].open)
            release_session_slots(id);
}

/* The answers may still come: they find nobody to apply them to. */
void cancel_operation(struct operation *operation)
{
    operation->task = NULL;
}

bool anything_held(void)
{
    return waiting_count > 0;
}

uint64_t next_deadline_ns(void)
{
    return waiting_count > 0 ? next_expiry_ns : 0;
}
