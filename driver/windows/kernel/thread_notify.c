/* Is called for each thread that begins or ends, and tells of it. Neither can be refused; both can be held. May
 * be called at APC_LEVEL, so it reads no names. Knows no handles. */
#include "kernel.h"

static EX_RUNDOWN_REF running; /* calls of the routine */

/* Tells that the current thread creates one in that process. The first thread of a process belongs to the
 * creation of that: what a launch or a worker creates is of the same kind. */
static void on_creation(uint32_t pid, uint32_t tid)
{
    struct cbpd_kernel_outcome outcome;
    uint32_t creator_tid = HandleToUlong(PsGetCurrentThreadId());
    struct cbpd_party parties[] = {{.pid = HandleToUlong(PsGetCurrentProcessId())}, {.pid = pid}};
    if (cbpd_is_system(parties[0].pid))
        return;
    struct cbpd_policy *policy = cbpd_books_lock_for(parties, 2, false);
    struct cbpd_kernel_process *process = parties[1].process;
    if (!process) {
        if (cbpd_any_session_wants(policy, CBP_PROC_EVT_THREAD_CREATION))
            cbpd_report_lost(policy);
        cbpd_books_unlock();
        return;
    }
    struct cbpd_kernel_report report = cbpd_report_begin(policy, process, parties[0].process, creator_tid);
    report.base.originator_pid = parties[0].pid;
    report.base.thread_id = tid;
    report.is_launch = process->is_launched && !process->has_threads;
    report.is_exempt |= !report.is_launch && cbpd_is_worker(creator_tid);
    process->has_threads = true;
    cbpd_add_item(&report.base, CBP_PROC_EVT_THREAD_CREATION, 0);
    cbpd_report_send(policy, &report, &outcome);
}

/* Tells that the current thread ends. The system does not say with which status. */
static void on_end(uint32_t pid, uint32_t tid, bool is_worker)
{
    struct cbpd_kernel_outcome outcome;
    struct cbpd_policy *policy = cbpd_books_lock();
    struct cbpd_kernel_process *process = cbpd_process_of(policy, pid);
    if (!process || cbpd_is_system(pid)) {
        cbpd_books_unlock();
        return;
    }
    struct cbpd_kernel_report report = cbpd_report_begin(policy, process, process, tid);
    report.base.thread_id = tid;
    report.is_exempt |= is_worker;
    cbpd_add_item(&report.base, CBP_PROC_EVT_THREAD_TERMINATION, 0);
    cbpd_report_send(policy, &report, &outcome);
}

static VOID NTAPI on_thread(HANDLE process_id, HANDLE thread_id, BOOLEAN is_creation)
{
    uint32_t pid = HandleToUlong(process_id), tid = HandleToUlong(thread_id);
    bool is_worker = false;
    if (!is_creation) { /* even while the routine is being removed: the id is given out again */
        is_worker = cbpd_is_worker(tid);
        cbpd_workers_thread_ended(tid);
    }
    if (!ExAcquireRundownProtection(&running))
        return;
    if (is_creation)
        on_creation(pid, tid);
    else
        on_end(pid, tid, is_worker);
    ExReleaseRundownProtection(&running);
}

uint32_t cbpd_thread_notify_arm(void)
{
    ExInitializeRundownProtection(&running);
    return cbpd_error_of(PsSetCreateThreadNotifyRoutine(on_thread));
}

void cbpd_thread_notify_disarm(void)
{
    (void) PsRemoveCreateThreadNotifyRoutine(on_thread);
    ExWaitForRundownProtectionRelease(&running);
}
