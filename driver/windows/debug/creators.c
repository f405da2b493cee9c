/* Finds out which process created another one. A debug event does not say so. The system names a parent,
 * which the creator may have chosen freely, and whose end may be told before its child's creation.
 *
 * If the helper has not asked to debug a process, a debugged process has created it, or the controller in a
 * launch. So a process without a known creator or claim is a child of some debugged process: it gets all
 * obligations that any of them would have left to it, and no exemptions. */
#include <string.h>

#include "cbp_atomic.h"
#include "debugger.h"

#define RECENT_NS (5 * CBP_NS_PER_S)
#define UNCLAIMED_MAX_NS (10 * CBP_NS_PER_S)

enum { RECENT_MAX = 1024 };

/* Processes that have just ended are in this ring, the oldest first. */
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
        return; /* a thread has executed nothing */
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

/* Finds a creator. Ids are used again: a process older than its parent has an earlier parent with that id. */
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
    return process_of(process)->parent_pid; /* it never changes: the system gives no process another parent */
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

/* ---- Processes that the controller may have created ---- */

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
        cbpd_denial_add(&sum[id].deny, &stances[id].deny);
        cbpd_denial_add(&sum[id].deny_all, &stances[id].deny_all);
    }
}

/* Makes a stand-in for a creator that is one of the debugged processes. NULL without memory. */
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
        orphan->base.standing.inherited = cbpd_share_list(cbpd_unknown_rules());
    }
    cbpd_count_for_all(&self->helper, offsetof(struct cbp_channel_session, guessed));
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

/* Says whether a process has waited long enough for a claim. A launch ends with its claim, however long the
 * controller stands still before that, and the controller's children wait so long. Other children wait for
 * launches that do not concern them, so their wait is limited. */
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
