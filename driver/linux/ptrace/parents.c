/* Knows which parent a process has, as /proc would say: mostly its creator, but its creator's parent after a
 * clone with CLONE_PARENT, and a reaper once the parent has ended. Rules know creators only. Runs in the
 * tracer thread only.
 *
 * The kernel reports none of this, and to read /proc each time would be dear. So a parent counts as known
 * while it is a living tracee; a parent that is not the creator is read when the process begins. */
#include <linux/sched.h>
#include <stddef.h>

#include "syscalls.h"
#include "tracer.h"

enum { INIT_PID = 1 };

/* Says whether the noted parent is right. A parent is older than its child; a younger process has the number
 * of a parent that has ended. An untraced process that is not in the tables has just been read. */
static bool is_surely_parent(struct tracer *self, const struct process *process)
{
    uint32_t pid = process->parent_pid;
    if (process->base.reference_count == 0)
        return true;
    const struct process *parent = find_process(&self->helper, pid);
    if (parent)
        return parent->base.start_time <= process->base.start_time;
    return pid == INIT_PID || pid == self->controller_pid;
}

uint32_t cbpd_parent_of(struct cbpd_helper *helper, const struct cbpd_process *base)
{
    struct tracer *self = tracer_of(helper);
    struct process *process = process_of(base);
    if (!is_surely_parent(self, process))
        cbpd_look_at_parent(self, process);
    return process->parent_pid;
}

void cbpd_look_at_parent(struct tracer *self, struct process *process)
{
    uint32_t pid;
    if (cbpd_read_parent(self, process->base.pid, &pid))
        process->parent_pid = pid;
}

/* With the filter such a call has stopped at its entry; else the registers at the stop after it tell. The one
 * read first mostly suffices: to read all would slow down each creation. */
bool cbpd_creates_for_parent(struct task *creator)
{
    struct syscall_entry entry;
    bool has_asked = creator->asked_for_parent;
    creator->asked_for_parent = false;
    if (creator->process->filter_parts != 0)
        return has_asked;
    if (cbpd_calls_plain_fork(creator) || !cbpd_read_call_registers(creator, &entry))
        return false;
    enum syscall_kind kind = syscall_kind(entry.architecture, entry.number);
    uint64_t flags = kind == SYSCALL_CLONE ? entry.arguments[0] : 0;
    if (kind == SYSCALL_CLONE3)
        (void) cbpd_read_memory(creator->base.tid, entry.arguments[0] + offsetof(struct clone_args, flags),
                                &flags, sizeof flags);
    return (flags & CLONE_PARENT) != 0;
}
