/* Tests the shim itself: each documented rule, broken on purpose, is found. */
#include "shim.h"
#include "test.h"

static KEVENT event;
static FAST_MUTEX mutex;
static KSPIN_LOCK lock;

static void wait_under_spin_lock(void)
{
    LARGE_INTEGER timeout = {.QuadPart = -10000};
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    KeAcquireSpinLockRaiseToDpc(&lock);
    KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &timeout);
}

static void wait_without_bound(void)
{
    shim_wait_max_ms = 250;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, NULL);
}

static void wait_with_mutex(void)
{
    LARGE_INTEGER timeout = {.QuadPart = -10000};
    shim_wait_max_ms = 250;
    ExInitializeFastMutex(&mutex);
    ExAcquireFastMutex(&mutex);
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &timeout);
}

static void wait_as_user(void)
{
    LARGE_INTEGER timeout = {.QuadPart = -10000};
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    KeWaitForSingleObject(&event, Executive, UserMode, FALSE, &timeout);
}

static void set_raw_event(void)
{
    KEVENT raw = {0};
    KeSetEvent(&raw, 0, FALSE);
}

static void mutex_at_dispatch(void)
{
    ExInitializeFastMutex(&mutex);
    KeAcquireSpinLockRaiseToDpc(&lock);
    ExAcquireFastMutex(&mutex);
}

static void mutex_twice(void)
{
    ExInitializeFastMutex(&mutex);
    ExAcquireFastMutex(&mutex);
    ExAcquireFastMutex(&mutex);
}

static void mutex_of_another(void)
{
    ExInitializeFastMutex(&mutex);
    ExReleaseFastMutex(&mutex);
}

static void spin_lock_twice(void)
{
    KeAcquireSpinLockRaiseToDpc(&lock);
    KeAcquireSpinLockRaiseToDpc(&lock);
}

static void spin_lock_of_another(void)
{
    KSPIN_LOCK other = 0;
    KIRQL irql = KeAcquireSpinLockRaiseToDpc(&lock);
    KeReleaseSpinLock(&other, irql);
}

static void spin_lock_to_wrong_irql(void)
{
    KeAcquireSpinLockRaiseToDpc(&lock);
    KeReleaseSpinLock(&lock, APC_LEVEL);
}

static void leave_no_region(void)
{
    KeLeaveCriticalRegion();
}

static void free_twice(void)
{
    void *memory = ExAllocatePoolWithTag(NonPagedPoolNx, 8, 1);
    ExFreePoolWithTag(memory, 1);
    ExFreePoolWithTag(memory, 1);
}

static void free_with_wrong_tag(void)
{
    ExFreePoolWithTag(ExAllocatePoolWithTag(NonPagedPoolNx, 8, 1), 2);
}

static void executable_pool(void)
{
    ExAllocatePoolWithTag(NonPagedPool, 8, 1);
}

static void pool_of_two_kinds(void)
{
    ExAllocatePool2(POOL_FLAG_PAGED | POOL_FLAG_NON_PAGED, 8, 1);
}

static void paged_pool_at_dispatch(void)
{
    KeAcquireSpinLockRaiseToDpc(&lock);
    ExAllocatePoolWithTag(PagedPool, 8, 1);
}

static void rundown_too_often(void)
{
    EX_RUNDOWN_REF rundown;
    ExInitializeRundownProtection(&rundown);
    ExReleaseRundownProtection(&rundown);
}

static void dereference_too_often(void)
{
    PEPROCESS process;
    shim_processes_init();
    PsLookupProcessByProcessId((HANDLE) 4, &process);
    ObDereferenceObject(process);
    ObDereferenceObject(process);
}

static void close_no_handle(void)
{
    ZwClose((HANDLE) 0x44);
}

static void system_call_under_mutex(void)
{
    ULONG size;
    ExInitializeFastMutex(&mutex);
    ExAcquireFastMutex(&mutex);
    ZwQuerySystemInformation(SystemProcessInformation, NULL, 0, &size);
}

TEST(each_broken_rule_of_locks_waits_and_objects_is_found)
{
    test_breaks("irql", wait_under_spin_lock);
    test_breaks("unbounded-wait", wait_without_bound);
    test_breaks("wait-with-lock", wait_with_mutex);
    test_breaks("wait-mode", wait_as_user);
    test_breaks("bad-object", set_raw_event);
    test_breaks("irql", mutex_at_dispatch);
    test_breaks("mutex-twice", mutex_twice);
    test_breaks("lock-owner", mutex_of_another);
    test_breaks("spin-lock-twice", spin_lock_twice);
    test_breaks("lock-owner", spin_lock_of_another);
    test_breaks("spin-lock-irql", spin_lock_to_wrong_irql);
    test_breaks("critical-region", leave_no_region);
    test_breaks("pool-free", free_twice);
    test_breaks("pool-tag", free_with_wrong_tag);
    test_breaks("pool-executable", executable_pool);
    test_breaks("pool-kind", pool_of_two_kinds);
    test_breaks("irql", paged_pool_at_dispatch);
    test_breaks("rundown", rundown_too_often);
    test_breaks("reference", dereference_too_often);
    test_breaks("handle", close_no_handle);
    test_breaks("irql", system_call_under_mutex);
}
