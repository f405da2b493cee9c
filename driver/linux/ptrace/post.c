/* Events into the channel, answers out of it: slots, deadlines, and the queue for when all slots are taken.
 * Knows sessions and messages; what a held task does next is trace.c's business.
 *
 * A slot that has been pushed on a request ring belongs to the core until it comes back on the answer list.
 * What the supervisor needs to remember about it stands in its own record, out of the core's reach. */
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cbp_atomic.h"
#include "cbp_message_check.h"
#include "supervisor.h"

enum { QUEUE_COUNT_MAX = 65536, RING_MASK = 4095 };
enum { QUEUE_SIZE_MAX = 256 * 1024 * 1024 };

struct slot_record {
    struct operation *operation; /* NULL: nobody waits for the answer (any more) */
    uint32_t session_id;
    uint32_t refusable_items; /* bits: items whose result code counts */
    bool posted;
    uint16_t next, previous; /* posted slots whose operation waits */
};

struct queued {
    struct queued *next;
    struct operation *operation;
    uint64_t deadline_ns;
    uint32_t session_id;
    uint32_t refusable_items;
    uint32_t size;
    uint32_t reserved;
    struct cbp_event_message message; /* variable parts follow */
};

enum { NO_SLOT = CBP_SLOT_COUNT }; /* also the head of the list of waiting slots */

static struct slot_record records[CBP_SLOT_COUNT + 1];
static uint16_t free_small[CBP_SMALL_SLOT_COUNT], free_large[CBP_LARGE_SLOT_COUNT];
static uint32_t free_small_count, free_large_count;
static struct queued *queue_head, **queue_tail = &queue_head;
static uint32_t queue_count;
static size_t queue_size;
static uint32_t waiting_count;  /* slots and queued messages whose operation waits */
static uint64_t next_expiry_ns; /* no deadline lies before it; 0: there is none */

void post_init(void)
{
    for (uint32_t i = 0; i < CBP_SMALL_SLOT_COUNT; i++)
        free_small[free_small_count++] = (uint16_t) (CBP_SMALL_SLOT_COUNT - 1 - i);
    for (uint32_t i = 0; i < CBP_LARGE_SLOT_COUNT; i++)
        free_large[free_large_count++] = (uint16_t) (CBP_SLOT_COUNT - 1 - i);
    records[NO_SLOT].next = records[NO_SLOT].previous = NO_SLOT;
}

static struct cbp_channel_session *channel_of(uint32_t session_id)
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
    char *slot = (char *) cbp_channel_slot(self.channel, number);
    (void) madvise(slot + 4096, CBP_LARGE_SLOT_SIZE - 4096, MADV_REMOVE);
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

static void ring_bell(uint32_t session_id)
{
    struct cbp_channel_session *ring = channel_of(session_id);
    cbp_add_u32(&ring->bell, 1);
    if (cbp_load_u32(&ring->sleepers) != 0)
        syscall(SYS_futex, &ring->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* Hands a filled slot to the core. */
static void push_slot(uint32_t number, uint32_t session_id, struct operation *operation, uint64_t deadline_ns,
                      uint32_t refusable_items)
{
    struct cbp_slot *slot = cbp_channel_slot(self.channel, number);
    struct cbp_channel_session *ring = channel_of(session_id);
    records[number].operation = operation;
    records[number].session_id = session_id;
    records[number].refusable_items = refusable_items;
    records[number].posted = true;
    if (operation != NULL)
        link_waiting(number);
    slot->session_id = session_id;
    cbp_store_u64(&slot->deadline_ns, operation != NULL ? deadline_ns : 0);
    cbp_store_u32(&slot->decision, operation != NULL ? CBP_DECISION_OPEN : CBP_DECISION_EXPIRED);
    uint32_t tail = cbp_load_relaxed_u32(&ring->tail);
    cbp_store_relaxed_u32(&ring->ring[tail & RING_MASK], number);
    cbp_store_u32(&ring->tail, tail + 1);
    ring_bell(session_id);
}

/* ---- The queue ---- */

static bool queue_message(const struct cbp_event_message *message, struct operation *operation,
                          uint64_t deadline_ns, uint32_t refusable_items)
{
    uint32_t size = message->header.size;
    bool full = queue_count >= QUEUE_COUNT_MAX || queue_size + size > QUEUE_SIZE_MAX;
    /* Held tasks bound themselves; what nobody waits for needs a bound of ours. */
    struct queued *queued =
        full && operation == NULL ? NULL : malloc(offsetof(struct queued, message) + size);
    if (queued == NULL)
        return false;
    queued->next = NULL;
    queued->operation = operation;
    queued->deadline_ns = deadline_ns;
    queued->session_id = message->session_id;
    queued->refusable_items = refusable_items;
    queued->size = size;
    memcpy(&queued->message, message, size);
    *queue_tail = queued;
    queue_tail = &queued->next;
    queue_count++;
    queue_size += size;
    if (operation != NULL)
        waiting_count++;
    return true;
}

static void unqueue_head(void)
{
    struct queued *queued = queue_head;
    queue_head = queued->next;
    if (queue_head == NULL)
        queue_tail = &queue_head;
    queue_count--;
    queue_size -= queued->size;
    if (queued->operation != NULL)
        waiting_count--;
    free(queued);
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
                  queue_head->refusable_items);
        unqueue_head();
    }
}

/* ---- Messages ---- */

static struct text scratch; /* a message on its way to the queue */

static uint32_t put_text(struct cbp_event_message *message, uint32_t *offset, const char *text, uint32_t size)
{
    *offset = size > 0 ? message->header.size : 0;
    if (size > 0)
        memcpy((char *) message + message->header.size, text, size);
    message->header.size += size;
    return size;
}

static uint32_t message_size_of(const struct report *report)
{
    const struct image *image = report->image;
    uint32_t names_size = image != NULL ? image->path_size + image->given_size : 0;
    return (uint32_t) sizeof(struct cbp_event_message) + names_size + report->arguments_size;
}

static void fill_message(struct cbp_event_message *message, const struct report *report, uint32_t session_id,
                         uint64_t deadline_ns)
{
    const struct process *process = report->process;
    const struct image *image = report->image;
    memset(message, 0, sizeof *message);
    message->header.size = sizeof *message;
    message->header.type = CBP_MESSAGE_EVENT;
    message->header.deadline_ns = deadline_ns;
    message->time_ns = wall_ns();
    message->start_time = process->start_time;
    message->session_id = session_id;
    message->process_id = process->pid;
    message->thread_id = report->thread_id;
    message->parent_process_id = process->parent_pid;
    message->originator_process_id = report->originator_pid;
    message->originator_thread_id = report->originator_tid;
    message->user_id = report->user_id;
    message->exit_status = report->exit_status;
    message->capabilities =
        process->has_filter ? CBP_CAP_REFUSE_PROCESS_CREATION : CBP_CAP_KILL_PROCESS_CREATION;
    if (image != NULL) {
        message->process_name_size =
            put_text(message, &message->process_name_offset, image->path, image->path_size);
        message->image_file_name_size =
            put_text(message, &message->image_file_name_offset, image->given, image->given_size);
    }
    message->arguments_size =
        put_text(message, &message->arguments_offset, report->arguments, report->arguments_size);
}

/* ---- Telling the sessions ---- */

static uint32_t operation_bits(uint32_t type)
{
    return type == CBP_PROC_EVT_PROCESS_CREATION ? CBP_OPERATION_REFUSABLE : 0;
}

static enum cbp_outcome outcome_of(const struct report *report, uint32_t session_id, uint32_t item,
                                   uint32_t *deny_code)
{
    static const struct cbp_stance nobody;
    const struct cbp_stance *subject = &report->subject[session_id];
    const struct cbp_stance *originator =
        report->originator != NULL ? &report->originator[session_id] : &nobody;
    uint32_t strip_mask;
    return cbp_outcome_of(operation_bits(report->types[item]), originator, subject, deny_code, &strip_mask);
}

/* The dispatcher has been silent for longer than a deadline: as if every deadline had passed already. */
static bool is_stale(uint32_t session_id, uint64_t now)
{
    const struct session *session = &self.sessions[session_id];
    uint64_t limit_ms = session->timeout_ms != 0 ? session->timeout_ms : CBP_HEARTBEAT_LIMIT_MS;
    uint64_t heartbeat = cbp_load_u64(&channel_of(session_id)->heartbeat_ns);
    return now > heartbeat && now - heartbeat > limit_ms * 1000000u;
}

static uint64_t deadline_of(uint32_t session_id, uint64_t now)
{
    uint32_t timeout_ms = self.sessions[session_id].timeout_ms;
    return timeout_ms != 0 ? now + timeout_ms * UINT64_C(1000000) : 0;
}

/* When to look at an operation with this deadline; without one, when its session could have become stale. */
static void plan_expiry(uint64_t deadline_ns, uint64_t now)
{
    uint64_t at = deadline_ns != 0 ? deadline_ns : now + CBP_HEARTBEAT_LIMIT_MS * UINT64_C(1000000);
    if (next_expiry_ns == 0 || at < next_expiry_ns)
        next_expiry_ns = at;
}

static void count_timeout(uint32_t session_id, bool is_creation, uint32_t *result_code)
{
    cbp_add_u64(&channel_of(session_id)->timed_out, 1);
    if (is_creation && self.sessions[session_id].timeout_action == CBP_TIMEOUT_ACTION_DENY) {
        cbp_add_u64(&channel_of(session_id)->refused, 1);
        if (*result_code == 0)
            *result_code = CBP_ERROR_TIMEOUT;
    }
}

/* What one session is told of a report. */
struct selection {
    uint32_t session_id;
    uint32_t item_count;
    uint32_t items[CBP_BATCH_MAX]; /* indexes into the report */
    uint32_t flags[CBP_BATCH_MAX];
    uint32_t refusable_items;
    bool asked;
    bool decided;
};

static void select_items(const struct report *report, uint32_t session_id, struct selection *selection,
                         uint32_t *refusal)
{
    memset(selection, 0, sizeof *selection);
    selection->session_id = session_id;
    for (uint32_t i = 0; i < report->item_count; i++) {
        uint32_t deny_code = 0;
        const struct session *session = &self.sessions[session_id];
        if ((session->events & report->types[i]) == 0)
            continue;
        if ((report->flags[i] & CBP_EVENT_FLAG_FORK) && !(session->flags & CBP_SESSION_FLAG_FORK_IS_CREATION))
            continue;
        enum cbp_outcome outcome = outcome_of(report, session_id, i, &deny_code);
        if (outcome == CBP_OUTCOME_SILENT)
            continue;
        uint32_t at = selection->item_count++;
        selection->items[at] = i;
        selection->flags[at] = report->flags[i];
        if (outcome == CBP_OUTCOME_ASK) {
            selection->asked = true;
            if (operation_bits(report->types[i]) & CBP_OPERATION_REFUSABLE)
                selection->refusable_items |= 1u << at;
            continue;
        }
        selection->decided = true;
        selection->flags[at] |= CBP_EVENT_FLAG_DECIDED_BY_RULE;
        if (outcome == CBP_OUTCOME_DENY && *refusal == 0)
            *refusal = deny_code;
        if (outcome == CBP_OUTCOME_DENY)
            cbp_add_u64(&channel_of(session_id)->refused, 1);
    }
    if (selection->decided)
        cbp_add_u64(&channel_of(session_id)->decided, 1);
}

static void put_items(struct cbp_event_message *message, const struct report *report,
                      const struct selection *selection, uint32_t added_flags)
{
    struct cbp_event_item *items = cbp_event_items(message);
    struct session *session = &self.sessions[selection->session_id];
    message->item_count = selection->item_count;
    message->sequence = session->sequence + 1;
    session->sequence += selection->item_count;
    for (uint32_t i = 0; i < selection->item_count; i++) {
        uint32_t flags = selection->flags[i];
        if ((flags & CBP_EVENT_FLAG_DECIDED_BY_RULE) == 0)
            flags |= added_flags;
        if ((added_flags & CBP_EVENT_FLAG_HELD) != 0 && (selection->refusable_items & (1u << i)) != 0)
            flags |= CBP_EVENT_FLAG_REFUSABLE;
        items[i].type = report->types[selection->items[i]];
        items[i].flags = flags;
    }
}

/* Puts one session's message into a slot or the queue. Gives its first sequence number. */
static uint64_t send_selection(const struct report *report, const struct selection *selection,
                               struct operation *operation, uint32_t added_flags, uint64_t now)
{
    uint32_t session_id = selection->session_id;
    uint64_t deadline_ns = operation != NULL ? deadline_of(session_id, now) : 0;
    uint32_t size = message_size_of(report);
    uint32_t number = queue_head == NULL ? take_slot(size) : NO_SLOT;
    struct cbp_event_message *message = NULL;
    if (number != NO_SLOT)
        message = &cbp_channel_slot(self.channel, number)->message;
    else if (text_reserve(&scratch, size))
        message = (struct cbp_event_message *) (void *) scratch.bytes;
    uint64_t sequence = self.sessions[session_id].sequence + 1;
    if (message == NULL) {
        self.sessions[session_id].sequence += selection->item_count;
        cbp_add_u64(&channel_of(session_id)->lost, selection->item_count);
        return sequence;
    }
    fill_message(message, report, session_id, deadline_ns);
    put_items(message, report, selection, added_flags);
    bool sent = true;
    if (number != NO_SLOT)
        push_slot(number, session_id, operation, deadline_ns, selection->refusable_items);
    else
        sent = queue_message(message, operation, deadline_ns, selection->refusable_items);
    if (!sent)
        cbp_add_u64(&channel_of(session_id)->lost, selection->item_count);
    else if (operation != NULL) {
        operation->unanswered_count++;
        plan_expiry(deadline_ns, now);
    }
    return sequence;
}

struct operation *post_report(const struct report *report, uint32_t *refusal, uint64_t *sequences)
{
    struct selection selections[CBP_SESSION_MAX];
    uint32_t count = 0;
    bool asked = false;
    uint64_t now = now_ns();
    *refusal = 0;
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++) {
        if (sequences != NULL)
            sequences[id] = 0;
        if (!self.sessions[id].open || self.leaving)
            continue;
        select_items(report, id, &selections[count], refusal);
        asked |= selections[count].asked;
        count += selections[count].item_count > 0;
    }
    struct operation *operation = NULL;
    if (asked && *refusal == 0 && !report->is_past)
        operation = calloc(1, sizeof *operation);
    for (uint32_t i = 0; i < count; i++) {
        struct selection *selection = &selections[i];
        struct operation *waits = selection->asked ? operation : NULL;
        uint32_t added_flags = waits != NULL ? CBP_EVENT_FLAG_HELD : 0;
        if (waits != NULL && is_stale(selection->session_id, now)) {
            count_timeout(selection->session_id, selection->refusable_items != 0, refusal);
            waits = NULL;
            added_flags = CBP_EVENT_FLAG_TIMED_OUT;
        }
        uint64_t sequence = send_selection(report, selection, waits, added_flags, now);
        if (sequences != NULL)
            sequences[selection->session_id] = sequence;
    }
    if (operation != NULL && operation->unanswered_count == 0) {
        free(operation);
        operation = NULL;
    }
    if (operation != NULL)
        operation->result_code = *refusal;
    return operation;
}

/* ---- Answers ---- */

static void settle(struct operation *operation)
{
    if (--operation->unanswered_count == 0)
        apply_operation(operation);
}

/* A slot that the core has given back: what it says, and the slot to the free ones. */
static void accept_answer(uint32_t number)
{
    struct slot_record *record = &records[number];
    struct cbp_slot *slot = cbp_channel_slot(self.channel, number);
    struct operation *operation = record->operation;
    if (operation != NULL) {
        const struct cbp_event_item *items = cbp_event_items_const(&slot->message);
        unlink_waiting(number);
        record->operation = NULL;
        for (uint32_t i = 0; i < CBP_BATCH_MAX; i++)
            if ((record->refusable_items & (1u << i)) != 0 && items[i].result_code != 0 &&
                cbp_load_u32(&slot->decision) == CBP_DECISION_ANSWERED) {
                cbp_add_u64(&channel_of(record->session_id)->refused, 1);
                if (operation->result_code == 0)
                    operation->result_code = items[i].result_code;
            }
    }
    free_slot(number);
    if (operation != NULL)
        settle(operation);
}

bool collect_answers(void)
{
    uint32_t link = cbp_load_u32(&self.channel->answers) != 0 ? cbp_swap_u32(&self.channel->answers, 0) : 0;
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
    /* Answered this very moment, or its deadline is being moved: look again later, unless nobody is left to
     * do so. */
    if (!close_decision(number) && !self.controller_gone)
        return;
    unlink_waiting(number);
    records[number].operation = NULL;
    if (timed_out)
        count_timeout(records[number].session_id, records[number].refusable_items != 0,
                      &operation->result_code);
    settle(operation);
}

static void expire_queued(uint64_t now)
{
    for (struct queued *queued = queue_head; queued != NULL; queued = queued->next) {
        struct operation *operation = queued->operation;
        if (operation == NULL)
            continue;
        bool expired =
            queued->deadline_ns != 0 ? now >= queued->deadline_ns : is_stale(queued->session_id, now);
        if (!expired) {
            plan_expiry(queued->deadline_ns, now);
            continue;
        }
        struct cbp_event_item *items = cbp_event_items(&queued->message);
        for (uint32_t i = 0; i < queued->message.item_count; i++)
            items[i].flags = (items[i].flags & ~(uint32_t) (CBP_EVENT_FLAG_HELD | CBP_EVENT_FLAG_REFUSABLE)) |
                             CBP_EVENT_FLAG_TIMED_OUT;
        queued->operation = NULL;
        waiting_count--;
        count_timeout(queued->session_id, queued->refusable_items != 0, &operation->result_code);
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
        bool stale = is_stale(records[number].session_id, now);
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
            queued->operation = NULL;
            waiting_count--;
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
