/* Who created a process. A debug event does not say so; the system names a parent, which the creator may have
 * chosen freely, and whose end may be told before its child's creation.
 *
 * What is debugged for us without our doing was created by a process that we debug, or by the controller
 * while it launches. So whoever has no known creator and is not claimed is a child of one of ours: it gets
 * whatever any of them would have obliged it to, and none of their exemptions. */
#include <string.h>

#include "cbp_atomic.h"
#include "debugger.h"

#define RECENT_NS UINT64_C(5000000000)
#define UNCLAIMED_MAX_NS UINT64_C(10000000000)

enum { RECENT_MAX = 1024 };

/* Those that have ended a moment ago, the oldest first, in a ring. */
static struct recent {
    struct process *process;
    uint64_t until_ns;
} recent[RECENT_MAX];
static uint32_t recent_first, recent_count;

static struct recent *recent_at(uint32_t index)
{
    return &recent[(recent_first + index) % RECENT_MAX];
}

static void forget_oldest(struct debugger *self)
{
    struct process *process = recent_at(0)->process;
    recent_first = (recent_first + 1) % RECENT_MAX;
    recent_count--;
    cbpd_release_process(&self->helper.policy, &process->base);
}

void cbpd_remember_ended(struct debugger *self, struct process *process)
{
    if (process->refused)
        return; /* it has executed nothing */
    if (recent_count == RECENT_MAX)
        forget_oldest(self);
    process->base.reference_count++;
    process->ended_time = cbpd_file_time_now();
    *recent_at(recent_count++) = (struct recent){process, cbpd_now_ns() + RECENT_NS};
}

void cbpd_forget_ended(struct debugger *self)
{
    while (recent_count > 0 && cbpd_now_ns() > recent_at(0)->until_ns)
        forget_oldest(self);
}

/* An id is used again: what is older than its parent is the child of an earlier one with that id. */
struct process *cbpd_find_creator(struct debugger *self, uint32_t parent_pid, uint64_t start_time)
{
    struct process *process = find_process(&self->helper, parent_pid);
    if (process && process->base.start_time <= start_time)
        return process;
    for (uint32_t i = recent_count; i-- > 0;) {
        process = recent_at(i)->process;
        if (process->base.pid == parent_pid && process->base.start_time <= start_time &&
            start_time <= process->ended_time)
            return process;
    }
    return NULL;
}

uint32_t cbpd_parent_of(struct cbpd_helper *helper, const struct cbpd_process *process)
{
    (void) helper;
    return process_of(process)->parent_pid; /* for ever: the system gives nobody another one */
}

bool cbpd_anybody_was_ours(struct debugger *self)
{
    return recent_count > 0 || self->helper.policy.process_count > 0;
}

bool cbpd_was_ours(struct debugger *self, uint32_t pid)
{
    uint32_t i = 0;
    while (i < recent_count && recent_at(i)->process->base.pid != pid)
        i++;
    return i < recent_count || find_process(&self->helper, pid);
}

/* ---- Processes that may be the controller's ---- */

static bool is_unclaimed(const struct process *process)
{
    return process->is_root && process->is_held && !process->launch && process->seen_ns != 0;
}

bool cbpd_has_unclaimed(struct debugger *self)
{
    struct process *process = first_process(&self->helper);
    while (process && !is_unclaimed(process))
        process = next_process(process);
    return process;
}

static bool is_launching(struct debugger *self)
{
    return cbp_load_u32(&self->control->launch_count) != 0;
}

static void add_candidate(struct debugger *self, struct process *nobody, struct process *candidate,
                          struct cbp_stance *sum)
{
    const struct cbp_stance *stances = stances_of(&self->helper, candidate);
    cbpd_inherit_obligations(&self->helper.policy, &nobody->base, &candidate->base);
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++) {
        sum[id].asked |= stances[id].asked;
        sum[id].strip_mask |= stances[id].strip_mask;
        cbp_denial_add(&sum[id].deny, &stances[id].deny);
        cbp_denial_add(&sum[id].deny_all, &stances[id].deny_all);
    }
}

/* The creator of whom only is known that it is one of ours; NULL without memory. */
static struct process *make_nobody(struct debugger *self, const struct process *orphan)
{
    struct cbp_stance sum[CBP_SESSION_MAX];
    struct process *nobody = cbpd_allocate_surely(sizeof *nobody);
    if (!nobody)
        return NULL;
    memset(sum, 0, sizeof sum);
    nobody->base.ended = true;
    for (struct process *process = first_process(&self->helper); process; process = next_process(process))
        if (process != orphan && !is_unclaimed(process))
            add_candidate(self, nobody, process, sum);
    for (uint32_t i = 0; i < recent_count; i++)
        add_candidate(self, nobody, recent_at(i)->process, sum);
    cbpd_oblige(&self->helper.policy, &nobody->base, sum);
    return nobody;
}

static void adopt(struct debugger *self, struct process *orphan)
{
    struct process *nobody = make_nobody(self, orphan);
    orphan->is_root = false;
    if (nobody) {
        nobody->base.reference_count++;
        orphan->base.parent = &nobody->base;
        cbpd_inherit_rules(&self->helper.policy, &orphan->base, &nobody->base);
    } else {
        orphan->base.standing.inherited = cbpd_share_list(&cbpd_unknown_rules);
    }
    cbpd_count_guess(self);
}

bool cbpd_awaits_claim(struct debugger *self, struct process *process)
{
    process->is_root = true;
    process->is_held = true;
    process->seen_ns = cbpd_now_ns();
    if (is_launching(self))
        return true;
    adopt(self, process);
    return false;
}

/* A launch ends with the claim, however long the controller stands still before it: what it may have created
 * waits so long. Another's child waits for a launch that has nothing to do with it, but not for ever. */
static bool is_due(struct debugger *self, const struct process *process)
{
    bool is_anothers = process->parent_pid != self->controller_pid;
    return is_unclaimed(process) &&
           (!is_launching(self) || (is_anothers && cbpd_now_ns() - process->seen_ns > UNCLAIMED_MAX_NS));
}

struct process *cbpd_next_orphan(struct debugger *self)
{
    struct process *process = first_process(&self->helper);
    while (process && !is_due(self, process))
        process = next_process(process);
    if (process)
        adopt(self, process);
    return process;
}
