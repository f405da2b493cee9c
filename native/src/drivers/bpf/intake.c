/* Takes in what waits for an answer: executions in fanotify, which are decided here or asked about, and tasks
 * that have come to the gate. Knows how executions are read. */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

/* Finds the process of an execution. Its fork may have come into the ring since that was read. */
static struct cbpi_machine_process *process_of(struct cbpi_machine *machine, uint32_t process_id,
                                               uint64_t start_ns)
{
    struct cbpi_machine_process *process = cbpi_machine_find(machine, process_id);
    if (process)
        return process;
    cbpi_machine_drain(machine);
    return cbpi_machine_learn(machine, process_id, cbpi_machine_ticks(start_ns), 0);
}

static struct cbpi_approval *make_approval(const struct cbpi_execution *execution, struct cbpd_image *image,
                                           const uint64_t *sequences)
{
    struct cbpi_approval *approval = calloc(1, sizeof *approval);
    if (!approval)
        return NULL;
    approval->thread_id = execution->thread_id;
    approval->image = cbpd_share_image(image);
    /* No file has these numbers: what may still change is looked at again once it has been executed. */
    approval->device = execution->is_unsure ? 0 : execution->device;
    approval->inode = execution->is_unsure ? 0 : execution->inode;
    memcpy(approval->sequences, sequences, sizeof approval->sequences);
    return approval;
}

/* Asks about an execution. The operation that waits, if there is one, gets its place. */
static void ask_about_file(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                           const struct cbpi_execution *execution, struct cbpd_image *image,
                           struct cbpi_matter *matter)
{
    struct cbp_stance stances[CBP_SESSION_MAX];
    cbpi_matter_begin_creation(machine, process, execution->thread_id, matter);
    cbpd_stances_under_image(&machine->policy, &process->base, image, stances);
    matter->report.image = image;
    matter->report.request.subject = stances;
    matter->report.user_id = execution->user_id;
    matter->report.arguments = execution->arguments;
    matter->report.arguments_size = execution->arguments_size;
    matter->report.is_past = false;
    cbpd_add_item(&matter->report, CBP_PROC_EVT_PROCESS_CREATION,
                  (execution->is_changed ? (uint32_t) CBP_EVENT_FLAG_CHANGED : 0) |
                      (execution->are_arguments_whole ? 0 : (uint32_t) CBP_EVENT_FLAG_ARGUMENTS_TRUNCATED));
    cbpi_matter_add_first_thread(matter);
    cbpi_matter_post(machine, matter);
}

/* Decides about a new execution, or asks. Without memory for its names no rule by name could apply, so what
 * some rule could refuse is refused. */
static void decide_about_file(struct cbpi_machine *machine, const struct cbpi_file_event *event,
                              const struct cbpi_execution *execution)
{
    struct cbpi_matter matter = {.operation = NULL};
    struct cbpi_machine_process *process = process_of(machine, execution->process_id, execution->start_ns);
    struct cbpd_image *image =
        cbpd_make_image(&machine->policy, execution->files, execution->file_count, execution->is_vague);
    bool is_lacking = !process || !image;
    if (!is_lacking && execution->has_failed_before)
        cbpi_machine_end_approval(machine, process, execution->thread_id);
    if (!is_lacking)
        ask_about_file(machine, process, execution, image, &matter);
    struct cbpi_approval *approval = is_lacking ? NULL : make_approval(execution, image, matter.sequences);
    if (matter.operation) {
        cbpi_machine_hold_file(machine, process, event, approval, matter.operation);
    } else {
        bool refuses =
            matter.refusal.code != 0 || (is_lacking && machine->policy.rule_counts[CBP_ACTION_DENY] > 0);
        if (!refuses && approval)
            cbpi_machine_allow(machine, process, approval);
        else
            cbpi_machine_free_approval(machine, approval);
        cbpi_execution_decided(machine->executions, execution->thread_id, refuses);
        (void) cbpi_held_file_answer(&machine->guard, event->held, refuses);
    }
    cbpd_release_image(&machine->policy, image);
}

static bool is_filtered(struct cbpi_machine *machine, struct cbpd_process *process)
{
    struct cbpd_policy *policy = &machine->policy;
    const struct cbp_stance *stances = cbpd_stances_of(policy, process);
    for (uint32_t i = 0; i < policy->session_count; i++)
        if (cbpd_stance_filters(&stances[policy->order[i]]))
            return true;
    return false;
}

/* Says whether a rule may be about what this process executes. What the file is matters to name rules alone. */
static bool is_concerned(struct cbpi_machine *machine, struct cbpi_machine_process *process)
{
    struct cbpd_process *creator = process->base.executed ? NULL : process->base.parent;
    return !process->is_exempt && (machine->has_name_rules || is_filtered(machine, &process->base) ||
                                   (creator && is_filtered(machine, creator)));
}

/* Says whether it has to be found out what the thread executes. Of an exempt process, and of one that no rule
 * concerns, no more is asked than its id. */
static bool has_to_be_read(struct cbpi_machine *machine, uint32_t thread_id)
{
    struct cbpi_machine_process *process = cbpi_machine_find(machine, thread_id);
    if (!process) /* it is not its process's first thread */
        process = cbpi_machine_find(machine, cbpi_execution_process_of(thread_id));
    return process ? is_concerned(machine, process) : !machine->only_descendants;
}

static void take_in_file(struct cbpi_machine *machine, const struct cbpi_file_event *event)
{
    struct cbpi_execution execution;
    if (has_to_be_read(machine, event->thread_id) &&
        cbpi_execution_read(machine->executions, event, &execution) == CBPI_EXECUTION_NEW)
        decide_about_file(machine, event, &execution);
    else
        (void) cbpi_held_file_answer(&machine->guard, event->held, false);
}

bool cbpi_machine_read_files(struct cbpi_machine *machine, uint32_t group)
{
    struct cbpi_file_event events[CBPI_FILE_EVENTS_MAX];
    bool is_empty;
    uint64_t limit_ns = cbp_load_u32(&machine->guard.shared->timeout_ms) * CBP_NS_PER_MS;
    uint64_t deadline_ns = limit_ns != 0 ? cbpi_now_ns() + limit_ns + CBPI_GUARD_GRACE_NS : 0;
    uint32_t count = cbpi_held_files_read(&machine->guard, group, deadline_ns, events, &is_empty);
    if (count > 0)
        cbpi_machine_drain(machine);
    for (uint32_t i = 0; i < count; i++)
        take_in_file(machine, &events[i]);
    return !is_empty;
}

/* A start, an end and an execution have been told by the ring; a held operation on another process is told by
 * its slot alone. */
bool cbpi_machine_read_gate(struct cbpi_machine *machine)
{
    struct cbpi_gate_place place;
    if (!cbpi_gate_read(&machine->guard, &place))
        return false;
    cbpi_machine_drain(machine);
    const struct cbp_machine_slot *slot = &machine->guard.slots[place.slot];
    struct cbp_machine_handle handle; /* only its first member if the stop is another */
    uint32_t stop = slot->stop;
    memcpy(&handle, slot->body, sizeof handle);
    if (stop == CBP_MACHINE_STOP_HANDLE && cbpi_gate_is_open(&machine->guard, &place))
        cbpi_machine_tell_handle(machine, &handle);
    cbpi_machine_place_in_gate(machine, &place, stop, handle.record.thread_id);
    return true;
}
