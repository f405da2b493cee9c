/* Who is a process's parent, by what /proc would say: mostly whoever has created it, but its creator's parent
 * after a clone with CLONE_PARENT, and a reaper once the parent has ended. Rules know creators only. Runs in
 * the tracer thread only.
 *
 * The kernel tells of none of this, and to ask /proc each time would be dear. So a parent counts as known
 * while it is one that lives under us; what it has not created is looked at when it begins. */
#include <linux/sched.h>
#include <stddef.h>

#include "syscalls.h"
#include "tracer.h"

enum { INIT_PID = 1 };

/* A parent is older than its child: who is not has got the number of one that has ended. What is not under
 * us, and stands in no book, has just been looked at. */
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

/* With our filter such a call has stopped at its entry; else the registers of the stop after it tell. Of
 * these one is read first, which mostly does: to read all of them would be felt in each creation. */
bool cbpd_creates_for_parent(struct task *creator)
{
    struct syscall_entry entry;
    bool has_asked = creator->asked_for_parent;
    creator->asked_for_parent = false;
    if (creator->process->filter_parts != 0)
        return has_asked;
    if (cbpd_calls_plain_fork(creator) || !cbpd_read_call_registers(creator, &entry))
        return false;
    uint64_t flags = 0;
    switch (syscall_kind(entry.architecture, entry.number)) {
    case SYSCALL_CLONE:
        flags = entry.arguments[0];
        break;
    case SYSCALL_CLONE3:
        (void) cbpd_read_memory(creator->base.tid, entry.arguments[0] + offsetof(struct clone_args, flags),
                                &flags, sizeof flags);
        break;
    default:
        break;
    }
    return (flags & CLONE_PARENT) != 0;
}
