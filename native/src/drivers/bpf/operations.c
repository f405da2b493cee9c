/* Follows the operations that are held: executions that wait in fanotify, and tasks that wait in the gate.
 * Begins them, and lets them go once all answers are in or too late. Knows how a task is held; asking.c knows
 * what sessions are told. */
#include "machine.h"

#include "masks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GUARD_GRACE_NS CBP_NS_PER_S     /* the core takes a deadline before the guard does */
#define SLOT_WAIT_NS (5 * CBP_NS_PER_S) /* a task that has not come to the gate by then does not come */

/* ---- Lists ---- */

static void link_operation(struct cbpi_machine *machine, struct cbpi_machine_operation *operation)
{
    operation->next = machine->operations;
    if (machine->operations)
        machine->operations->previous = operation;
    machine->operations = operation;
}

static void free_operation(struct cbpi_machine *machine, struct cbpi_machine_operation *operation)
{
    *(operation->previous ? &operation->previous->next : &machine->operations) = operation->next;
    if (operation->next)
        operation->next->previous = operation->previous;
    cbpi_machine_free_approval(machine, operation->approval);
    if (operation->process)
        cbpd_release_process(&machine->policy, &operation->process->base);
    free(operation);
}

struct cbpi_approval *cbpi_machine_take_approval(struct cbpi_machine_process *process, uint32_t thread_id)
{
    struct cbpi_approval **at = &process->approvals;
    while (*at && (*at)->thread_id != thread_id)
        at = &(*at)->next;
    struct cbpi_approval *found = *at;
    if (found)
        *at = found->next;
    return found;
}

void cbpi_machine_note_failed(struct cbpi_machine *machine, const struct cbpi_approval *approval,
                              uint32_t os_error)
{
    for (uint32_t place = 0; place < CBP_SESSION_MAX; place++) {
        struct cbpi_machine_session *session = machine->sessions[place];
        if (session && approval->sequences[place] != 0)
            session->failed[session->counts.failed_after++ % CBPI_MACHINE_FAILED_MAX] =
                (struct cbpi_failed_execution){approval->sequences[place], os_error};
    }
}

void cbpi_machine_end_approval(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                               uint32_t thread_id)
{
    struct cbpi_approval *approval = cbpi_machine_take_approval(process, thread_id);
    if (!approval)
        return;
    cbpi_machine_note_failed(machine, approval, process->base.ended ? 0 : ENOEXEC);
    cbpi_machine_free_approval(machine, approval);
}

/* ---- The end of an operation ---- */

static void allow_execution(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                            struct cbpi_approval *approval)
{
    cbpi_masks_decide(machine, approval->thread_id, approval->device, approval->inode);
    if (process->base.ended) {
        cbpi_machine_note_failed(machine, approval, 0);
        cbpi_machine_free_approval(machine, approval);
        return;
    }
    approval->next = process->approvals;
    process->approvals = approval;
}

static uint32_t answer_file(struct cbpi_machine *machine, struct cbpi_machine_operation *operation)
{
    bool refuses = operation->base.result_code != 0;
    if (!refuses && operation->approval) {
        allow_execution(machine, operation->process, operation->approval);
        operation->approval = NULL;
    }
    cbpi_execution_decided(machine->executions, operation->thread_id, refuses);
    return cbpi_held_file_answer(&machine->guard, operation->held, refuses);
}

static uint32_t answer_gate(struct cbpi_machine *machine, struct cbpi_machine_operation *operation)
{
    bool refuses = operation->base.result_code != 0 || operation->base.is_stripped;
    return cbpi_gate_answer(&machine->guard, &operation->place, refuses);
}

uint32_t cbpi_machine_settle(struct cbpi_machine *machine, struct cbpi_machine_operation *operation)
{
    uint32_t error;
    if (operation->kind == CBPI_HELD_BY_FILE) {
        error = answer_file(machine, operation);
    } else if (operation->has_place) {
        error = answer_gate(machine, operation);
    } else {
        operation->is_settled = true;
        operation->give_up_ns = cbpi_now_ns() + SLOT_WAIT_NS;
        return 0;
    }
    free_operation(machine, operation);
    return error;
}

/* ---- Deadlines ---- */

void cbpi_machine_plan(struct cbpi_machine *machine, struct cbpi_machine_operation *operation)
{
    const struct cbpd_policy *policy = &machine->policy;
    uint64_t latest_ns = 0;
    bool has_limit = true, refuses = false;
    for (const struct cbpi_told *told = machine->waiting; told; told = told->waits_next) {
        if (told->operation != operation)
            continue;
        has_limit &= told->deadline_ns != 0;
        latest_ns = told->deadline_ns > latest_ns ? told->deadline_ns : latest_ns;
        refuses |= cbpd_timeout_code(policy, told->session->place, told->answerable.is_creation) != 0;
    }
    latest_ns = has_limit && latest_ns != 0 ? latest_ns + GUARD_GRACE_NS : 0;
    if (operation->kind == CBPI_HELD_BY_FILE)
        cbpi_held_file_set_deadline(&machine->guard, operation->held, latest_ns, refuses);
    else if (operation->has_place)
        cbpi_gate_set_deadline(&machine->guard, &operation->place, latest_ns, refuses);
}

void cbpi_told_expire(struct cbpi_told *told)
{
    struct cbpi_machine_session *session = told->session;
    struct cbpi_machine *machine = session->machine;
    struct cbpi_machine_operation *operation = told->operation;
    uint32_t code = cbpd_timeout_code(&machine->policy, session->place, told->answerable.is_creation);
    session->counts.timed_out++;
    session->counts.refused += code != 0;
    told->is_late = true;
    cbpd_refuse(&machine->policy, session->place, code, &operation->base);
    if (cbpi_told_stop_waiting(told))
        (void) cbpi_machine_settle(machine, operation);
}

void cbpi_machine_expire(struct cbpi_machine *machine, uint64_t now_ns)
{
    if (machine->next_expiry_ns == 0 || now_ns < machine->next_expiry_ns)
        return;
    machine->next_expiry_ns = 0;
    for (struct cbpi_told *told = machine->waiting, *next; told; told = next) {
        next = told->waits_next;
        uint64_t deadline_ns = told->deadline_ns;
        if (deadline_ns != 0 && now_ns >= deadline_ns)
            cbpi_told_expire(told);
        else if (deadline_ns != 0 && (machine->next_expiry_ns == 0 || deadline_ns < machine->next_expiry_ns))
            machine->next_expiry_ns = deadline_ns;
    }
}

void cbpi_machine_tend_operations(struct cbpi_machine *machine, uint64_t now_ns)
{
    cbpi_machine_expire(machine, now_ns);
    for (struct cbpi_machine_operation *operation = machine->operations, *next; operation; operation = next) {
        next = operation->next;
        if (operation->is_settled && now_ns >= operation->give_up_ns)
            free_operation(machine, operation);
    }
}

/* ---- Executions in fanotify ---- */

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

static void hold_file(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                      const struct cbpi_file_event *event, struct cbpi_approval *approval,
                      struct cbpi_machine_operation *operation)
{
    operation->kind = CBPI_HELD_BY_FILE;
    operation->thread_id = event->thread_id;
    operation->held = event->held;
    operation->process = process;
    operation->approval = approval;
    process->base.reference_count++;
    link_operation(machine, operation);
    cbpi_machine_plan(machine, operation);
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
        hold_file(machine, process, event, approval, matter.operation);
    } else {
        bool refuses =
            matter.refusal.code != 0 || (is_lacking && machine->policy.rule_counts[CBP_ACTION_DENY] > 0);
        if (!refuses && approval)
            allow_execution(machine, process, approval);
        else
            cbpi_machine_free_approval(machine, approval);
        cbpi_execution_decided(machine->executions, execution->thread_id, refuses);
        (void) cbpi_held_file_answer(&machine->guard, event->held, refuses);
    }
    cbpd_release_image(&machine->policy, image);
}

/* Says whether the thread's process is exempt, without asking more than its id. */
static bool is_of_exempt(const struct cbpi_machine *machine, uint32_t thread_id)
{
    const struct cbpi_machine_process *process = cbpi_machine_find(machine, thread_id);
    if (!process) /* it is not its process's first thread */
        process = cbpi_machine_find(machine, cbpi_execution_process_of(thread_id));
    return process ? process->is_exempt : machine->only_descendants;
}

bool cbpi_machine_read_file(struct cbpi_machine *machine)
{
    struct cbpi_file_event event;
    struct cbpi_execution execution;
    uint64_t limit_ns = cbp_load_u32(&machine->guard.shared->timeout_ms) * CBP_NS_PER_MS;
    if (!cbpi_held_file_read(&machine->guard, limit_ns != 0 ? cbpi_now_ns() + limit_ns + GUARD_GRACE_NS : 0,
                             &event))
        return false;
    cbpi_machine_drain(machine);
    if (!is_of_exempt(machine, event.thread_id) &&
        cbpi_execution_read(machine->executions, &event, &execution) == CBPI_EXECUTION_NEW)
        decide_about_file(machine, &event, &execution);
    else
        (void) cbpi_held_file_answer(&machine->guard, event.held, false);
    return true;
}

/* ---- Tasks in the gate ---- */

static struct cbpi_machine_operation *find_in_gate(const struct cbpi_machine *machine, uint32_t stop,
                                                   uint32_t thread_id)
{
    struct cbpi_machine_operation *operation = machine->operations;
    while (operation && (operation->kind != CBPI_HELD_BY_GATE || operation->has_place ||
                         operation->stop != stop || operation->thread_id != thread_id))
        operation = operation->next;
    return operation;
}

void cbpi_machine_hold_in_gate(struct cbpi_machine *machine, struct cbpi_matter *matter, uint32_t stop,
                               uint32_t thread_id)
{
    struct cbpi_machine_operation *operation = matter->operation;
    bool refuses = matter->refusal.code != 0 || matter->refusal.is_stripped;
    if (!operation && refuses)
        operation = calloc(1, sizeof *operation);
    if (!operation)
        return; /* the slot is answered when it comes */
    operation->kind = CBPI_HELD_BY_GATE;
    operation->stop = stop;
    operation->thread_id = thread_id;
    link_operation(machine, operation);
    if (matter->operation)
        return;
    cbpd_refuse_by_rules(&machine->policy, &matter->refusal, &operation->base);
    (void) cbpi_machine_settle(machine, operation);
}

void cbpi_machine_release_from_gate(struct cbpi_machine *machine, uint32_t stop, uint32_t thread_id)
{
    struct cbpi_machine_operation *operation = find_in_gate(machine, stop, thread_id);
    if (!operation)
        return;
    for (struct cbpi_told *told = machine->waiting, *next; told; told = next) {
        next = told->waits_next;
        if (told->operation == operation)
            (void) cbpi_told_stop_waiting(told);
    }
    free_operation(machine, operation);
}

bool cbpi_machine_read_gate(struct cbpi_machine *machine)
{
    struct cbpi_gate_place place;
    if (!cbpi_gate_read(&machine->guard, &place))
        return false;
    cbpi_machine_drain(machine);
    const struct cbp_machine_slot *slot = &machine->guard.slots[place.slot];
    const struct cbp_machine_record *record = (const void *) slot->body;
    struct cbpi_machine_operation *operation = find_in_gate(machine, slot->stop, record->thread_id);
    if (!operation) {
        (void) cbpi_gate_answer(&machine->guard, &place, false);
        return true;
    }
    operation->place = place;
    operation->has_place = true;
    if (operation->is_settled)
        (void) cbpi_machine_settle(machine, operation);
    else
        cbpi_machine_plan(machine, operation);
    return true;
}

void cbpi_machine_let_all_go(struct cbpi_machine *machine)
{
    while (machine->waiting) {
        struct cbpi_machine_operation *operation = cbpi_told_stop_waiting(machine->waiting);
        if (operation)
            (void) cbpi_machine_settle(machine, operation);
    }
    while (machine->operations)
        free_operation(machine, machine->operations);
}
