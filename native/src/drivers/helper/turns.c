/* Implements turns.h. */
#include "turns.h"

#include "cbp_atomic.h"
#include "cbp_message.h"

#define WHOLE (CBP_PROC_EVT_PROCESS_CREATION | CBP_PROC_EVT_PROCESS_TERMINATION)
#define LIFETIMES (WHOLE | CBP_PROC_EVT_THREAD_CREATION | CBP_PROC_EVT_THREAD_TERMINATION)

/* ---- Queues ---- */

/* Puts all of one queue behind the other. */
static void splice(struct cbpi_turns *turns, struct cbpi_turn_queue *to, struct cbpi_turn_queue *from)
{
    if (!from->first)
        return;
    if (to->last)
        turns->next[to->last - 1] = (uint16_t) from->first;
    else
        to->first = from->first;
    to->last = from->last;
    *from = (struct cbpi_turn_queue){0, 0};
}

static void append(struct cbpi_turns *turns, struct cbpi_turn_queue *queue, uint32_t slot)
{
    struct cbpi_turn_queue one = {slot + 1, slot + 1};
    turns->next[slot] = 0;
    turns->is_queued[slot] = 1;
    splice(turns, queue, &one);
    cbp_add_u32(&turns->waiting_count, 1);
}

static uint32_t take_first(struct cbpi_turns *turns, struct cbpi_turn_queue *queue)
{
    uint32_t slot = queue->first - 1;
    queue->first = turns->next[slot];
    if (!queue->first)
        queue->last = 0;
    turns->is_queued[slot] = 0;
    cbp_subtract_u32(&turns->waiting_count, 1);
    return slot;
}

static void make_ready(struct cbpi_turns *turns, struct cbpi_turn *turn)
{
    uint32_t count = 0;
    for (uint32_t at = turn->waiting.first; at; at = turns->next[at - 1])
        count++;
    splice(turns, &turns->ready, &turn->waiting);
    turn->has_whole = false;
    cbp_add_u32(&turns->ready_count, count);
}

/* ---- What a slot is about ---- */

static void look_at(const struct cbpi_turns *turns, uint32_t slot, struct cbpi_turn *turn)
{
    struct cbpi_turn_subject subject;
    turns->slots->look(turns->memory, slot, &subject);
    turn->slot = slot;
    turn->process_id = subject.process_id;
    turn->thread_id = subject.thread_id;
    turn->is_held = (subject.flags & CBP_EVENT_FLAG_HELD) != 0;
    turn->is_whole = (subject.types & WHOLE) != 0;
    turn->is_of_none = (subject.types & LIFETIMES) == 0;
}

/* Says whether the deadline of the turn has passed, so that no task waits for its answer any more. */
static bool is_past(const struct cbpi_turns *turns, const struct cbpi_turn *turn, uint64_t now_ns)
{
    return turn->is_held && turns->slots->is_expired(turns->memory, turn->slot, now_ns);
}

/* Gives the turn that the slot follows, of those that are being handled. */
static struct cbpi_turn *leader_of(const struct cbpi_turns *turns, const struct cbpi_turn *about)
{
    struct cbpi_turn *turn = about->is_of_none ? NULL : turns->on;
    for (; turn; turn = turn->next)
        if (turn->process_id == about->process_id && !turn->is_of_none &&
            (turn->is_whole || turn->has_whole || about->is_whole || turn->thread_id == about->thread_id))
            return turn;
    return NULL;
}

/* ---- Turns ---- */

static void switch_off(struct cbpi_turns *turns, struct cbpi_turn *turn)
{
    struct cbpi_turn **at = &turns->on;
    while (turn->is_on && *at != turn)
        at = &(*at)->next;
    if (turn->is_on)
        *at = turn->next;
    turn->is_on = false;
}

static void switch_on(struct cbpi_turns *turns, struct cbpi_turn *turn, const struct cbpi_turn *about)
{
    struct cbpi_turn_queue waiting = turn->waiting;
    bool has_whole = waiting.first && turn->has_whole;
    *turn = *about;
    turn->waiting = waiting;
    turn->has_whole = has_whole;
    turn->is_on = true;
    turn->next = turns->on;
    turns->on = turn;
}

bool cbpi_turns_begin(struct cbpi_turns *turns, struct cbpi_turn *turn, uint32_t slot)
{
    struct cbpi_turn about = {.slot = slot};
    look_at(turns, slot, &about);
    struct cbpi_turn *leader = leader_of(turns, &about);
    if (!leader) {
        switch_on(turns, turn, &about);
        return true;
    }
    append(turns, &leader->waiting, slot);
    leader->has_whole |= about.is_whole;
    return false;
}

bool cbpi_turns_end(struct cbpi_turns *turns, struct cbpi_turn *turn, uint32_t *slot)
{
    struct cbpi_turn about = {.slot = 0};
    switch_off(turns, turn);
    if (!turn->waiting.first)
        return false;
    look_at(turns, turn->waiting.first - 1, &about);
    struct cbpi_turn *leader = leader_of(turns, &about);
    if (leader) { /* it followed several */
        leader->has_whole |= turn->has_whole;
        splice(turns, &leader->waiting, &turn->waiting);
        return false;
    }
    *slot = take_first(turns, &turn->waiting);
    switch_on(turns, turn, &about);
    return true;
}

void cbpi_turns_leave(struct cbpi_turns *turns, struct cbpi_turn *turn)
{
    switch_off(turns, turn);
    make_ready(turns, turn);
}

void cbpi_turns_expire(struct cbpi_turns *turns, uint64_t now_ns)
{
    for (struct cbpi_turn *turn = turns->on; turn; turn = turn->next) {
        if (!is_past(turns, turn, now_ns))
            continue;
        turn->is_of_none = true;
        make_ready(turns, turn);
    }
}

bool cbpi_turns_take_ready(struct cbpi_turns *turns, uint32_t *slot)
{
    if (!turns->ready.first)
        return false;
    *slot = take_first(turns, &turns->ready);
    cbp_subtract_u32(&turns->ready_count, 1);
    return true;
}
