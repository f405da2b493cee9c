/* Follows the operations that are held, executions in fanotify and tasks in the gate, and lets them go once all
 * answers are in or too late. Knows how a task is held, and nothing of what it is about. */
#include "machine.h"

#include "masks.h"

#include <stdlib.h>

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

/* ---- The end of an operation ---- */

void cbpi_machine_allow(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                        struct cbpi_approval *approval)
{
    if (process->base.ended) {
        cbpi_machine_note_failed(machine, approval, 0);
        cbpi_machine_free_approval(machine, approval);
        return;
    }
    cbpi_masks_decide(machine, approval->thread_id, approval->device, approval->inode);
    approval->next = process->approvals;
    process->approvals = approval;
}

static uint32_t answer_file(struct cbpi_machine *machine, struct cbpi_machine_operation *operation)
{
    bool refuses = operation->base.result_code != 0;
    if (!refuses && operation->approval) {
        cbpi_machine_allow(machine, operation->process, operation->approval);
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
    latest_ns = has_limit && latest_ns != 0 ? latest_ns + CBPI_GUARD_GRACE_NS : 0;
    if (operation->kind == CBPI_HELD_BY_FILE)
        cbpi_held_file_set_deadline(&machine->guard, operation->held, latest_ns, refuses);
    else if (operation->has_place)
        cbpi_gate_set_deadline(&machine->guard, &operation->place, latest_ns, refuses);
}

bool cbpi_machine_is_in_hand(const struct cbpi_machine *machine,
                             const struct cbpi_machine_operation *operation)
{
    if (operation->kind == CBPI_HELD_BY_FILE)
        return cbpi_held_file_is_open(&machine->guard, operation->held);
    return !operation->has_place || cbpi_gate_is_open(&machine->guard, &operation->place);
}

void cbpi_told_expire(struct cbpi_told *told)
{
    struct cbpi_machine_session *session = told->session;
    struct cbpi_machine *machine = session->machine;
    struct cbpi_machine_operation *operation = told->operation;
    uint32_t code = cbpd_timeout_code(&machine->policy, session->place, told->answerable.is_creation);
    /* The guard has counted what it let go itself. */
    session->counts.timed_out += cbpi_machine_is_in_hand(machine, operation);
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

/* ---- Beginnings ---- */

void cbpi_machine_hold_file(struct cbpi_machine *machine, struct cbpi_machine_process *process,
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

void cbpi_machine_place_in_gate(struct cbpi_machine *machine, const struct cbpi_gate_place *place,
                                uint32_t stop, uint32_t thread_id)
{
    struct cbpi_machine_operation *operation = find_in_gate(machine, stop, thread_id);
    if (!operation) {
        (void) cbpi_gate_answer(&machine->guard, place, false);
        return;
    }
    operation->place = *place;
    operation->has_place = true;
    if (operation->is_settled)
        (void) cbpi_machine_settle(machine, operation);
    else
        cbpi_machine_plan(machine, operation);
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
