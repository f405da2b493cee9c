/* Takes the records of the ring: they change the population, and become events. What a record tells has
 * happened, unless its task waits in the gate. Events of one process are told in the order of its records.
 * Knows nothing of fanotify. */
#define _GNU_SOURCE
#include "machine.h"

#include "masks.h"

#include <linux/sched.h>
#include <stdlib.h>
#include <string.h>

/* The arguments of an execution come in parts, which records of other tasks may separate. */
struct cbpi_partial_arguments {
    struct cbpi_partial_arguments *next;
    uint32_t thread_id;
    uint32_t size;
    uint64_t begun_ns;
    bool is_broken; /* a part is missing */
    char *bytes;
};

#define PARTIAL_LIMIT_NS (10 * CBP_NS_PER_S)

enum { SHORT_LIST_SIZE = 16384 }; /* of arguments, which an event has in any case */

/* ---- Arguments ---- */

static struct cbpi_partial_arguments **find_partial(struct cbpi_machine *machine, uint32_t thread_id)
{
    struct cbpi_partial_arguments **at = &machine->partial;
    while (*at && (*at)->thread_id != thread_id)
        at = &(*at)->next;
    return at;
}

static void free_partial(struct cbpi_partial_arguments **at)
{
    struct cbpi_partial_arguments *partial = *at;
    *at = partial->next;
    free(partial->bytes);
    free(partial);
}

void cbpi_machine_free_partial(struct cbpi_machine *machine)
{
    while (machine->partial)
        free_partial(&machine->partial);
}

/* Appends a part; without memory the list is broken. */
static void append_part(struct cbpi_partial_arguments *partial, const char *bytes, uint32_t count)
{
    bool fits = count <= CBP_ARGUMENTS_SIZE_MAX - partial->size;
    char *grown = fits ? realloc(partial->bytes, (size_t) partial->size + count + 1) : NULL;
    if (!grown) {
        partial->is_broken = true;
        return;
    }
    partial->bytes = grown;
    memcpy(grown + partial->size, bytes, count);
    partial->size += count;
}

static void on_arguments(struct cbpi_machine *machine, const struct cbp_machine_arguments *record)
{
    struct cbpi_partial_arguments **at = find_partial(machine, record->record.thread_id);
    if (*at && record->offset == 0)
        free_partial(at); /* of an execution whose EXEC record was lost */
    at = find_partial(machine, record->record.thread_id);
    if (!*at) {
        *at = calloc(1, sizeof **at);
        if (!*at)
            return;
        (*at)->thread_id = record->record.thread_id;
        (*at)->begun_ns = record->record.time_ns;
        (*at)->is_broken = record->offset != 0;
    }
    (*at)->is_broken |= record->offset != (*at)->size;
    append_part(*at, (const char *) (record + 1), record->count);
}

/* ---- Telling ---- */

/* Posts what a record tells; its task may wait in the gate for the answer. */
static void post(struct cbpi_machine *machine, const struct cbp_machine_record *record, uint32_t stop,
                 struct cbpi_matter *matter)
{
    bool is_held = (record->flags & CBP_MACHINE_FLAG_HELD) != 0;
    matter->happened_ns = record->time_ns;
    matter->report.is_past = !is_held;
    cbpi_matter_post(machine, matter);
    if (is_held)
        cbpi_machine_hold_in_gate(machine, matter, stop, record->thread_id);
}

/* Tells of a first thread whose creation was put off. */
static void introduce(struct cbpi_machine *machine, struct cbpi_machine_process *process)
{
    struct cbpi_matter matter;
    if (!process->is_first_unreported)
        return;
    cbpi_matter_begin(machine, process, cbpi_machine_process(process->base.parent), process->creator_tid,
                      process->base.pid, &matter);
    matter.report.originator_pid = process->creator_pid;
    cbpi_matter_add_first_thread(&matter);
    cbpi_matter_post(machine, &matter);
}

static struct cbpi_machine_process *process_of(struct cbpi_machine *machine,
                                               const struct cbp_machine_record *record)
{
    struct cbpi_machine_process *process = cbpi_machine_learn(
        machine, record->process_id, cbpi_machine_ticks(record->start_ns), record->parent_process_id);
    if (!process)
        return NULL;
    process->parent_pid = record->parent_process_id;
    process->user_id = record->user_id;
    return process;
}

/* ---- Forks ---- */

static bool forks_are_creations(const struct cbpi_machine *machine)
{
    const struct cbpd_policy *policy = &machine->policy;
    for (uint32_t i = 0; i < policy->session_count; i++)
        if (policy->sessions[policy->order[i]].settings.flags & CBP_SESSION_FLAG_FORK_IS_CREATION)
            return true;
    return false;
}

/* A process that was created after the programs, and before the census, is in the population already. */
static struct cbpi_machine_process *enter_child(struct cbpi_machine *machine,
                                                const struct cbp_machine_fork *fork,
                                                struct cbpi_machine_process *creator)
{
    const struct cbp_machine_record *record = &fork->record;
    uint64_t start_time = cbpi_machine_ticks(record->start_ns);
    struct cbpi_machine_process *known = cbpi_machine_find(machine, record->process_id);
    struct cbpi_machine_process *process =
        known && known->base.start_time == start_time
            ? known
            : cbpi_machine_add(machine, record->process_id, start_time, creator);
    if (!process)
        return NULL;
    process->creator_pid = fork->creator_process_id;
    process->creator_tid = fork->creator_thread_id;
    process->parent_pid = record->parent_process_id;
    process->user_id = record->user_id;
    process->is_exempt |= (record->flags & CBP_MACHINE_FLAG_WORKER) != 0;
    process->is_first_unreported = process != known;
    if (process != known)
        cbpi_masks_inherited(creator, fork, process);
    cbpi_masks_write(machine, process);
    return process;
}

static void on_new_process(struct cbpi_machine *machine, const struct cbp_machine_fork *fork,
                           struct cbpi_machine_process *creator)
{
    struct cbpi_matter matter;
    struct cbpi_machine_process *process = enter_child(machine, fork, creator);
    bool is_held = (fork->record.flags & CBP_MACHINE_FLAG_HELD) != 0;
    if (!process || !process->is_first_unreported)
        return;
    if (fork->clone_flags & CLONE_VFORK && !is_held && !forks_are_creations(machine))
        return; /* its first thread is told with its execution */
    cbpi_matter_begin(machine, process, creator, fork->creator_thread_id, fork->record.thread_id, &matter);
    cbpd_add_item(&matter.report, CBP_PROC_EVT_PROCESS_CREATION, CBP_EVENT_FLAG_FORK);
    cbpi_matter_add_first_thread(&matter);
    post(machine, &fork->record, CBP_MACHINE_STOP_START, &matter);
}

static void on_fork(struct cbpi_machine *machine, const struct cbp_machine_fork *fork)
{
    struct cbpi_matter matter;
    struct cbpi_machine_process *creator =
        fork->creator_process_id != 0 ? cbpi_machine_learn(machine, fork->creator_process_id,
                                                           cbpi_machine_ticks(fork->creator_start_ns), 0)
                                      : NULL;
    if (creator)
        introduce(machine, creator);
    if (fork->record.process_id == fork->record.thread_id) {
        on_new_process(machine, fork, creator);
        return;
    }
    struct cbpi_machine_process *process = process_of(machine, &fork->record);
    if (!process)
        return;
    introduce(machine, process);
    cbpi_matter_begin(machine, process, creator, fork->creator_thread_id, fork->record.thread_id, &matter);
    matter.is_exempt = (fork->record.flags & CBP_MACHINE_FLAG_WORKER) != 0;
    cbpd_add_item(&matter.report, CBP_PROC_EVT_THREAD_CREATION, 0);
    post(machine, &fork->record, CBP_MACHINE_STOP_START, &matter);
}

/* ---- Executions ---- */

/* An EXEC record has all of this. */
struct executed {
    const struct cbp_machine_exec *exec;
    const char *arguments; /* as the program has them */
    uint32_t arguments_size;
    bool are_whole;
};

static void read_executed(const struct cbp_machine_exec *exec, struct cbpi_partial_arguments *partial,
                          struct executed *executed)
{
    const char *text = (const char *) (exec + 1);
    *executed = (struct executed){.exec = exec};
    executed->arguments = text + exec->path_size + exec->given_size + exec->folder_size;
    executed->arguments_size = exec->arguments_size;
    executed->are_whole = !(exec->record.flags & CBP_MACHINE_FLAG_INCOMPLETE);
    if (!partial)
        return;
    append_part(partial, executed->arguments, exec->arguments_size);
    executed->arguments = partial->bytes ? partial->bytes : "";
    executed->arguments_size = partial->bytes ? partial->size : 0;
    executed->are_whole &= !partial->is_broken;
}

/* Gives the process its new image. old_stances gets what the rules made of it before. */
static void change_image(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                         const struct executed *executed, struct cbpd_image *image,
                         struct cbp_stance *old_stances)
{
    cbpd_execute(&machine->policy, &process->base, image ? image : cbpd_share_image(machine->policy.nameless),
                 old_stances);
    process->execution_count = executed->exec->execution_count;
    cbpi_masks_write(machine, process);
}

/* Leaves of a long list its beginning, where events that wait for a handler have too much already. */
static void limit_arguments(const struct cbpi_machine *machine, struct cbpi_execution *execution)
{
    if (execution->arguments_size <= SHORT_LIST_SIZE ||
        cbpi_told_has_room_for_list(machine, execution->arguments_size))
        return;
    const char *end = memrchr(execution->arguments, 0, SHORT_LIST_SIZE);
    execution->arguments_size = end ? (uint32_t) (end + 1 - execution->arguments) : 0;
    execution->are_arguments_whole = false;
}

/* Tells of an execution about which nobody has decided, or of another one than that. */
static void tell_execution(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                           const struct executed *executed, uint32_t flags)
{
    struct cbpi_matter matter;
    struct cbpi_execution execution;
    struct cbp_stance old_stances[CBP_SESSION_MAX];
    cbpi_execution_of_record(machine->executions, executed->exec, executed->arguments,
                             executed->arguments_size, executed->are_whole, &execution);
    struct cbpd_image *image =
        cbpd_make_image(&machine->policy, execution.files, execution.file_count, execution.is_vague);
    bool is_held = (executed->exec->record.flags & CBP_MACHINE_FLAG_HELD) != 0;
    if (!is_held)
        limit_arguments(machine, &execution);
    bool is_first = !process->base.executed;
    cbpi_matter_begin_creation(machine, process, executed->exec->old_thread_id, &matter);
    change_image(machine, process, executed, image, old_stances);
    if (!is_first)
        matter.report.request.originator = old_stances;
    matter.report.image = process->base.image;
    matter.report.user_id = process->user_id;
    matter.report.thread_id = executed->exec->record.thread_id;
    matter.report.request.subject = cbpd_stances_of(&machine->policy, &process->base);
    matter.report.arguments = execution.arguments;
    matter.report.arguments_size = execution.arguments_size;
    cbpd_add_item(&matter.report, CBP_PROC_EVT_PROCESS_CREATION,
                  flags |
                      (execution.are_arguments_whole ? 0 : (uint32_t) CBP_EVENT_FLAG_ARGUMENTS_TRUNCATED));
    cbpi_matter_add_first_thread(&matter);
    matter.ends_process = !is_held && cbpi_machine_refuses_late(machine);
    post(machine, &executed->exec->record, CBP_MACHINE_STOP_EXEC, &matter);
    if (matter.ends_process && matter.refusal.code != 0)
        cbpi_machine_end_refused(process->base.pid, process->base.start_time);
}

static void tell_thread(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                        const struct cbp_machine_record *record, uint32_t thread_id, uint32_t event)
{
    struct cbpi_matter matter;
    cbpi_matter_begin(machine, process, process, thread_id, thread_id, &matter);
    matter.happened_ns = record->time_ns;
    cbpd_add_item(&matter.report, event, 0);
    cbpi_matter_post(machine, &matter);
}

/* A thread that is not the first one executes: it ends under its own id and goes on under that of the first
 * thread, which has ended before. */
static void tell_renaming(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                          const struct cbp_machine_exec *exec)
{
    const struct cbp_machine_record *record = &exec->record;
    if (exec->old_thread_id == record->thread_id)
        return;
    introduce(machine, process);
    tell_thread(machine, process, record, exec->old_thread_id, CBP_PROC_EVT_THREAD_TERMINATION);
    tell_thread(machine, process, record, record->thread_id, CBP_PROC_EVT_THREAD_CREATION);
}

static void on_exec(struct cbpi_machine *machine, const struct cbp_machine_exec *exec)
{
    struct executed executed;
    struct cbpi_partial_arguments **partial = find_partial(machine, exec->record.thread_id);
    struct cbpi_machine_process *process = process_of(machine, &exec->record);
    struct cbpi_approval *approval =
        process ? cbpi_machine_take_approval(process, exec->old_thread_id) : NULL;
    read_executed(exec, *partial, &executed);
    enum cbpi_execution_outcome outcome = cbpi_execution_happened(
        machine->executions, exec, executed.arguments, executed.arguments_size, executed.are_whole);
    if (process)
        tell_renaming(machine, process, exec);
    if (process && approval && outcome == CBPI_EXECUTION_AS_DECIDED) {
        change_image(machine, process, &executed, cbpd_share_image(approval->image), NULL);
        introduce(machine, process);
    } else if (process) {
        bool is_changed = approval && outcome == CBPI_EXECUTION_CHANGED;
        tell_execution(machine, process, &executed, is_changed ? (uint32_t) CBP_EVENT_FLAG_CHANGED : 0);
    }
    cbpi_machine_free_approval(machine, approval);
    if (*partial)
        free_partial(partial);
}

/* ---- Ends ---- */

static void on_end(struct cbpi_machine *machine, const struct cbp_machine_exit *exit)
{
    struct cbpi_matter matter;
    const struct cbp_machine_record *record = &exit->record;
    bool is_last = (record->flags & CBP_MACHINE_FLAG_LAST) != 0;
    struct cbpi_machine_process *process = process_of(machine, record);
    if (!process)
        return;
    if (cbpi_execution_over(machine->executions, record->thread_id))
        cbpi_machine_end_approval(machine, process, record->thread_id);
    if (record->thread_id != record->process_id)
        introduce(machine, process);
    cbpi_matter_begin(machine, process, process, 0, record->thread_id, &matter);
    if (record->thread_id == record->process_id) {
        matter.report.originator_pid = process->creator_pid;
        matter.report.originator_tid = process->creator_tid;
    }
    cbpi_matter_add_first_thread(&matter);
    cbpd_add_item(&matter.report, CBP_PROC_EVT_THREAD_TERMINATION, 0);
    if (is_last)
        cbpd_add_item(&matter.report, CBP_PROC_EVT_PROCESS_TERMINATION, 0);
    matter.report.exit_status = exit->exit_status;
    post(machine, record, CBP_MACHINE_STOP_EXIT, &matter);
    if (is_last)
        cbpi_machine_end(machine, process);
}

/* ---- Handles ---- */

void cbpi_machine_tell_handle(struct cbpi_machine *machine, const struct cbp_machine_handle *handle)
{
    struct cbpi_matter matter;
    const struct cbp_machine_record *record = &handle->record;
    struct cbpi_machine_process *caller = process_of(machine, record);
    struct cbpi_machine_process *target = cbpi_machine_learn(machine, handle->target_process_id,
                                                             cbpi_machine_ticks(handle->target_start_ns), 0);
    if (!caller || !target || caller == target)
        return;
    introduce(machine, caller);
    introduce(machine, target);
    cbpi_matter_begin(machine, target, caller, record->thread_id, handle->target_thread_id, &matter);
    bool is_thread = handle->target_thread_id != 0, is_duplication = handle->source_process_id != 0;
    bool is_held = (record->flags & CBP_MACHINE_FLAG_HELD) != 0;
    struct cbpd_request *request = &matter.report.request;
    request->access = handle->access;
    /* The call has these rights already, whatever rules say by now. */
    request->kept_access = is_held ? 0 : handle->access & ~handle->lost_access;
    cbpd_begin_search(&machine->policy, &caller->base);
    request->is_by_creator = cbpd_is_protected_creator(&machine->policy, &caller->base, &target->base);
    matter.report.source_pid = is_duplication ? target->base.pid : 0;
    matter.report.target_pid = is_duplication ? caller->base.pid : 0;
    cbpd_add_item(&matter.report,
                  is_thread ? CBP_PROC_EVT_THREAD_HANDLE_OPERATION : CBP_PROC_EVT_PROCESS_HANDLE_OPERATION,
                  is_duplication ? CBP_EVENT_FLAG_DUPLICATION : 0);
    post(machine, record, CBP_MACHINE_STOP_HANDLE, &matter);
}

/* ---- The ring ---- */

static uint32_t stop_of(const struct cbp_machine_record *record)
{
    switch (record->type) {
    case CBP_MACHINE_FORK:
        return CBP_MACHINE_STOP_START;
    case CBP_MACHINE_EXEC:
        return CBP_MACHINE_STOP_EXEC;
    case CBP_MACHINE_EXIT:
        return CBP_MACHINE_STOP_EXIT;
    default:
        return CBP_MACHINE_STOP_HANDLE;
    }
}

static void take(struct cbpi_machine *machine, const struct cbp_machine_record *record)
{
    const void *whole = record;
    if (record->flags & CBP_MACHINE_FLAG_RELEASED) { /* it was told when it came first */
        cbpi_machine_release_from_gate(machine, stop_of(record), record->thread_id);
        return;
    }
    switch (record->type) {
    case CBP_MACHINE_FORK:
        on_fork(machine, whole);
        break;
    case CBP_MACHINE_EXEC:
        on_exec(machine, whole);
        break;
    case CBP_MACHINE_ARGUMENTS:
        on_arguments(machine, whole);
        break;
    case CBP_MACHINE_EXIT:
        on_end(machine, whole);
        break;
    case CBP_MACHINE_HANDLE:
        cbpi_machine_tell_handle(machine, whole);
        break;
    default:
        break;
    }
}

void cbpi_machine_drain(struct cbpi_machine *machine)
{
    const struct cbp_machine_record *record;
    if (machine->is_draining)
        return;
    machine->is_draining = true;
    while ((record = cbpi_ring_next(&machine->ring))) {
        take(machine, record);
        cbpi_ring_advance(&machine->ring);
    }
    machine->is_draining = false;
    if (machine->partial && cbpi_now_ns() - machine->partial->begun_ns > PARTIAL_LIMIT_NS)
        free_partial(&machine->partial); /* its EXEC record was lost */
}
