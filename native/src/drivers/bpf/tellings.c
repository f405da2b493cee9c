/* Keeps the messages that sessions are told: in a queue until a worker takes them, and among those that wait
 * for an answer. Knows nothing of what operations are. */
#include "machine.h"

#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

/* A held task makes no more events, so their number limits itself. Other events need a limit. */
enum { QUEUE_COUNT_MAX = 1 << 20, QUEUE_SIZE_MAX = 256 * 1024 * 1024 };

/* So many messages that nobody waits for are left to a worker that is busy: a wake-up costs more than a few
 * messages. The dispatcher's beat wakes one for what a slow handler leaves. */
enum { LEFT_TO_BUSY_MAX = 64 };

struct cbpi_told *cbpi_told_make(struct cbpi_machine_session *session, uint32_t message_size, bool is_held)
{
    size_t size = offsetof(struct cbpi_told, message) + message_size;
    bool is_full = session->queue_count >= QUEUE_COUNT_MAX || session->queue_size + size > QUEUE_SIZE_MAX;
    struct cbpi_told *told = is_full && !is_held ? NULL : malloc(size);
    if (!told)
        return NULL;
    *told = (struct cbpi_told){.session = session, .was_held = is_held};
    return told;
}

/* Long lists get no more than a half of a queue, so that they do not take the room of other events. */
bool cbpi_told_has_room_for_list(const struct cbpi_machine *machine, size_t size)
{
    for (uint32_t place = 0; place < CBP_SESSION_MAX; place++)
        if (machine->sessions[place] && machine->sessions[place]->queue_size + size > QUEUE_SIZE_MAX / 2)
            return false;
    return true;
}

static size_t size_of(const struct cbpi_told *told)
{
    return offsetof(struct cbpi_told, message) + told->message.header.size;
}

static void wait_for_answer(struct cbpi_told *told, struct cbpi_machine_operation *operation)
{
    struct cbpi_machine *machine = told->session->machine;
    uint64_t deadline_ns = told->message.header.deadline_ns;
    told->operation = operation;
    told->deadline_ns = deadline_ns;
    operation->base.unanswered_count++;
    told->waits_previous = NULL;
    told->waits_next = machine->waiting;
    if (machine->waiting)
        machine->waiting->waits_previous = told;
    machine->waiting = told;
    if (deadline_ns != 0 && (machine->next_expiry_ns == 0 || deadline_ns < machine->next_expiry_ns))
        machine->next_expiry_ns = deadline_ns;
}

void cbpi_told_send(struct cbpi_told *told, struct cbpi_machine_operation *operation,
                    const struct cbpd_answerable *answerable)
{
    struct cbpi_machine_session *session = told->session;
    told->answerable = *answerable;
    if (operation)
        wait_for_answer(told, operation);
    *session->queue_tail = told;
    session->queue_tail = &told->next;
    session->queue_count++;
    session->queue_size += size_of(told);
    session->held_count += told->was_held;
}

struct cbpi_told *cbpi_told_take(struct cbpi_machine_session *session)
{
    struct cbpi_told *told = session->queue_head;
    if (!told)
        return NULL;
    session->queue_head = told->next;
    if (!session->queue_head)
        session->queue_tail = &session->queue_head;
    session->queue_count--;
    session->queue_size -= size_of(told);
    session->held_count -= told->was_held;
    return told;
}

struct cbpi_machine_operation *cbpi_told_stop_waiting(struct cbpi_told *told)
{
    struct cbpi_machine_operation *operation = told->operation;
    if (!operation)
        return NULL;
    *(told->waits_previous ? &told->waits_previous->waits_next : &told->session->machine->waiting) =
        told->waits_next;
    if (told->waits_next)
        told->waits_next->waits_previous = told->waits_previous;
    told->operation = NULL;
    return --operation->base.unanswered_count == 0 ? operation : NULL;
}

/* ---- Waking workers ---- */

void cbpi_session_ring_bell(struct cbpi_machine_session *session)
{
    const uint64_t one = 1; /* the bell is never read: each write is an edge, which wakes one worker */
    (void) !write(session->bell, &one, sizeof one);
}

void cbpi_session_wake(struct cbpi_machine_session *session)
{
    bool all_idle = session->busy_count == 0;
    if (session->waiting_count > 0 && session->queue_count > 0 &&
        (all_idle || session->held_count > 0 || session->queue_count > LEFT_TO_BUSY_MAX))
        cbpi_session_ring_bell(session);
}

void cbpi_machine_ring_bells(struct cbpi_machine *machine)
{
    for (uint32_t place = 0; place < CBP_SESSION_MAX; place++)
        if (machine->sessions[place])
            cbpi_session_wake(machine->sessions[place]);
}
