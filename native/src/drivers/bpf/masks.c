/* Implements masks.h. A mask may have a bit too many, which costs a wake-up or a question that rules answer at
 * once; it never lacks one that a rule needs. */
#include "masks.h"

#include "bpf_map.h"
#include "cbp_atomic.h"

#include <errno.h>
#include <string.h>

#define CREATIONS (uint32_t)(CBP_PROC_EVT_PROCESS_CREATION | CBP_PROC_EVT_THREAD_CREATION)

#define ALL_EVENTS (2u * CBP_PROC_EVT_THREAD_HANDLE_OPERATION - 1u)
#define HOLD(events) ((events) << CBP_MACHINE_MASK_HOLD_SHIFT)

/* The gate holds these; operations on handles only if the guard says so. */
#define HOLDABLE                                                                                             \
    (uint32_t)(CBP_PROC_EVT_PROCESS_CREATION | CBP_PROC_EVT_PROCESS_TERMINATION |                            \
               CBP_PROC_EVT_THREAD_CREATION | CBP_PROC_EVT_THREAD_TERMINATION)

/* ---- What the rules want ---- */

/* Where single files are marked, the executions of all others are not held in the gate either. */
static uint32_t holdable(const struct cbpi_machine *machine)
{
    uint32_t abilities = machine->guard.abilities, events = HOLDABLE;
    if (!(abilities & CBP_GUARD_CAN_GATE))
        return 0;
    if (machine->marks == CBP_GUARD_MARKS_FILES)
        events &= ~(uint32_t) CBP_PROC_EVT_PROCESS_CREATION;
    return events | (abilities & CBP_GUARD_CAN_GATE_HANDLES ? (uint32_t) CBPD_HANDLE_OPERATIONS : 0);
}

/* Gives the events that the session wants. A fork that counts as a creation is told with its first thread. */
static uint32_t events_of(const struct cbpd_session *session)
{
    uint32_t events = session->settings.events;
    bool takes_forks = (session->settings.flags & CBP_SESSION_FLAG_FORK_IS_CREATION) != 0;
    if (takes_forks && events & CBP_PROC_EVT_PROCESS_CREATION)
        events |= CBP_PROC_EVT_THREAD_CREATION;
    return events;
}

static uint32_t make_bits(const struct cbpi_machine *machine, uint32_t wanted, uint32_t held)
{
    held &= holdable(machine);
    return wanted | held | HOLD(held);
}

/* Gives the bits that these stances of a process want and hold. */
static uint32_t bits_of(const struct cbpi_machine *machine, const struct cbp_stance *stances)
{
    const struct cbpd_policy *policy = &machine->policy;
    uint32_t wanted = 0, held = 0;
    for (uint32_t i = 0; i < policy->session_count; i++) {
        uint32_t place = policy->order[i], events = events_of(&policy->sessions[place]);
        const struct cbp_stance *stance = &stances[place];
        bool denies = stance->deny.code != 0 || stance->deny_all.code != 0;
        if (!cbpd_stance_filters(stance))
            continue;
        wanted |= stance->ignored ? 0 : events;
        held |= stance->asked && !stance->ignored ? events : 0;
        held |= denies ? (uint32_t) CBP_PROC_EVT_PROCESS_CREATION : 0;
    }
    return make_bits(machine, wanted, held);
}

/* Gives the bits of a process whose stances are not known. */
static uint32_t bits_of_any(const struct cbpi_machine *machine)
{
    const struct cbpd_policy *policy = &machine->policy;
    uint32_t wanted = 0, held = 0;
    for (uint32_t i = 0; i < policy->session_count * CBP_RULES_PART_COUNT; i++) {
        uint32_t place = policy->order[i / CBP_RULES_PART_COUNT];
        const struct cbpd_rule_set *set = policy->rules[place][i % CBP_RULES_PART_COUNT];
        uint32_t events = events_of(&policy->sessions[place]);
        if (!set)
            continue;
        wanted |= cbpd_ruleset_rule_count(set->block) > 0 ? events : 0;
        held |= set->counts[CBP_ACTION_ASK] > 0 ? events : 0;
        held |= set->counts[CBP_ACTION_DENY] > 0 ? (uint32_t) CBP_PROC_EVT_PROCESS_CREATION : 0;
    }
    return make_bits(machine, wanted, held);
}

static uint32_t stripped_by(const struct cbpd_policy *policy, const struct cbp_stance *stances)
{
    uint32_t access = 0;
    for (uint32_t i = 0; i < policy->session_count; i++)
        access |= stances[policy->order[i]].strip_mask;
    return access;
}

/* Says whether the creator's rules may concern the process's next execution. */
static uint32_t bits_of_creator(struct cbpi_machine *machine, struct cbpi_machine_process *process)
{
    struct cbpd_process *creator = process->base.parent;
    if (process->base.executed || !creator || creator->pid != process->creator_pid)
        return 0;
    return bits_of(machine, cbpd_stances_of(&machine->policy, creator)) & (CREATIONS | HOLD(CREATIONS));
}

/* The controller's requests are told if a session wants them, and never held. */
static uint32_t bits_of_own(const struct cbpi_machine *machine, uint32_t mask)
{
    const struct cbpd_policy *policy = &machine->policy;
    bool wants_own = false;
    for (uint32_t i = 0; i < policy->session_count; i++)
        wants_own |= (policy->sessions[policy->order[i]].settings.flags & CBP_SESSION_FLAG_OWN_REQUESTS) != 0;
    return mask & ~(HOLD(ALL_EVENTS) | (wants_own ? 0 : ALL_EVENTS));
}

/* Computes what stands in the map about the process. What its own rules say of creations is about the first
 * executions of its children, too. */
static void compute(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                    struct cbp_machine_task *task)
{
    struct cbpd_policy *policy = &machine->policy;
    struct cbp_stance child_stances[CBP_SESSION_MAX];
    uint32_t names = machine->has_name_rules ? CBP_MACHINE_MASK_NAMES : 0;
    task->mask = task->child_mask = CBP_MACHINE_MASK_EXEMPT;
    task->strip_access = task->child_strip_access = 0;
    task->execution_count = process->execution_count;
    if (process->is_exempt)
        return;
    const struct cbp_stance *stances = cbpd_stances_of(policy, &process->base);
    const struct cbpd_process child = {.standing.inherited = cbpd_bequest_of(policy, &process->base)};
    cbpd_stances_under_image(policy, &child, process->base.image, child_stances);
    uint32_t own_bits = bits_of(machine, stances);
    task->mask = own_bits | bits_of_creator(machine, process) | names;
    task->child_mask = bits_of(machine, child_stances) | (own_bits & (CREATIONS | HOLD(CREATIONS))) | names;
    task->strip_access = stripped_by(policy, stances);
    task->child_strip_access = stripped_by(policy, child_stances);
    if (process->base.pid == machine->controller_pid)
        task->mask = bits_of_own(machine, task->mask);
}

/* ---- The map ---- */

static bool is_same(const struct cbp_machine_task *a, const struct cbp_machine_task *b)
{
    return a->mask == b->mask && a->child_mask == b->child_mask && a->strip_access == b->strip_access &&
           a->child_strip_access == b->child_strip_access &&
           (a->execution_count == b->execution_count || !(a->mask & CBP_MACHINE_MASK_NAMES));
}

void cbpi_masks_write(struct cbpi_machine *machine, struct cbpi_machine_process *process)
{
    struct cbp_machine_task task = process->task;
    uint32_t thread_id = process->base.pid;
    compute(machine, process, &task);
    if (process->has_masks && is_same(&task, &process->task))
        return;
    process->task = task;
    process->has_masks = true;
    process->masks_ns = cbpi_now_ns();
    /* It may have ended by now. */
    (void) cbpi_map_write(machine->guard.descriptors[CBP_GUARD_FD_TASKS], &thread_id, &task,
                          CBPI_MAP_EXISTING);
    process->masks_ns = cbpi_now_ns();
}

void cbpi_masks_inherited(const struct cbpi_machine_process *creator, const struct cbp_machine_fork *record,
                          struct cbpi_machine_process *process)
{
    process->execution_count = creator ? creator->execution_count : UINT64_MAX;
    process->task = (struct cbp_machine_task){.creator_process_id = record->creator_process_id,
                                              .creator_start_ns = record->creator_start_ns,
                                              .start_ns = record->record.start_ns,
                                              .execution_count = process->execution_count};
    process->has_masks = creator && creator->has_masks && record->record.time_ns > creator->masks_ns;
    if (!process->has_masks)
        return;
    process->task.mask = process->task.child_mask = creator->task.child_mask;
    process->task.strip_access = process->task.child_strip_access = creator->task.child_strip_access;
}

void cbpi_masks_write_all(struct cbpi_machine *machine)
{
    const struct cbpd_policy *policy = &machine->policy;
    struct cbp_machine_settings *settings = machine->guard.settings;
    machine->has_name_rules = false;
    for (uint32_t i = 0; i < CBP_SESSION_MAX * CBP_RULES_PART_COUNT; i++) {
        const struct cbpd_rule_set *set = policy->rules[i / CBP_RULES_PART_COUNT][i % CBP_RULES_PART_COUNT];
        machine->has_name_rules |= set && set->match_counts[CBP_RULE_MATCH_NAME] > 0;
    }
    settings->observes_own = bits_of_own(machine, ALL_EVENTS) != 0;
    settings->unknown_mask = bits_of_any(machine);
    settings->default_mask = machine->only_descendants ? CBP_MACHINE_MASK_EXEMPT : settings->unknown_mask;
    for (struct cbpd_process *process = policy->processes; process; process = process->next)
        cbpi_masks_write(machine, cbpi_machine_process(process));
}

void cbpi_masks_enter(struct cbpi_machine *machine, struct cbpi_machine_process *process, uint64_t start_ns,
                      uint64_t execution_count)
{
    uint32_t thread_id = process->base.pid;
    process->execution_count = execution_count;
    process->task =
        (struct cbp_machine_task){.creator_process_id = process->creator_pid, .start_ns = start_ns};
    compute(machine, process, &process->task);
    process->has_masks = cbpi_map_write(machine->guard.descriptors[CBP_GUARD_FD_TASKS], &thread_id,
                                        &process->task, CBPI_MAP_NEW);
    process->masks_ns = cbpi_now_ns();
}

uint32_t cbpi_masks_mark_worker(struct cbpi_machine *machine, uint32_t thread_id, bool is_worker)
{
    const struct cbp_machine_task task = {.mask = is_worker ? CBP_MACHINE_MASK_FIRST_THREAD : 0};
    int map = machine->guard.descriptors[CBP_GUARD_FD_TASKS];
    return cbpi_map_write(map, &thread_id, &task, is_worker ? CBPI_MAP_ANY : CBPI_MAP_EXISTING)
               ? 0
               : (uint32_t) errno;
}

/* Gives NULL once the guard has gone, whose memory it is: processes are forgotten after that. */
static struct cbp_machine_decided *decided_entry(struct cbpi_machine *machine, uint32_t thread_id)
{
    return machine->guard.decided ? &machine->guard.decided[thread_id % CBP_MACHINE_DECIDED_COUNT] : NULL;
}

void cbpi_masks_decide(struct cbpi_machine *machine, uint32_t thread_id, uint64_t device, uint64_t inode)
{
    struct cbp_machine_decided *entry = decided_entry(machine, thread_id);
    if (!entry)
        return;
    cbp_store_u32(&entry->thread_id, 0);
    entry->device = device;
    entry->inode = inode;
    cbp_store_u32(&entry->thread_id, thread_id);
}

void cbpi_masks_undecide(struct cbpi_machine *machine, uint32_t thread_id)
{
    struct cbp_machine_decided *entry = decided_entry(machine, thread_id);
    if (entry && cbp_load_u32(&entry->thread_id) == thread_id)
        cbp_store_u32(&entry->thread_id, 0);
}
