/* Tests the shim itself with drivers that each break one documented rule of requests, callbacks or unloading. */
#include "shim.h"
#include "test.h"

enum { CODE = 0x8000 << 16 | 0x801 << 2, TAG = 0x31676154 };

static PDEVICE_OBJECT device;
static PIRP kept;
static KSPIN_LOCK lock;
static FAST_MUTEX mutex;
static PVOID registration;

static NTSTATUS complete(PIRP irp, NTSTATUS status, ULONG_PTR size)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = size;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS succeed(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    return complete(irp, STATUS_SUCCESS, 0);
}

static void unload(PDRIVER_OBJECT driver)
{
    (void) driver;
    IoDeleteDevice(device);
}

static DRIVER_DISPATCH *bad_control;
static DRIVER_UNLOAD *bad_unload;
static void (*bad_start)(void);

static NTSTATUS enter(PDRIVER_OBJECT driver, PUNICODE_STRING registry_path)
{
    UNICODE_STRING name;
    (void) registry_path;
    RtlInitUnicodeString(&name, L"\\Device\\Bad");
    CHECK_EQ(IoCreateDevice(driver, 0, &name, 0x8000, FILE_DEVICE_SECURE_OPEN, FALSE, &device), 0);
    driver->MajorFunction[IRP_MJ_CREATE] = driver->MajorFunction[IRP_MJ_CLOSE] = succeed;
    driver->MajorFunction[IRP_MJ_CLEANUP] = succeed;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = bad_control ? bad_control : succeed;
    driver->DriverUnload = bad_unload ? bad_unload : unload;
    if (bad_start)
        bad_start();
    return STATUS_SUCCESS;
}

static struct shim_file *file;

static void load(void)
{
    shim_processes_init();
    shim_process_add(&(struct shim_process_plan){1000, 4, L"\\a.exe", SHIM_ADMINISTRATOR});
    shim_thread_add(1000, 1004);
    shim_become(1000, 1004);
    CHECK_EQ(shim_load(enter), STATUS_SUCCESS);
    CHECK_EQ(shim_open(L"\\Device\\Bad", NULL, 3, &file), STATUS_SUCCESS);
}

static void use_control(void)
{
    load();
    struct shim_call *call = shim_call_start(file, CODE, "abcd", 4, 4);
    shim_call_free(call);
    shim_close(file);
    shim_unload();
}

static void use_unload(void)
{
    load();
    shim_close(file);
    shim_unload();
}

/* ---- Requests ---- */

static NTSTATUS complete_twice(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    complete(irp, STATUS_SUCCESS, 0);
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return STATUS_SUCCESS;
}

static void cancel_badly(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    (void) irp;
}

static NTSTATUS complete_with_cancel_routine(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    IoSetCancelRoutine(irp, cancel_badly);
    return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS complete_as_pending(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    return complete(irp, STATUS_PENDING, 0);
}

static NTSTATUS give_too_much(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    return complete(irp, STATUS_SUCCESS, 5);
}

static NTSTATUS complete_with_lock(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    KIRQL irql = KeAcquireSpinLockRaiseToDpc(&lock);
    complete(irp, STATUS_SUCCESS, 0);
    KeReleaseSpinLock(&lock, irql);
    return STATUS_SUCCESS;
}

static NTSTATUS pend_unmarked(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    kept = irp;
    return STATUS_PENDING;
}

static NTSTATUS mark_and_succeed(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    IoMarkIrpPending(irp);
    return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS forget(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    kept = irp;
    return STATUS_SUCCESS;
}

static NTSTATUS say_otherwise(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    complete(irp, STATUS_SUCCESS, 0);
    return STATUS_INVALID_PARAMETER;
}

static NTSTATUS keep_lock(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    KeAcquireSpinLockRaiseToDpc(&lock);
    irp->IoStatus.Status = STATUS_SUCCESS;
    return STATUS_SUCCESS;
}

static NTSTATUS keep_mutex(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    ExInitializeFastMutex(&mutex);
    ExAcquireFastMutex(&mutex);
    return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS keep_region(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    KeEnterCriticalRegion();
    return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS pend_with_bad_cancel(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    IoMarkIrpPending(irp);
    IoSetCancelRoutine(irp, cancel_badly);
    return STATUS_PENDING;
}

#define BREAKS_BY_CONTROL(function, rule)                                                                    \
    static void function##_case(void)                                                                        \
    {                                                                                                        \
        bad_control = function;                                                                              \
        use_control();                                                                                       \
    }                                                                                                        \
    TEST(function##_is_found)                                                                                \
    {                                                                                                        \
        test_breaks(rule, function##_case);                                                                  \
    }

BREAKS_BY_CONTROL(complete_twice, "double-completion")
BREAKS_BY_CONTROL(complete_with_cancel_routine, "cancel-routine")
BREAKS_BY_CONTROL(complete_as_pending, "completion-status")
BREAKS_BY_CONTROL(give_too_much, "information")
BREAKS_BY_CONTROL(complete_with_lock, "completion-lock")
BREAKS_BY_CONTROL(pend_unmarked, "pending")
BREAKS_BY_CONTROL(mark_and_succeed, "pending")
BREAKS_BY_CONTROL(forget, "request-lost")
BREAKS_BY_CONTROL(say_otherwise, "status")
BREAKS_BY_CONTROL(keep_lock, "lock-kept")
BREAKS_BY_CONTROL(keep_mutex, "lock-kept")
BREAKS_BY_CONTROL(keep_region, "critical-region")
BREAKS_BY_CONTROL(pend_with_bad_cancel, "cancel-lock")

/* ---- Unloading ---- */

static void leave_pool(PDRIVER_OBJECT driver)
{
    unload(driver);
    ExAllocatePoolWithTag(NonPagedPoolNx, 8, TAG);
}

static void leave_device(PDRIVER_OBJECT driver)
{
    (void) driver;
}

static void leave_link(PDRIVER_OBJECT driver)
{
    UNICODE_STRING name, link;
    RtlInitUnicodeString(&name, L"\\Device\\Bad");
    RtlInitUnicodeString(&link, L"\\DosDevices\\Bad");
    CHECK_EQ(IoCreateSymbolicLink(&link, &name), 0);
    unload(driver);
}

static void leave_reference(PDRIVER_OBJECT driver)
{
    PEPROCESS process;
    unload(driver);
    CHECK_EQ(PsLookupProcessByProcessId((HANDLE) 1000, &process), 0);
}

static void leave_handle(PDRIVER_OBJECT driver)
{
    PEPROCESS process = shim_process_object(1000);
    HANDLE handle;
    unload(driver);
    CHECK_EQ(ObOpenObjectByPointer(process, OBJ_KERNEL_HANDLE, NULL, 0, NULL, KernelMode, &handle), 0);
}

static void on_thread(HANDLE pid, HANDLE tid, BOOLEAN is_creation)
{
    (void) pid;
    (void) tid;
    (void) is_creation;
}

static void leave_callback(PDRIVER_OBJECT driver)
{
    unload(driver);
    CHECK_EQ(PsSetCreateThreadNotifyRoutine(on_thread), 0);
}

#define BREAKS_BY_UNLOAD(function, rule)                                                                     \
    static void function##_case(void)                                                                        \
    {                                                                                                        \
        bad_unload = function;                                                                               \
        use_unload();                                                                                        \
    }                                                                                                        \
    TEST(function##_is_found)                                                                                \
    {                                                                                                        \
        test_breaks(rule, function##_case);                                                                  \
    }

BREAKS_BY_UNLOAD(leave_pool, "pool-leak")
BREAKS_BY_UNLOAD(leave_device, "device-leak")
BREAKS_BY_UNLOAD(leave_link, "link-leak")
BREAKS_BY_UNLOAD(leave_reference, "reference-leak")
BREAKS_BY_UNLOAD(leave_handle, "handle-leak")
BREAKS_BY_UNLOAD(leave_callback, "callback-leak")

/* ---- Callbacks ---- */

static NTSTATUS bad_status;
static void refuse_badly(PEPROCESS process, HANDLE id, PPS_CREATE_NOTIFY_INFO info)
{
    (void) process;
    (void) id;
    if (info)
        info->CreationStatus = bad_status;
}

static void remove_itself(PEPROCESS process, HANDLE id, PPS_CREATE_NOTIFY_INFO info)
{
    (void) process;
    (void) id;
    (void) info;
    PsSetCreateProcessNotifyRoutineEx(remove_itself, TRUE);
}

static PCREATE_PROCESS_NOTIFY_ROUTINE_EX process_routine;
static void start_processes(void)
{
    CHECK_EQ(PsSetCreateProcessNotifyRoutineEx(process_routine, FALSE), 0);
}

static void create_process(PCREATE_PROCESS_NOTIFY_ROUTINE_EX routine)
{
    struct shim_creation creation = {.process = {5000, 1000, L"\\b.exe", SHIM_USER}};
    process_routine = routine;
    bad_start = start_processes;
    load();
    shim_create_process(&creation);
}

static void refuse_with_success(void)
{
    bad_status = 0x00070005; /* a code without the bits of a failure */
    create_process(refuse_badly);
}

static void remove_in_callback(void)
{
    create_process(remove_itself);
}

TEST(broken_rules_of_process_routines_are_found)
{
    test_breaks("creation-status", refuse_with_success);
    test_breaks("deadlock", remove_in_callback);
}

static ACCESS_MASK left;
static OB_PREOP_CALLBACK_STATUS change_access(PVOID context, POB_PRE_OPERATION_INFORMATION info)
{
    (void) context;
    info->Parameters->CreateHandleInformation.DesiredAccess = left;
    return OB_PREOP_SUCCESS;
}

static void start_handles(void)
{
    OB_OPERATION_REGISTRATION operation = {PsProcessType, OB_OPERATION_HANDLE_CREATE, change_access, NULL};
    OB_CALLBACK_REGISTRATION callbacks = {.Version = OB_FLT_REGISTRATION_VERSION,
                                          .OperationRegistrationCount = 1,
                                          .OperationRegistration = &operation};
    RtlInitUnicodeString(&callbacks.Altitude, L"1");
    CHECK_EQ(ObRegisterCallbacks(&callbacks, &registration), 0);
}

static void open_process(ACCESS_MASK access, ACCESS_MASK is_left, bool is_kernel)
{
    struct shim_opening opening = {.id = 1000, .access = access, .is_kernel = is_kernel};
    left = is_left;
    bad_start = start_handles;
    load();
    shim_open_object(&opening);
}

static void add_access(void)
{
    open_process(1, 3, false);
}

static void take_undocumented_access(void)
{
    open_process(0x1001, 1, false);
}

static void take_from_kernel(void)
{
    open_process(1, 0, true);
}

TEST(broken_rules_of_object_callbacks_are_found)
{
    test_breaks("access-added", add_access);
    test_breaks("access-taken", take_undocumented_access);
    test_breaks("kernel-handle", take_from_kernel);
}

static void open_insecurely(void)
{
    UNICODE_STRING name;
    DRIVER_OBJECT driver = {0};
    RtlInitUnicodeString(&name, L"\\Device\\Bad");
    IoCreateDevice(&driver, 0, &name, 0x8000, 0, FALSE, &device);
}

TEST(a_device_that_opens_insecurely_is_found)
{
    test_breaks("secure-open", open_insecurely);
}
