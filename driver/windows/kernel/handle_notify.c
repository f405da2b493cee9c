/* Is called before a handle of a process or a thread is created or duplicated, and takes rights out of it. A
 * handle operation never fails here: what is refused loses every right that may be taken. Knows no creations.
 *
 * Handles of the kernel itself, those that this driver opens among them, go on before anything else is done:
 * the driver cannot come back to itself here. */
#include "access_rights.h"
#include "kernel.h"

enum { ALTITUDE_SIZE_MAX = 64, NEIGHBOUR_MAX = 99 };

static EX_RUNDOWN_REF running; /* calls of the routine */
static PVOID registration;     /* NULL: not registered */

/* A thread asks for a handle like this. */
struct demand {
    uint32_t originator_pid, originator_tid;
    bool is_thread; /* of a thread, else of a process */
    uint32_t thread_id;
    ACCESS_MASK *access; /* what it will get */
    uint32_t original_access;
    bool is_duplication;
    uint32_t source_pid, target_pid;
    uint32_t removable; /* the rights that may be taken */
};

/* ---- What is asked for ---- */

static struct demand demand_of(POB_PRE_OPERATION_INFORMATION info)
{
    struct demand demand = {.originator_pid = HandleToUlong(PsGetCurrentProcessId()),
                            .originator_tid = HandleToUlong(PsGetCurrentThreadId()),
                            .is_thread = info->ObjectType == *CBPD_THREAD_TYPE,
                            .is_duplication = info->Operation == OB_OPERATION_HANDLE_DUPLICATE};
    POB_PRE_CREATE_HANDLE_INFORMATION created = &info->Parameters->CreateHandleInformation;
    POB_PRE_DUPLICATE_HANDLE_INFORMATION duplicated = &info->Parameters->DuplicateHandleInformation;
    if (demand.is_duplication) {
        demand.access = &duplicated->DesiredAccess;
        demand.original_access = duplicated->OriginalDesiredAccess;
        demand.source_pid = HandleToUlong(PsGetProcessId(duplicated->SourceProcess));
        demand.target_pid = HandleToUlong(PsGetProcessId(duplicated->TargetProcess));
    } else {
        demand.access = &created->DesiredAccess;
        demand.original_access = created->OriginalDesiredAccess;
    }
    demand.removable = demand.is_thread ? CBPD_REMOVABLE_THREAD_RIGHTS : CBPD_REMOVABLE_PROCESS_RIGHTS;
    return demand;
}

static struct cbpd_party subject_of(POB_PRE_OPERATION_INFORMATION info, struct demand *demand)
{
    if (!demand->is_thread)
        return (struct cbpd_party){.pid = HandleToUlong(PsGetProcessId(info->Object)),
                                   .object = info->Object};
    demand->thread_id = HandleToUlong(PsGetThreadId(info->Object));
    return (struct cbpd_party){.pid = HandleToUlong(PsGetThreadProcessId(info->Object))};
}

/* ---- What is left ---- */

/* Says whether the handle is one that the creation of the subject gives, and strikes it off. Without them no
 * program could be started that a rule protects: its first thread is resumed by such a handle. They have all
 * rights, so what a creator opens later does not pass for one. */
static bool takes_birthright(const struct demand *demand, struct cbpd_kernel_process *subject)
{
    uint32_t right = demand->is_thread ? CBPD_BIRTHRIGHT_THREAD : CBPD_BIRTHRIGHT_PROCESS;
    bool is_due =
        demand->originator_pid == subject->creator_pid && demand->originator_tid == subject->creator_tid;
    if (demand->is_duplication) {
        right = demand->is_thread ? CBPD_BIRTHRIGHT_THREAD_COPY : CBPD_BIRTHRIGHT_PROCESS_COPY;
        is_due = demand->source_pid == subject->creator_pid && demand->target_pid == demand->originator_pid;
    }
    if (!is_due || (subject->birthrights & right) == 0 || (~demand->original_access & demand->removable) != 0)
        return false;
    subject->birthrights &= ~right;
    return true;
}

/* Gives the rights that any rule could take: the process is not known, for want of memory or because it has
 * ended. */
static uint32_t taken_from_unknown(const struct cbpd_policy *policy, const struct demand *demand)
{
    if (policy->rule_counts[CBP_ACTION_STRIP] == 0)
        return 0;
    return demand->is_thread ? cbpd_thread_rights_of(policy->strip_mask) : policy->strip_mask;
}

/* Gives the rights that are taken away. The books are held, and are not on return. */
static uint32_t decide(struct cbpd_policy *policy, const struct demand *demand,
                       struct cbpd_kernel_process *subject, struct cbpd_kernel_process *originator)
{
    struct cbpd_kernel_outcome outcome;
    struct cbpd_kernel_report report = cbpd_report_begin(policy, subject, originator, demand->originator_tid);
    report.base.originator_pid = demand->originator_pid;
    report.base.thread_id = demand->thread_id;
    report.base.source_pid = demand->source_pid;
    report.base.target_pid = demand->target_pid;
    report.base.request.access = demand->original_access;
    report.base.request.kept_access = ~demand->removable;
    report.base.request.is_of_creation = takes_birthright(demand, subject);
    report.is_exempt |= cbpd_is_worker(demand->originator_tid);
    if (originator) {
        cbpd_begin_search(policy, &originator->base);
        report.base.request.is_by_creator =
            cbpd_is_protected_creator(policy, &originator->base, &subject->base);
    }
    cbpd_add_item(&report.base,
                  demand->is_thread ? CBP_PROC_EVT_THREAD_HANDLE_OPERATION
                                    : CBP_PROC_EVT_PROCESS_HANDLE_OPERATION,
                  demand->is_duplication ? CBP_EVENT_FLAG_DUPLICATION : 0);
    cbpd_report_send(policy, &report, &outcome);
    return outcome.result_code != 0 ? demand->removable : outcome.lost_access;
}

static void on_demand(POB_PRE_OPERATION_INFORMATION info)
{
    struct demand demand = demand_of(info);
    struct cbpd_party parties[] = {{.pid = demand.originator_pid}, subject_of(info, &demand)};
    if (cbpd_is_system(demand.originator_pid) || demand.originator_pid == parties[1].pid)
        return; /* an operation on oneself makes no event */
    struct cbpd_policy *policy = cbpd_books_lock_for(parties, 2, true);
    uint32_t lost;
    if (parties[1].process) {
        lost = decide(policy, &demand, parties[1].process, parties[0].process);
    } else {
        lost = taken_from_unknown(policy, &demand);
        cbpd_books_unlock();
    }
    *demand.access &= ~(lost & demand.removable);
}

static OB_PREOP_CALLBACK_STATUS NTAPI on_handle(PVOID context, POB_PRE_OPERATION_INFORMATION info)
{
    (void) context;
    if (info->KernelHandle || !ExAcquireRundownProtection(&running))
        return OB_PREOP_SUCCESS;
    on_demand(info);
    ExReleaseRundownProtection(&running);
    return OB_PREOP_SUCCESS;
}

/* ---- The altitude ---- */

/* An altitude is a decimal. More digits behind it name a neighbour just above it. */
struct altitude {
    WCHAR units[ALTITUDE_SIZE_MAX + 4]; /* with a point and two digits of a neighbour */
    uint32_t count;
    bool has_point;
};

static struct altitude altitude_of(const char *text, uint32_t size)
{
    struct altitude altitude = {.count = size < ALTITUDE_SIZE_MAX ? size : ALTITUDE_SIZE_MAX};
    for (uint32_t i = 0; i < altitude.count; i++) {
        altitude.units[i] = (WCHAR) text[i];
        altitude.has_point |= text[i] == '.';
    }
    return altitude;
}

/* Gives the name of the altitude itself (0), or of one of its neighbours. */
static UNICODE_STRING name_of(struct altitude *altitude, uint32_t neighbour)
{
    uint32_t count = altitude->count;
    if (neighbour > 0) {
        if (!altitude->has_point)
            altitude->units[count++] = L'.';
        altitude->units[count++] = (WCHAR) (L'0' + neighbour / 10);
        altitude->units[count++] = (WCHAR) (L'0' + neighbour % 10);
    }
    USHORT size = (USHORT) (count * sizeof(WCHAR));
    return (UNICODE_STRING){size, size, altitude->units};
}

static NTSTATUS set_callbacks(UNICODE_STRING altitude)
{
    OB_OPERATION_REGISTRATION operations[] = {
        {.ObjectType = CBPD_PROCESS_TYPE,
         .Operations = OB_OPERATION_HANDLE_CREATE | OB_OPERATION_HANDLE_DUPLICATE,
         .PreOperation = on_handle},
        {.ObjectType = CBPD_THREAD_TYPE,
         .Operations = OB_OPERATION_HANDLE_CREATE | OB_OPERATION_HANDLE_DUPLICATE,
         .PreOperation = on_handle},
    };
    OB_CALLBACK_REGISTRATION callbacks = {.Version = OB_FLT_REGISTRATION_VERSION,
                                          .OperationRegistrationCount = 2,
                                          .Altitude = altitude,
                                          .OperationRegistration = operations};
    return ObRegisterCallbacks(&callbacks, &registration);
}

uint32_t cbpd_handle_notify_arm(const char *altitude, uint32_t size, bool is_strict)
{
    struct altitude wanted = altitude_of(altitude, size);
    ExInitializeRundownProtection(&running);
    NTSTATUS status = set_callbacks(name_of(&wanted, 0));
    for (uint32_t i = 1; status == STATUS_FLT_INSTANCE_ALTITUDE_COLLISION && !is_strict && i <= NEIGHBOUR_MAX;
         i++)
        status = set_callbacks(name_of(&wanted, i));
    if (!NT_SUCCESS(status))
        registration = NULL;
    return cbpd_error_of(status);
}

void cbpd_handle_notify_disarm(void)
{
    if (!registration)
        return;
    ObUnRegisterCallbacks(registration);
    registration = NULL;
    ExWaitForRundownProtectionRelease(&running);
}
