/* Handles tasks of the trees that want to trace others. A task with the filter must have no other tracer,
 * which would get the filter's stops and let everything go on. The kernel itself refuses a second tracer.
 * This file is for a task that should not exist: one with the filter and without the helper. Knows no rules.
 *
 * The number of its filters shows whether a task may be such a one: it has inherited the controller's
 * filters, as the helper has, and has its own on top. */
#include <errno.h>
#include <unistd.h>

#include "tracer.h"

static bool may_have_our_filter(struct tracer *self, const struct status_facts *facts)
{
    struct status_facts own;
    if (!facts->has_filter)
        return false;
    return !cbpd_read_status(self, (uint32_t) getpid(), &own) || own.filter_count == UINT32_MAX ||
           facts->filter_count > own.filter_count;
}

int cbpd_refusal_of_attach(struct tracer *self, struct task *task, const struct syscall_entry *entry)
{
    struct id_view view;
    struct status_facts facts;
    if (!cbpd_open_view(self, task, &view))
        return EPERM;
    uint32_t tid;
    enum knowledge known = cbpd_known_as(self, &view, (uint32_t) entry->arguments[1], &tid);
    if (known == KNOWN && find_task(&self->helper, tid))
        return 0;
    if (known == NOT_KNOWN)
        return EPERM;
    if (known == ABSENT || !cbpd_read_status(self, tid, &facts)) /* and its id may be another task's soon */
        return known == KNOWN && cbpd_is_there(tid) ? EPERM : ESRCH;
    return may_have_our_filter(self, &facts) ? EPERM : 0;
}
