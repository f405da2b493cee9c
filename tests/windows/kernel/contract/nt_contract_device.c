/* Is the device of the contract test's driver, to which nt_calls.c speaks: echoes, pends, cancels and counts. */
#include "nt_contract_driver.h"

enum { MARK = 0xab, ANSWER_SIZE = 4 };

#define WIDE_(text) L##text
#define WIDE(text) WIDE_(text)

static PDEVICE_OBJECT device;
static KSPIN_LOCK lock;
static LIST_ENTRY pended;
static struct contract_counts counts;

static NTSTATUS complete(PIRP irp, NTSTATUS status, ULONG_PTR size)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = size;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS complete_marked(PIRP irp, NTSTATUS status)
{
    memset(irp->AssociatedIrp.SystemBuffer, MARK, ANSWER_SIZE);
    return complete(irp, status, ANSWER_SIZE);
}

/* ---- Pended requests ---- */

static DRIVER_CANCEL cancel;

static VOID NTAPI cancel(PDEVICE_OBJECT from, PIRP irp)
{
    KIRQL irql;
    (void) from;
    counts.bad_levels += irp->CancelIrql > APC_LEVEL;
    IoReleaseCancelSpinLock(irp->CancelIrql);
    irql = KeAcquireSpinLockRaiseToDpc(&lock);
    RemoveEntryList(&irp->Tail.Overlay.ListEntry);
    counts.cancels++;
    KeReleaseSpinLock(&lock, irql);
    complete(irp, STATUS_CANCELLED, 0);
}

static NTSTATUS pend(PIRP irp)
{
    KIRQL irql = KeAcquireSpinLockRaiseToDpc(&lock);
    IoMarkIrpPending(irp);
    InsertTailList(&pended, &irp->Tail.Overlay.ListEntry);
    (void) IoSetCancelRoutine(irp, cancel);
    if (irp->Cancel && IoSetCancelRoutine(irp, NULL)) {
        RemoveEntryList(&irp->Tail.Overlay.ListEntry);
        KeReleaseSpinLock(&lock, irql);
        complete(irp, STATUS_CANCELLED, 0);
        return STATUS_PENDING;
    }
    KeReleaseSpinLock(&lock, irql);
    return STATUS_PENDING;
}

/* Gives the oldest pended request of the file, or of any (NULL). */
static PIRP take(PFILE_OBJECT file)
{
    PIRP found = NULL;
    KIRQL irql = KeAcquireSpinLockRaiseToDpc(&lock);
    for (LIST_ENTRY *entry = pended.Flink; entry != &pended && !found; entry = entry->Flink) {
        PIRP irp = CONTAINING_RECORD(entry, IRP, Tail.Overlay.ListEntry);
        if ((!file || IoGetCurrentIrpStackLocation(irp)->FileObject == file) && IoSetCancelRoutine(irp, NULL))
            found = irp;
    }
    if (found)
        RemoveEntryList(&found->Tail.Overlay.ListEntry);
    KeReleaseSpinLock(&lock, irql);
    return found;
}

static NTSTATUS release(PIRP irp)
{
    PIRP oldest = take(NULL);
    if (!oldest)
        return complete(irp, STATUS_NOT_FOUND, 0);
    complete_marked(oldest, STATUS_SUCCESS);
    return complete(irp, STATUS_SUCCESS, 0);
}

/* ---- Requests ---- */

static NTSTATUS echo(PIRP irp, ULONG input_size, ULONG room)
{
    PETHREAD thread = irp->Tail.Overlay.Thread;
    counts.bad_threads += !thread || PsGetThreadId(thread) != PsGetCurrentThreadId() ||
                          PsGetThreadProcessId(thread) != PsGetCurrentProcessId();
    counts.null_buffers += input_size == 0 && room == 0 && !irp->AssociatedIrp.SystemBuffer;
    return complete(irp, STATUS_SUCCESS, input_size < room ? input_size : room);
}

/* Gives the name of a failure, cut to what the caller has room for. */
static NTSTATUS name(PIRP irp, ULONG input_size, ULONG room)
{
    ULONG number, size = 0;
    char *buffer = irp->AssociatedIrp.SystemBuffer;
    if (input_size != sizeof number || room == 0)
        return complete(irp, STATUS_INVALID_PARAMETER, 0);
    memcpy(&number, buffer, sizeof number);
    const char *text = number < CONTRACT_NAMES ? contract_names[number] : NULL;
    for (; text && size < room && text[size] != 0; size++)
        buffer[size] = text[size];
    return complete(irp, STATUS_SUCCESS, size);
}

static NTSTATUS NTAPI control(PDEVICE_OBJECT to, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    ULONG room = stack->Parameters.DeviceIoControl.OutputBufferLength;
    (void) to;
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case CONTRACT_ECHO:
    case CONTRACT_BOTH:
        return echo(irp, stack->Parameters.DeviceIoControl.InputBufferLength, room);
    case CONTRACT_NAME:
        return name(irp, stack->Parameters.DeviceIoControl.InputBufferLength, room);
    case CONTRACT_PEND:
        return pend(irp);
    case CONTRACT_RELEASE:
        return release(irp);
    case CONTRACT_WARN:
        return complete_marked(irp, STATUS_BUFFER_OVERFLOW);
    case CONTRACT_FAIL:
        return complete_marked(irp, STATUS_INVALID_PARAMETER);
    case CONTRACT_COUNT:
        counts.checks = contract_checks;
        counts.failures = contract_failures;
        counts.is_wine = contract_is_wine;
        if (room < sizeof counts)
            return complete(irp, STATUS_BUFFER_TOO_SMALL, 0);
        memcpy(irp->AssociatedIrp.SystemBuffer, &counts, sizeof counts);
        return complete(irp, STATUS_SUCCESS, sizeof counts);
    default:
        return complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
}

static NTSTATUS NTAPI create(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    counts.creates++;
    return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS NTAPI cleanup(PDEVICE_OBJECT to, PIRP irp)
{
    PFILE_OBJECT file = IoGetCurrentIrpStackLocation(irp)->FileObject;
    PIRP one;
    (void) to;
    counts.cleanups++;
    while ((one = take(file)) != NULL)
        complete(one, STATUS_CANCELLED, 0);
    return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS NTAPI close(PDEVICE_OBJECT to, PIRP irp)
{
    (void) to;
    counts.closes++;
    return complete(irp, STATUS_SUCCESS, 0);
}

/* ---- The device ---- */

static VOID NTAPI unload(PDRIVER_OBJECT driver)
{
    UNICODE_STRING link;
    (void) driver;
    RtlInitUnicodeString(&link, WIDE(CONTRACT_LINK));
    (void) IoDeleteSymbolicLink(&link);
    IoDeleteDevice(device);
}

/* Lets in SYSTEM, administrators and everybody else: the test's own program. */
static void check_security(void)
{
    static const UCHAR everybody[] = {1, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0};
    SECURITY_DESCRIPTOR descriptor;
    ULONG list[8];
    HANDLE handle;
    (void) RtlCreateAcl((PACL) list, sizeof list, ACL_REVISION);
    (void) RtlAddAccessAllowedAce((PACL) list, ACL_REVISION, GENERIC_ALL, (PSID) (ULONG_PTR) everybody);
    (void) RtlCreateSecurityDescriptor(&descriptor, SECURITY_DESCRIPTOR_REVISION);
    (void) RtlSetDaclSecurityDescriptor(&descriptor, TRUE, (PACL) list, FALSE);
    NTSTATUS status =
        ObOpenObjectByPointer(device, OBJ_KERNEL_HANDLE, NULL, WRITE_DAC, NULL, KernelMode, &handle);
    CONTRACT_CHECK(NT_SUCCESS(status), "a device is opened by its object, before its initialization ends");
    if (!NT_SUCCESS(status))
        return;
    status = ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, &descriptor);
    CONTRACT_CHECK(NT_SUCCESS(status), "a device gets a list of who may open it");
    CONTRACT_CHECK(NT_SUCCESS(ZwClose(handle)), "and is closed");
}

/* Names are taken once, and free again when what has them is deleted. */
static void check_names(PDRIVER_OBJECT driver, UNICODE_STRING *name, UNICODE_STRING *link)
{
    UNICODE_STRING unknown;
    PDEVICE_OBJECT second = NULL;
    NTSTATUS status = IoCreateDevice(driver, 0, name, 0x8c0c, FILE_DEVICE_SECURE_OPEN, FALSE, &second);
    CONTRACT_CHECK(status == STATUS_OBJECT_NAME_COLLISION, "a device's name is taken once");
    if (!contract_is_wine) /* which makes a link in the place of an earlier one */
        CONTRACT_CHECK(IoCreateSymbolicLink(link, name) == STATUS_OBJECT_NAME_COLLISION, "a link's, too");
    RtlInitUnicodeString(&unknown, L"\\DosDevices\\CBContractNone");
    CONTRACT_CHECK(!NT_SUCCESS(IoDeleteSymbolicLink(&unknown)), "a link that is not there is not deleted");
    CONTRACT_CHECK(NT_SUCCESS(IoCreateSymbolicLink(&unknown, name)), "a second link is made");
    CONTRACT_CHECK(NT_SUCCESS(IoDeleteSymbolicLink(&unknown)), "and deleted");
}

NTSTATUS contract_device_create(PDRIVER_OBJECT driver)
{
    UNICODE_STRING name, link;
    RtlInitUnicodeString(&name, WIDE(CONTRACT_DEVICE));
    RtlInitUnicodeString(&link, WIDE(CONTRACT_LINK));
    InitializeListHead(&pended);
    NTSTATUS status = IoCreateDevice(driver, 0, &name, 0x8c0c, FILE_DEVICE_SECURE_OPEN, FALSE, &device);
    if (!NT_SUCCESS(status))
        return status;
    CONTRACT_CHECK(driver->DeviceObject == device, "a driver has its devices");
    if (!contract_is_wine) /* which has no such state */
        CONTRACT_CHECK((device->Flags & DO_DEVICE_INITIALIZING) != 0, "a device cannot be opened at once");
    driver->MajorFunction[IRP_MJ_CREATE] = create;
    driver->MajorFunction[IRP_MJ_CLEANUP] = cleanup;
    driver->MajorFunction[IRP_MJ_CLOSE] = close;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = control;
    driver->DriverUnload = unload;
    check_security();
    status = IoCreateSymbolicLink(&link, &name);
    if (NT_SUCCESS(status))
        check_names(driver, &name, &link);
    else
        IoDeleteDevice(device);
    return status;
}
