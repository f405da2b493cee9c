/* Lets executions wait at their stop without being remembered, because held events already have all the
 * memory that they may. They are read again when some of it is free, or when the first deadline has come.
 * Runs in the tracer thread only. Knows nothing of an execution but its size. */
#include "tracer.h"

static struct task *first_parked, **last_link = &first_parked;
static uint32_t parked_count;

static uint64_t first_deadline_of(struct tracer *self, uint64_t since_ns)
{
    uint64_t first = UINT64_MAX;
    for (uint32_t i = 0; i < self->helper.policy.session_count; i++) {
        uint64_t timeout_ns =
            self->helper.policy.sessions[self->helper.policy.order[i]].settings.timeout_ms * CBP_NS_PER_MS;
        if (timeout_ns != 0 && since_ns + timeout_ns < first)
            first = since_ns + timeout_ns;
    }
    return first;
}

static bool is_due(struct tracer *self, const struct task *task, uint64_t now)
{
    bool is_stale = false;
    for (uint32_t i = 0; i < self->helper.policy.session_count; i++)
        is_stale |= cbpd_session_is_stale(&self->helper, self->helper.policy.order[i], now);
    return self->helper.leaving || is_stale || now >= first_deadline_of(self, task->parked.since_ns);
}

bool cbpd_park_if_full(struct tracer *self, struct task *task, enum operation_kind kind, size_t size)
{
    uint64_t now = cbpd_now_ns();
    if (cbpd_has_room_to_hold(&self->helper, size) || (task->parked.since_ns != 0 && is_due(self, task, now)))
        return false;
    if (task->parked.since_ns == 0)
        task->parked.since_ns = now;
    task->parked.is_waiting = true;
    task->parked.kind = kind;
    task->parked.size = size;
    task->parked.next = NULL;
    *last_link = task;
    last_link = &task->parked.next;
    parked_count++;
    return true;
}

void cbpd_unpark(struct task *task)
{
    if (!task->parked.is_waiting)
        return;
    struct task **link = &first_parked;
    while (*link != task)
        link = &(*link)->parked.next;
    *link = task->parked.next;
    if (last_link == &task->parked.next)
        last_link = link;
    task->parked.is_waiting = false;
    parked_count--;
}

uint32_t cbpd_parked_count(void)
{
    return parked_count;
}

struct task *cbpd_next_unparked(struct tracer *self)
{
    struct task *task = first_parked;
    if (!task ||
        (!cbpd_has_room_to_hold(&self->helper, task->parked.size) && !is_due(self, task, cbpd_now_ns())))
        return NULL;
    cbpd_unpark(task);
    return task;
}
