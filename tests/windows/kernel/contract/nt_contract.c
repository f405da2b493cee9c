/* Is the inner half of the contract test: a driver that checks, when it is loaded, that the functions of NT do
 * what Microsoft documents of them. Its findings go to DbgPrint() and to its device.
 *
 * Wine has only names for some functions. There, which the service's name says ("...Wine"), these are not
 * checked; what else Wine lacks is found by name and counted as absent. */
#include "nt_contract_driver.h"

#define TAG 0x72706243ul
enum { MS = 10000 /* of the system's time */, WAIT = 20 * MS };

uint32_t contract_checks, contract_failures;
static uint32_t absent_count;
const char *contract_names[CONTRACT_NAMES];
bool contract_is_wine;
static bool has_names_alone; /* of some functions, which end the process: bare Wine */

static void *find(const WCHAR *name)
{
    UNICODE_STRING text;
    RtlInitUnicodeString(&text, name);
    void *found = MmGetSystemRoutineAddress(&text);
    absent_count += !found;
    return found;
}

#define FIND(type, name) ((type) (ULONG_PTR) find(L##name))

/* ---- Time and events ---- */

typedef LARGE_INTEGER(NTAPI *query_counter)(PLARGE_INTEGER frequency);
typedef VOID(NTAPI *query_time)(PLARGE_INTEGER time);

static uint64_t now_us(query_counter counter)
{
    LARGE_INTEGER frequency, ticks = counter(&frequency);
    return (uint64_t) ticks.QuadPart * 1000000 / (uint64_t) frequency.QuadPart;
}

static void check_time(void)
{
    query_counter counter = FIND(query_counter, "KeQueryPerformanceCounter");
    query_time precise = FIND(query_time, "KeQuerySystemTimePrecise");
    LARGE_INTEGER interval = {.QuadPart = -WAIT}, first, second;
    KEVENT event;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    if (counter) {
        uint64_t before = now_us(counter);
        NTSTATUS status = KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &interval);
        uint64_t waited = now_us(counter) - before;
        CONTRACT_CHECK(status == STATUS_TIMEOUT, "a wait that nobody ends times out");
        CONTRACT_CHECK(waited >= 15000 && waited < 5000000, "a wait lasts");
    }
    if (precise) {
        precise(&first);
        (void) KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &interval);
        precise(&second);
        CONTRACT_CHECK(second.QuadPart > first.QuadPart, "the system's time passes");
        CONTRACT_CHECK(first.QuadPart > 130000000000000000, "it is counted from 1601");
    }
}

static NTSTATUS look_at(PRKEVENT event)
{
    LARGE_INTEGER none = {.QuadPart = 0};
    return KeWaitForSingleObject(event, Executive, KernelMode, FALSE, &none);
}

static void check_events(void)
{
    KEVENT notification, synchronization;
    KeInitializeEvent(&notification, NotificationEvent, FALSE);
    KeInitializeEvent(&synchronization, SynchronizationEvent, TRUE);
    CONTRACT_CHECK(look_at(&notification) == STATUS_TIMEOUT, "an event is not set");
    CONTRACT_CHECK(KeSetEvent(&notification, 0, FALSE) == 0, "setting gives the old state");
    CONTRACT_CHECK(KeSetEvent(&notification, 0, FALSE) != 0, "which is set now");
    CONTRACT_CHECK(look_at(&notification) == STATUS_SUCCESS, "a wait for a set event ends");
    CONTRACT_CHECK(look_at(&notification) == STATUS_SUCCESS, "a notification event stays set");
    CONTRACT_CHECK(look_at(&synchronization) == STATUS_SUCCESS, "an event is set from the start");
    CONTRACT_CHECK(look_at(&synchronization) == STATUS_TIMEOUT, "a synchronization event ends one wait");
}

/* ---- Memory and locks ---- */

typedef PVOID(NTAPI *allocate_pool)(ULONG64 flags, SIZE_T size, ULONG tag);

static void check_pool(void)
{
    allocate_pool allocate = FIND(allocate_pool, "ExAllocatePool2");
    unsigned char *old = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG), *other;
    CONTRACT_CHECK(old && ((ULONG_PTR) old & 15) == 0, "pool is aligned to 16");
    other = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    CONTRACT_CHECK(other && other != old, "memory is given once");
    if (other)
        ExFreePoolWithTag(other, TAG);
    if (old)
        ExFreePoolWithTag(old, TAG);
    if (!allocate)
        return;
    unsigned char *zeroed = allocate(0x40, 1000, TAG), sum = 0;
    for (int i = 0; zeroed && i < 1000; i++)
        sum |= zeroed[i];
    CONTRACT_CHECK(zeroed && sum == 0, "ExAllocatePool2 gives memory that is all 0");
    if (zeroed)
        ExFreePoolWithTag(zeroed, TAG);
}

static void check_locks(void)
{
    FAST_MUTEX mutex;
    EX_RUNDOWN_REF rundown;
    KSPIN_LOCK spin;
    KeInitializeSpinLock(&spin);
    KIRQL irql = KeAcquireSpinLockRaiseToDpc(&spin);
    KeReleaseSpinLock(&spin, irql);
    CONTRACT_CHECK(irql == PASSIVE_LEVEL, "a spin lock gives the IRQL to return to");
    ExInitializeFastMutex(&mutex);
    for (int i = 0; i < 2; i++) {
        ExAcquireFastMutex(&mutex);
        ExReleaseFastMutex(&mutex);
    }
    KeEnterCriticalRegion();
    KeLeaveCriticalRegion();
    if (has_names_alone)
        return;
    ExInitializeRundownProtection(&rundown);
    CONTRACT_CHECK(ExAcquireRundownProtection(&rundown), "protection is acquired");
    CONTRACT_CHECK(ExAcquireRundownProtection(&rundown), "by several");
    ExReleaseRundownProtection(&rundown);
    ExReleaseRundownProtection(&rundown);
    ExWaitForRundownProtectionRelease(&rundown);
    CONTRACT_CHECK(!ExAcquireRundownProtection(&rundown), "and by nobody after the rundown");
}

/* ---- Texts ---- */

static void check_texts(void)
{
    UNICODE_STRING text;
    RtlInitUnicodeString(&text, NULL);
    CONTRACT_CHECK(text.Length == 0 && text.MaximumLength == 0 && !text.Buffer, "no text");
    RtlInitUnicodeString(&text, L"");
    CONTRACT_CHECK(text.Length == 0 && text.MaximumLength == 2, "an empty text");
    RtlInitUnicodeString(&text, L"abc");
    CONTRACT_CHECK(text.Length == 6 && text.MaximumLength == 8, "a text has its size in bytes");
    CONTRACT_CHECK(find(L"CbpNoSuchFunction") == NULL, "a function that is not there");
    absent_count--;
    CONTRACT_CHECK(find(L"RtlInitUnicodeString") != NULL, "a function that is there");
}

/* ---- Security ---- */

static void check_security(void)
{
    static const UCHAR system_sid[] = {1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0};
    union {
        ACL acl;
        ULONG words[16];
    } list;
    SECURITY_DESCRIPTOR descriptor;
    CONTRACT_CHECK(RtlCreateAcl(&list.acl, 7, ACL_REVISION) == STATUS_BUFFER_TOO_SMALL,
                   "a list has room for itself");
    CONTRACT_CHECK(NT_SUCCESS(RtlCreateAcl(&list.acl, 28, ACL_REVISION)), "a list is made");
    CONTRACT_CHECK(list.acl.AclSize == 28 && list.acl.AceCount == 0, "and is empty");
    NTSTATUS status =
        RtlAddAccessAllowedAce(&list.acl, ACL_REVISION, 0x10000000, (PSID) (ULONG_PTR) system_sid);
    CONTRACT_CHECK(NT_SUCCESS(status) && list.acl.AceCount == 1, "an entry is added");
    CONTRACT_CHECK(list.words[2] == 20u << 16 && list.words[3] == 0x10000000,
                   "with its type, size and rights");
    CONTRACT_CHECK(memcmp(&list.words[4], system_sid, sizeof system_sid) == 0, "and its owner");
    status = RtlAddAccessAllowedAce(&list.acl, ACL_REVISION, 1, (PSID) (ULONG_PTR) system_sid);
    CONTRACT_CHECK(status == STATUS_ALLOTTED_SPACE_EXCEEDED && list.acl.AceCount == 1, "a list is full");
    CONTRACT_CHECK(RtlCreateSecurityDescriptor(&descriptor, 2) == STATUS_UNKNOWN_REVISION, "a revision");
    CONTRACT_CHECK(NT_SUCCESS(RtlCreateSecurityDescriptor(&descriptor, 1)), "a descriptor is made");
    status = RtlSetDaclSecurityDescriptor(&descriptor, TRUE, &list.acl, FALSE);
    CONTRACT_CHECK(NT_SUCCESS(status) && descriptor.Dacl == &list.acl, "and has a list");
    CONTRACT_CHECK((descriptor.Control & SE_DACL_PRESENT) != 0, "which it says");
}

/* ---- Processes, handles and links ---- */

static void check_handles(PEPROCESS process)
{
    HANDLE handle = NULL;
    NTSTATUS status = ObOpenObjectByPointer(process, OBJ_KERNEL_HANDLE, NULL, 0x0400, *CBPD_PROCESS_TYPE,
                                            KernelMode, &handle);
    CONTRACT_CHECK(NT_SUCCESS(status) && handle, "a process is opened by its object");
    if (NT_SUCCESS(status))
        CONTRACT_CHECK(NT_SUCCESS(ZwClose(handle)), "and closed");
    status = ObOpenObjectByPointer(process, OBJ_KERNEL_HANDLE, NULL, 0x0400, *CBPD_THREAD_TYPE, KernelMode,
                                   &handle);
    CONTRACT_CHECK(status == STATUS_OBJECT_TYPE_MISMATCH, "a process is no thread");
}

static void check_processes(void)
{
    HANDLE own = PsGetCurrentProcessId();
    PEPROCESS process = NULL, none = NULL;
    CONTRACT_CHECK(own && PsGetCurrentThreadId(), "a thread and its process have ids");
    NTSTATUS status = PsLookupProcessByProcessId(own, &process);
    CONTRACT_CHECK(NT_SUCCESS(status) && process, "a process is found by its id");
    if (!NT_SUCCESS(status))
        return;
    CONTRACT_CHECK(PsGetProcessId(process) == own, "and has it");
    ObReferenceObject(process);
    ObDereferenceObject(process);
    check_handles(process);
    ObDereferenceObject(process);
    status = PsLookupProcessByProcessId((HANDLE) (ULONG_PTR) 0x3ffffff0, &none);
    CONTRACT_CHECK(!NT_SUCCESS(status), "an id that nobody has");
}

static void check_links(void)
{
    static const WCHAR wanted[] = L"\\Device\\CBContract";
    WCHAR units[64];
    UNICODE_STRING name, target = {0, sizeof units, units}, small = {0, 4, units};
    OBJECT_ATTRIBUTES attributes;
    HANDLE link;
    ULONG size = 0;
    RtlInitUnicodeString(&name, L"\\DosDevices\\CBContract");
    InitializeObjectAttributes(&attributes, &name, OBJ_KERNEL_HANDLE | OBJ_CASE_INSENSITIVE, NULL, NULL);
    NTSTATUS status = ZwOpenSymbolicLinkObject(&link, GENERIC_READ, &attributes);
    CONTRACT_CHECK(NT_SUCCESS(status), "a link is opened");
    if (NT_SUCCESS(status)) {
        CONTRACT_CHECK(ZwQuerySymbolicLinkObject(link, &small, &size) == STATUS_BUFFER_TOO_SMALL, "no room");
        CONTRACT_CHECK(size >= sizeof wanted - sizeof wanted[0], "the size that is needed");
        status = ZwQuerySymbolicLinkObject(link, &target, NULL);
        CONTRACT_CHECK(NT_SUCCESS(status) && target.Length == sizeof wanted - sizeof wanted[0] &&
                           memcmp(units, wanted, target.Length) == 0,
                       "a link has a target");
        CONTRACT_CHECK(NT_SUCCESS(ZwClose(link)), "a link is closed");
    }
    RtlInitUnicodeString(&name, L"\\DosDevices\\CBContractNone");
    status = ZwOpenSymbolicLinkObject(&link, GENERIC_READ, &attributes);
    CONTRACT_CHECK(status == STATUS_OBJECT_NAME_NOT_FOUND, "a link that is not there");
}

typedef NTSTATUS(NTAPI *query_system)(ULONG information_class, PVOID buffer, ULONG size, PULONG needed);

/* The list of processes, whose entries have the next one's offset first and their ids at 0x50. */
static void check_list(void)
{
    query_system query = FIND(query_system, "ZwQuerySystemInformation");
    ULONG needed = 0, size = 1u << 20;
    bool is_there = false;
    if (!query)
        return;
    CONTRACT_CHECK(query(5, &size, 4, &needed) == STATUS_INFO_LENGTH_MISMATCH, "a list needs room");
    char *list = ExAllocatePoolWithTag(NonPagedPoolNx, size, TAG), *at = list;
    NTSTATUS status = list ? query(5, list, size, &needed) : STATUS_INSUFFICIENT_RESOURCES;
    CONTRACT_CHECK(NT_SUCCESS(status) && needed > 0 && needed <= size, "processes are listed");
    while (NT_SUCCESS(status) && at) {
        ULONG next = *(ULONG *) (void *) at;
        is_there |= *(HANDLE *) (void *) (at + 0x50) == PsGetCurrentProcessId();
        at = next != 0 ? at + next : NULL;
    }
    CONTRACT_CHECK(is_there, "the current one, too");
    if (list)
        ExFreePoolWithTag(list, TAG);
}

/* ---- Callbacks, tokens and names: Wine has only names for these ---- */

static VOID NTAPI on_process(PEPROCESS process, HANDLE id, PPS_CREATE_NOTIFY_INFO info)
{
    (void) process;
    (void) id;
    (void) info;
}

static VOID NTAPI on_thread(HANDLE process, HANDLE thread, BOOLEAN is_creation)
{
    (void) process;
    (void) thread;
    (void) is_creation;
}

static OB_PREOP_CALLBACK_STATUS NTAPI on_handle(PVOID context, POB_PRE_OPERATION_INFORMATION info)
{
    (void) context;
    (void) info;
    return OB_PREOP_SUCCESS;
}

static void check_object_callbacks(void)
{
    OB_OPERATION_REGISTRATION operation = {
        .ObjectType = CBPD_PROCESS_TYPE, .Operations = OB_OPERATION_HANDLE_CREATE, .PreOperation = on_handle};
    OB_CALLBACK_REGISTRATION callbacks = {.Version = OB_FLT_REGISTRATION_VERSION,
                                          .OperationRegistrationCount = 1,
                                          .OperationRegistration = &operation};
    PVOID first = NULL, second = NULL;
    RtlInitUnicodeString(&callbacks.Altitude, L"385299.25");
    NTSTATUS status = ObRegisterCallbacks(&callbacks, &first);
    CONTRACT_CHECK(NT_SUCCESS(status) && first, "object callbacks are registered");
    status = ObRegisterCallbacks(&callbacks, &second);
    CONTRACT_CHECK(status == STATUS_FLT_INSTANCE_ALTITUDE_COLLISION, "at an altitude of their own");
    ObUnRegisterCallbacks(first);
    status = ObRegisterCallbacks(&callbacks, &first);
    CONTRACT_CHECK(NT_SUCCESS(status), "which is free again afterwards");
    if (NT_SUCCESS(status))
        ObUnRegisterCallbacks(first);
}

static void check_callbacks(void)
{
    CONTRACT_CHECK(!NT_SUCCESS(PsSetCreateProcessNotifyRoutineEx(on_process, TRUE)), "nothing to remove");
    CONTRACT_CHECK(NT_SUCCESS(PsSetCreateProcessNotifyRoutineEx(on_process, FALSE)), "a process routine");
    CONTRACT_CHECK(PsSetCreateProcessNotifyRoutineEx(on_process, FALSE) == STATUS_INVALID_PARAMETER, "once");
    CONTRACT_CHECK(NT_SUCCESS(PsSetCreateProcessNotifyRoutineEx(on_process, TRUE)), "and removed");
    CONTRACT_CHECK(NT_SUCCESS(PsSetCreateThreadNotifyRoutine(on_thread)), "a thread routine");
    CONTRACT_CHECK(NT_SUCCESS(PsRemoveCreateThreadNotifyRoutine(on_thread)), "is removed");
    CONTRACT_CHECK(!NT_SUCCESS(PsRemoveCreateThreadNotifyRoutine(on_thread)), "once");
    check_object_callbacks();
}

static void check_facts(void)
{
    UNICODE_STRING *name = NULL;
    HANDLE handle = NULL;
    PEPROCESS process;
    if (!NT_SUCCESS(PsLookupProcessByProcessId(PsGetCurrentProcessId(), &process)))
        return; /* which check_processes() has seen */
    PACCESS_TOKEN token = PsReferencePrimaryToken(process);
    CONTRACT_CHECK(PsGetProcessCreateTimeQuadPart(process) > 0, "a process has begun at some time");
    CONTRACT_CHECK(PsGetProcessExitStatus(process) == STATUS_PENDING, "it runs: it has no exit status");
    CONTRACT_CHECK(token, "a process has a token");
    NTSTATUS status = ObOpenObjectByPointer(token, OBJ_KERNEL_HANDLE, NULL, TOKEN_QUERY, *CBPD_TOKEN_TYPE,
                                            KernelMode, &handle);
    CONTRACT_CHECK(NT_SUCCESS(status), "which is opened by its object");
    if (NT_SUCCESS(status))
        (void) ZwClose(handle);
    PsDereferencePrimaryToken(token);
    status = SeLocateProcessImageName(process, &name);
    CONTRACT_CHECK(NT_SUCCESS(status) && name, "a process has a name, maybe an empty one");
    if (NT_SUCCESS(status) && name)
        ExFreePoolWithTag(name, 0);
    ObDereferenceObject(process);
}

/* ---- All ---- */

static bool ends_with(PUNICODE_STRING path, const WCHAR end[4])
{
    ULONG size = 4 * sizeof end[0];
    return path && path->Length >= size &&
           memcmp((const char *) path->Buffer + path->Length - size, end, size) == 0;
}

DRIVER_INITIALIZE DriverEntry;

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING registry_path)
{
    has_names_alone = ends_with(registry_path, L"Wine");
    contract_is_wine = has_names_alone || ends_with(registry_path, L"Fire");
    contract_checks = contract_failures = absent_count = 0;
    NTSTATUS status = contract_device_create(driver);
    if (!NT_SUCCESS(status))
        return status;
    check_events();
    check_time();
    check_pool();
    check_locks();
    check_texts();
    check_security();
    check_processes();
    check_links();
    check_list();
    if (!has_names_alone) {
        check_callbacks();
        check_facts();
    }
    DbgPrint("contract: %u checks, %u failures, %u functions absent\n", (unsigned) contract_checks,
             (unsigned) contract_failures, (unsigned) absent_count);
    return STATUS_SUCCESS;
}
