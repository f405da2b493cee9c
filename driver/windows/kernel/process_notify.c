/* Is called for each process that begins or ends: keeps the books of them, and refuses creations. Knows no
 * thread and no handle.
 *
 * The system calls it in the thread that creates, with nothing of the new process running, or in the last
 * thread of a process that ends. The new process's first thread has no id here; thread_notify.c tells of it, in
 * a message of its own. */
#include "kernel.h"

static EX_RUNDOWN_REF running; /* calls of the routine */

/* A process is being created like this. */
struct creation {
    PPS_CREATE_NOTIFY_INFO info;
    struct cbpd_facts facts;
    char *arguments; /* the command line; NULL: it is not known */
    uint32_t arguments_size;
    uint32_t creator_pid, creator_tid;
};

/* ---- What is known of a new process ---- */

/* Gives the file's name without its folder. */
static UNICODE_STRING last_part(const UNICODE_STRING *name)
{
    USHORT start = name->Length / sizeof(WCHAR);
    while (start > 0 && name->Buffer[start - 1] != L'\\')
        start--;
    USHORT size = (USHORT) (name->Length - start * sizeof(WCHAR));
    return (UNICODE_STRING){size, size, name->Buffer + start};
}

/* Reads the name by which the process was created. It is the path as well, if the system does not know that
 * and if it is whole. What the system gives of a partial name could look like a path, so the file's name alone
 * is told. */
static void read_given_name(struct creation *creation, const struct cbpd_drives *drives)
{
    struct cbpd_facts *facts = &creation->facts;
    const UNICODE_STRING *name = creation->info->ImageFileName;
    facts->is_vague = !facts->path;
    if (!name || !drives)
        return;
    if (!creation->info->FileOpenNameAvailable) {
        UNICODE_STRING part = last_part(name);
        facts->given = cbpd_name_of_path(drives, &part, &facts->given_size);
        return;
    }
    facts->given = cbpd_name_of_path(drives, name, &facts->given_size);
    if (facts->path)
        return;
    facts->path = facts->given;
    facts->path_size = facts->given_size;
    facts->is_vague = !facts->path;
    facts->given = NULL;
}

/* Reads what rules need. What there is no memory for is not known, and rules that forbid apply. */
static void read_creation(struct creation *creation, PEPROCESS process)
{
    PPS_CREATE_NOTIFY_INFO info = creation->info;
    struct cbpd_drives *drives = cbpd_drives_read();
    cbpd_facts_read(process, drives, &creation->facts);
    creation->facts.parent_pid = HandleToUlong(info->ParentProcessId);
    read_given_name(creation, drives);
    cbpd_facts_lengthen(&creation->facts, info->FileObject);
    if (info->CommandLine)
        creation->arguments = cbpd_name_of_text(info->CommandLine, &creation->arguments_size);
    creation->creator_pid = HandleToUlong(info->CreatingThreadId.UniqueProcess);
    creation->creator_tid = HandleToUlong(info->CreatingThreadId.UniqueThread);
    cbpd_pool_free(drives);
}

static void free_creation(struct creation *creation)
{
    cbpd_facts_free(&creation->facts);
    cbpd_pool_free(creation->arguments);
}

/* ---- Refusals ---- */

/* Gives the status of a refused creation. It is always one of failure. */
static NTSTATUS refusal_status(uint32_t code)
{
    if (code == CBP_ERROR_ACCESS_DENIED)
        return STATUS_ACCESS_DENIED;
    return (NTSTATUS) (0xc0070000u | (code & 0xffffu));
}

/* Takes a process out of the books again, unless its id has another one by now. */
static void forget(uint32_t pid, uint64_t start_time)
{
    struct cbpd_policy *policy = cbpd_books_lock();
    struct cbpd_kernel_process *process = cbpd_process_of(policy, pid);
    if (process && process->base.start_time == start_time)
        cbpd_process_end(policy, process);
    cbpd_books_unlock();
}

/* Decides about a process for which the books have no memory. It is refused if some rule denies, or if rules
 * or a launch may let a handler decide, because that may be meant for it. */
static uint32_t give_up(struct cbpd_policy *policy, struct cbpd_kernel_process *creator)
{
    bool is_anybody_asked =
        cbpd_any_session_wants(policy, CBP_PROC_EVT_PROCESS_CREATION) &&
        (policy->rule_counts[CBP_ACTION_ASK] > 0 || (creator && cbpd_bequest_of(policy, &creator->base)));
    uint32_t code = 0;
    if (policy->rule_counts[CBP_ACTION_DENY] > 0 || is_anybody_asked)
        code = CBP_ERROR_NOT_ENOUGH_MEMORY;
    cbpd_report_lost(policy);
    for (uint32_t i = 0; i < policy->session_count && code != 0; i++)
        cbpd_count(policy->order[i], CBPD_COUNT_REFUSED, 1);
    return code;
}

/* ---- Creation ---- */

/* Gives the process what its creating thread has announced. False: that has announced nothing. */
static bool begin_launch(struct cbpd_policy *policy, uint32_t creator_tid,
                         struct cbpd_kernel_process *process)
{
    uint64_t controller_id;
    uint32_t session_id, rule_id, place;
    if (!cbpd_launcher_take(creator_tid, &controller_id, &session_id, &rule_id))
        return false;
    if (rule_id != 0 && cbpd_find_session(policy, controller_id, session_id, &place) == 0)
        cbpd_add_launch_rule(policy, place, rule_id, &process->base);
    return true;
}

/* Gives the handles that the creation has still to give. Some may have been opened before it was told. */
static uint32_t birthrights_left(struct cbpd_policy *policy, const struct cbpd_facts *facts)
{
    const struct cbpd_kernel_process *earlier = cbpd_process_of(policy, facts->pid);
    bool is_known = earlier && earlier->base.start_time == facts->start_time && earlier->creator_pid != 0;
    return is_known ? earlier->birthrights : CBPD_ALL_BIRTHRIGHTS;
}

/* Tells and asks. The books are held, and are not on return. */
static uint32_t report_creation(struct cbpd_policy *policy, const struct creation *creation,
                                struct cbpd_kernel_process *process, struct cbpd_kernel_process *creator)
{
    struct cbpd_kernel_outcome outcome;
    bool is_cut = creation->info->CommandLine && !creation->arguments;
    process->creator_pid = creation->creator_pid;
    process->creator_tid = creation->creator_tid;
    process->is_launched = begin_launch(policy, creation->creator_tid, process);
    process->is_exempt =
        !process->is_launched && (cbpd_is_worker(creation->creator_tid) || (creator && creator->is_exempt));
    struct cbpd_kernel_report report = cbpd_report_begin(policy, process, creator, creation->creator_tid);
    report.base.originator_pid = creation->creator_pid;
    report.base.arguments = creation->arguments;
    report.base.arguments_size = creation->arguments ? creation->arguments_size : 0;
    report.is_exempt = process->is_exempt || cbpd_is_system(creation->creator_pid);
    report.is_launch = process->is_launched;
    cbpd_add_item(&report.base, CBP_PROC_EVT_PROCESS_CREATION,
                  is_cut ? CBP_EVENT_FLAG_ARGUMENTS_TRUNCATED : 0);
    cbpd_report_send(policy, &report, &outcome);
    return outcome.result_code;
}

static void on_creation(PEPROCESS object, PPS_CREATE_NOTIFY_INFO info)
{
    struct creation creation = {.info = info};
    uint32_t code;
    if (!NT_SUCCESS(info->CreationStatus))
        return; /* another driver has refused it */
    read_creation(&creation, object);
    struct cbpd_party creator = {.pid = creation.creator_pid};
    struct cbpd_policy *policy = cbpd_books_lock_for(&creator, 1, true);
    uint32_t birthrights = birthrights_left(policy, &creation.facts);
    struct cbpd_kernel_process *process = cbpd_process_begin(policy, &creation.facts, creator.process);
    if (process) {
        process->birthrights = birthrights;
        code = report_creation(policy, &creation, process, creator.process);
    } else {
        code = give_up(policy, creator.process);
        cbpd_books_unlock();
    }
    if (code != 0) {
        info->CreationStatus = refusal_status(code);
        forget(creation.facts.pid, creation.facts.start_time);
    }
    free_creation(&creation);
}

/* ---- The end ---- */

/* Tells that a process has ended. One that was refused is not in the books any more. */
static void on_end(PEPROCESS object, uint32_t pid)
{
    struct cbpd_kernel_outcome outcome;
    struct cbpd_policy *policy = cbpd_books_lock();
    struct cbpd_kernel_process *process = cbpd_process_of(policy, pid);
    uint64_t start_time = (uint64_t) PsGetProcessCreateTimeQuadPart(object);
    if (!process || process->base.start_time != start_time) {
        cbpd_books_unlock();
        return;
    }
    bool is_in_it = HandleToUlong(PsGetCurrentProcessId()) == pid;
    uint32_t tid = is_in_it ? HandleToUlong(PsGetCurrentThreadId()) : 0;
    struct cbpd_kernel_report report = cbpd_report_begin(policy, process, process, tid);
    report.base.thread_id = tid;
    report.base.exit_status = (uint32_t) PsGetProcessExitStatus(object);
    cbpd_add_item(&report.base, CBP_PROC_EVT_PROCESS_TERMINATION, 0);
    cbpd_report_send(policy, &report, &outcome);
    forget(pid, start_time);
}

/* ---- The routine ---- */

static VOID NTAPI on_process(PEPROCESS object, HANDLE id, PPS_CREATE_NOTIFY_INFO info)
{
    uint32_t pid = HandleToUlong(id);
    if (!info) /* its sessions end even while the routine is being removed */
        cbpd_controllers_process_ended(pid);
    if (!ExAcquireRundownProtection(&running))
        return;
    if (info)
        on_creation(object, info);
    else
        on_end(object, pid);
    ExReleaseRundownProtection(&running);
}

static void forget_all(void)
{
    cbpd_processes_forget(cbpd_books_lock());
    cbpd_books_unlock();
}

uint32_t cbpd_process_notify_arm(void)
{
    forget_all();
    ExInitializeRundownProtection(&running);
    uint32_t error = cbpd_error_of(cbpd_system_notify_processes(on_process, FALSE));
    if (error != 0)
        return error;
    error = cbpd_processes_read(); /* what begins from now on is told of */
    if (error != 0)
        cbpd_process_notify_disarm();
    return error;
}

void cbpd_process_notify_disarm(void)
{
    (void) cbpd_system_notify_processes(on_process, TRUE);
    ExWaitForRundownProtectionRelease(&running);
    forget_all();
}
