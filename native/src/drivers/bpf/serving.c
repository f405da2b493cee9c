/* Implements serving.h. */
#include "serving.h"

#include "errors.h"
#include "event_message.h"

#include <stdlib.h>
#include <unistd.h>

/* A worker that has just been at work, or was woken by a record, looks at the ring by itself, for this long and at
 * these intervals: under load few records wake anybody. */
#define DOZE_NS (3 * CBP_NS_PER_MS)
#define DOZE_STEP_MS 1u

/* ---- Turns ---- */

static void look(const void *memory, uint32_t slot, struct cbpi_turn_subject *subject)
{
    const struct cbpi_machine_session *session = memory;
    const struct cbp_event_message *message = &session->slots[slot]->message;
    const struct cbp_event_item *items = cbp_event_items_const(message);
    *subject = (struct cbpi_turn_subject){.process_id = message->process_id, .thread_id = message->thread_id};
    for (uint32_t i = 0; i < message->item_count; i++) {
        subject->types |= items[i].type;
        subject->flags |= items[i].flags;
    }
}

static bool is_expired(const void *memory, uint32_t slot, uint64_t now_ns)
{
    const struct cbpi_machine_session *session = memory;
    const struct cbpi_told *told =
        session->slots[slot]; /* NULL: it has been answered, and the turn ends soon */
    return told && (told->is_late || (told->deadline_ns != 0 && now_ns >= told->deadline_ns));
}

static const struct cbpi_turn_slots turn_slots = {.look = look, .is_expired = is_expired};

void cbpi_serving_init(struct cbpi_machine_session *session)
{
    session->turns.slots = &turn_slots;
    session->turns.memory = session;
}

/* ---- Taking in ---- */

/* Notes that the guard has gone, which ends all sessions. */
static void die(struct cbpi_machine *machine)
{
    if (machine->is_dead)
        return;
    machine->is_dead = true;
    /* While this process has the groups, the kernel goes on to hold executions for them. */
    for (int i = CBP_GUARD_FD_UPPER; i <= CBP_GUARD_FD_LOWER; i++) {
        if (machine->guard.descriptors[i] >= 0)
            close(machine->guard.descriptors[i]);
        machine->guard.descriptors[i] = -1;
    }
    for (uint32_t place = 0; place < CBP_SESSION_MAX; place++)
        if (machine->sessions[place])
            cbpi_session_ring_bell(machine->sessions[place]);
}

void cbpi_machine_serve(struct cbpi_machine *machine, uint32_t sources)
{
    if (sources & CBPI_SOURCE_GUARD)
        die(machine);
    if (machine->is_dead)
        return;
    cbpi_machine_drain(machine);
    while (sources & CBPI_SOURCE_UPPER &&
           cbpi_machine_read_files(machine, 0)) /* an edge tells of all of them */
        continue;
    while (sources & CBPI_SOURCE_LOWER && cbpi_machine_read_files(machine, 1))
        continue;
    while (sources & CBPI_SOURCE_GATE && cbpi_machine_read_gate(machine))
        continue;
}

/* ---- Slots ---- */

static void free_told(struct cbpi_machine_session *session, uint32_t slot)
{
    free(session->slots[slot]);
    session->slots[slot] = NULL;
    session->free_slots[session->free_count++] = (uint16_t) slot;
}

/* Takes the next message whose turn it is; those before it wait with the workers that they follow. */
static bool take_from_queue(struct cbpi_machine_session *session, struct cbpi_turn *turn, uint32_t *slot)
{
    while (session->free_count > 0) {
        struct cbpi_told *told = cbpi_told_take(session);
        if (!told)
            return false;
        *slot = session->free_slots[--session->free_count];
        session->slots[*slot] = told;
        if (cbpi_turns_begin(&session->turns, turn, *slot))
            return true;
    }
    return false;
}

/* Ends the worker's turn, and takes the next message for it. */
static bool take(struct cbpi_machine_session *session, struct cbpi_turn *turn, uint32_t *slot)
{
    struct cbpi_turns *turns = &session->turns;
    bool is_taken = cbpi_turns_end(turns, turn, slot);
    while (!is_taken && cbpi_turns_take_ready(turns, slot))
        is_taken = cbpi_turns_begin(turns, turn, *slot);
    return is_taken || take_from_queue(session, turn, slot);
}

/* ---- Waiting ---- */

/* Looks at the ring in short steps for a while, so that its records wake nobody. */
static uint32_t doze(struct cbpi_machine_session *session)
{
    struct cbpi_machine *machine = session->machine;
    uint32_t sources = 0;
    machine->is_dozing = true;
    cbp_store_u32(&machine->guard.settings->is_dozing, 1);
    while (sources == 0 && session->queue_count == 0 && !session->is_closed && !machine->is_dead &&
           cbpi_now_ns() - session->busy_ns < DOZE_NS) {
        session->waiting_count++;
        cbpi_mutex_unlock(&machine->mutex);
        sources = cbpi_sources_wait(session->epoll, DOZE_STEP_MS);
        cbpi_mutex_lock(&machine->mutex);
        session->waiting_count--;
        cbpi_machine_serve(machine, sources);
    }
    machine->is_dozing = false;
    return sources;
}

/* From now on records wake a worker. Those that have come before are taken here. */
static void end_dozing(struct cbpi_machine *machine)
{
    if (machine->is_dead || machine->is_dozing || !cbp_load_u32(&machine->guard.settings->is_dozing))
        return;
    cbp_store_u32(&machine->guard.settings->is_dozing, 0);
    cbpi_machine_drain(machine);
}

/* Waits once, and takes in what there is. The mutex is held before and after. */
static void wait_once(struct cbpi_machine_session *session, uint64_t limit_ns)
{
    struct cbpi_machine *machine = session->machine;
    if (!machine->is_dozing && cbpi_now_ns() - session->busy_ns < DOZE_NS && doze(session) != 0)
        return;
    end_dozing(machine);
    if (session->queue_count > 0 || session->is_closed || machine->is_dead)
        return;
    uint64_t now_ns = cbpi_now_ns();
    uint64_t left_ms = limit_ns > now_ns ? (limit_ns - now_ns + CBP_NS_PER_MS - 1) / CBP_NS_PER_MS : 0;
    session->waiting_count++;
    cbpi_mutex_unlock(&machine->mutex);
    uint32_t sources =
        cbpi_sources_wait(session->epoll, left_ms < UINT32_MAX ? (uint32_t) left_ms : CBPI_WAIT_FOREVER);
    cbpi_mutex_lock(&machine->mutex);
    session->waiting_count--;
    if (sources & CBPI_SOURCE_RING)
        session->busy_ns = cbpi_now_ns();
    cbpi_machine_serve(machine, sources);
}

/* The wake-up of one worker that ends wakes the next. */
static uint32_t end(struct cbpi_machine_session *session, struct cbpi_turn *turn, uint32_t error)
{
    cbpi_turns_leave(&session->turns, turn);
    cbpi_session_ring_bell(session);
    return error;
}

static uint32_t next_slot(struct cbpi_machine_session *session, struct cbpi_turn *turn, uint32_t timeout_ms,
                          uint32_t *slot)
{
    struct cbpi_machine *machine = session->machine;
    uint64_t limit_ns =
        timeout_ms == CBPI_WAIT_FOREVER ? UINT64_MAX : cbpi_now_ns() + timeout_ms * CBP_NS_PER_MS;
    if (turn->is_on)
        session->busy_count--;
    for (;;) {
        if (session->is_closed)
            return end(session, turn, CBP_ERROR_OPERATION_ABORTED);
        cbpi_machine_serve(machine, 0);
        if (take(session, turn, slot)) {
            session->busy_count++;
            session->busy_ns = cbpi_now_ns();
            return 0;
        }
        if (machine->is_dead)
            return end(session, turn, CBP_ERROR_BROKEN_PIPE);
        if (cbpi_now_ns() >= limit_ns)
            return CBP_ERROR_TIMEOUT;
        wait_once(session, limit_ns);
    }
}

/* ---- Deliveries ---- */

static uint32_t hand_over(struct cbpi_machine_session *session, uint32_t slot, struct cbpi_delivery *delivery)
{
    const struct cbpi_told *told = session->slots[slot];
    uint32_t wanted = (cbpi_event_decoded_size(&told->message) + 7u) & ~7u;
    if (delivery->capacity < wanted) {
        delivery->capacity = wanted;
        return CBP_ERROR_INSUFFICIENT_BUFFER;
    }
    cbpi_event_decode(&told->message, delivery);
    delivery->slot = slot;
    delivery->nobody_waits = !told->was_held;
    for (uint32_t i = 0; i < delivery->count && told->is_late; i++)
        if (delivery->items[i].flags & CBP_EVENT_FLAG_HELD)
            delivery->items[i].flags |= CBP_EVENT_FLAG_TIMED_OUT;
    delivery->event->flags = delivery->items[0].flags;
    return 0;
}

uint32_t cbpi_serving_receive(struct cbpi_machine_session *session, struct cbpi_delivery *delivery,
                              uint32_t timeout_ms, uint32_t *pending)
{
    struct cbpi_machine *machine = session->machine;
    cbpi_mutex_lock(&machine->mutex);
    uint32_t slot = *pending - 1;
    uint32_t error = *pending ? 0 : next_slot(session, delivery->turn, timeout_ms, &slot);
    if (error == 0) {
        error = hand_over(session, slot, delivery);
        *pending = error == CBP_ERROR_INSUFFICIENT_BUFFER ? slot + 1 : 0;
    }
    cbpi_machine_ring_bells(machine);
    cbpi_mutex_unlock(&machine->mutex);
    return error;
}

/* Lets the operation go on as far as this session is concerned. */
static void let_go(struct cbpi_told *told)
{
    struct cbpi_machine_operation *operation = cbpi_told_stop_waiting(told);
    if (operation)
        (void) cbpi_machine_settle(told->session->machine, operation);
}

void cbpi_serving_skip(struct cbpi_machine_session *session, uint32_t *pending)
{
    cbpi_mutex_lock(&session->machine->mutex);
    let_go(session->slots[*pending - 1]);
    free_told(session, *pending - 1);
    *pending = 0;
    cbpi_mutex_unlock(&session->machine->mutex);
}

void cbpi_session_let_go(struct cbpi_machine_session *session)
{
    struct cbpi_told *told;
    while ((told = cbpi_told_take(session))) {
        let_go(told);
        free(told);
    }
    for (uint32_t slot = 0; slot < CBPI_TURNS_SLOT_MAX; slot++)
        if (session->slots[slot])
            let_go(session->slots[slot]);
}

/* ---- Answers ---- */

/* Applies a refusal of an execution that has happened. */
static void refuse_late(struct cbpi_machine_session *session, const struct cbpi_told *told,
                        const struct cbpi_delivery *delivery)
{
    for (uint32_t i = 0; i < delivery->count && told->ends_process; i++) {
        const struct cbp_event_item *item = &delivery->items[i];
        if (item->type != CBP_PROC_EVT_PROCESS_CREATION || item->result_code == 0 ||
            item->flags & CBP_EVENT_FLAG_DECIDED_BY_RULE)
            continue;
        session->counts.refused++;
        cbpi_machine_end_refused(told->message.process_id, told->message.start_time);
    }
}

/* Notes an answer that takes rights out of an operation on a handle, which had happened before. */
static void note_unapplied(struct cbpi_machine_session *session, const struct cbpi_told *told,
                           const struct cbpi_delivery *delivery)
{
    for (uint32_t i = 0; i < delivery->count; i++) {
        const struct cbp_event_item *item = &delivery->items[i];
        if ((item->type & CBPD_HANDLE_OPERATIONS) == 0 || item->flags & CBP_EVENT_FLAG_DECIDED_BY_RULE)
            continue;
        session->counts.not_applied +=
            item->result_code != 0 || item->desired_access != told->message.original_desired_access;
    }
}

static uint32_t apply(struct cbpi_machine_session *session, struct cbpi_told *told,
                      const struct cbpi_delivery *delivery)
{
    struct cbpi_machine *machine = session->machine;
    struct cbpi_machine_operation *operation = told->operation;
    if (told->was_held && operation && told->deadline_ns != 0 && cbpi_now_ns() >= told->deadline_ns)
        cbpi_told_expire(told);
    if (!told->was_held) {
        refuse_late(session, told, delivery);
        note_unapplied(session, told, delivery);
    }
    if (!told->operation)
        return told->was_held ? CBP_ERROR_TIMEOUT : 0;
    session->counts.refused += cbpd_apply_answer(&machine->policy, session->place, &told->answerable,
                                                 delivery->items, &operation->base);
    return cbpi_told_stop_waiting(told) ? cbpi_machine_settle(machine, operation) : 0;
}

uint32_t cbpi_serving_answer(struct cbpi_machine_session *session, const struct cbpi_delivery *delivery)
{
    cbpi_mutex_lock(&session->machine->mutex);
    uint32_t error = apply(session, session->slots[delivery->slot], delivery);
    free_told(session, delivery->slot);
    cbpi_mutex_unlock(&session->machine->mutex);
    return error;
}

/* Says whether the answer to a message would still count. */
static bool is_open(const struct cbpi_told *told)
{
    if (!told->was_held)
        return true;
    return told->operation && (told->deadline_ns == 0 || cbpi_now_ns() < told->deadline_ns) &&
           cbpi_machine_is_in_hand(told->session->machine, told->operation);
}

uint32_t cbpi_serving_check(struct cbpi_machine_session *session, const struct cbpi_delivery *delivery)
{
    cbpi_mutex_lock(&session->machine->mutex);
    bool is_there = is_open(session->slots[delivery->slot]);
    cbpi_mutex_unlock(&session->machine->mutex);
    return is_there ? 0 : CBP_ERROR_TIMEOUT;
}

uint32_t cbpi_serving_extend(struct cbpi_machine_session *session, const struct cbpi_delivery *delivery,
                             uint32_t timeout_ms)
{
    struct cbpi_machine *machine = session->machine;
    cbpi_mutex_lock(&machine->mutex);
    struct cbpi_told *told = session->slots[delivery->slot];
    bool is_there = is_open(told);
    if (is_there && told->operation) {
        told->deadline_ns = timeout_ms ? cbpi_now_ns() + timeout_ms * CBP_NS_PER_MS : 0;
        if (timeout_ms && (machine->next_expiry_ns == 0 || told->deadline_ns < machine->next_expiry_ns))
            machine->next_expiry_ns = told->deadline_ns;
        cbpi_machine_plan(machine, told->operation);
    }
    cbpi_mutex_unlock(&machine->mutex);
    return is_there ? 0 : CBP_ERROR_TIMEOUT;
}

/* ---- The dispatcher's part ---- */

uint32_t cbpi_serving_backlog(struct cbpi_machine_session *session)
{
    cbpi_mutex_lock(&session->machine->mutex);
    if (!session->is_closed)
        cbpi_machine_serve(session->machine, 0);
    uint32_t count = session->is_closed ? 0 : session->queue_count + session->turns.ready_count;
    cbpi_mutex_unlock(&session->machine->mutex);
    return count;
}

uint32_t cbpi_serving_beat(struct cbpi_machine_session *session)
{
    struct cbpi_machine *machine = session->machine;
    uint64_t now_ns = cbpi_now_ns();
    cbpi_mutex_lock(&machine->mutex);
    if (!session->is_closed && !machine->is_dead && !cbpi_guard_beat(&machine->guard))
        die(machine);
    if (!session->is_closed)
        cbpi_machine_serve(machine, 0);
    cbpi_machine_tend_operations(machine, now_ns);
    if (!machine->is_dead)
        cbpi_machine_check_census(machine, now_ns);
    cbpi_turns_expire(&session->turns, now_ns);
    cbpi_machine_ring_bells(machine);
    if (session->waiting_count > 0 && session->queue_count + session->turns.ready_count > 0)
        cbpi_session_ring_bell(session); /* a slow handler has left them */
    bool is_dead = machine->is_dead && !session->is_closed;
    cbpi_mutex_unlock(&machine->mutex);
    return is_dead ? CBP_ERROR_BROKEN_PIPE : 0;
}
