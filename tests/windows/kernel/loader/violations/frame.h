/* Is the innocent part of each test driver: a device, a link, callbacks for processes and handles, an unload
 * routine. A file of this folder adds one violation at one of the four moments below, after it has said which
 * with AT_CONTROL, AT_PROCESS, AT_HANDLE or AT_UNLOAD. Without any (clean.c) no rule is broken. */
#include <ntifs.h>

#define TAG 0x74736554 /* "Test" */
/* at_control() has not left the request to the frame, which returns success or STATUS_PENDING. */
#define KEPT ((NTSTATUS) -1)
#define KEPT_PENDING ((NTSTATUS) -2)

extern POBJECT_TYPE *__imp_PsProcessType; /* mingw-w64's own declaration has one indirection too many */

static PDEVICE_OBJECT the_device;
static PVOID the_registration;
static UNICODE_STRING device_name = RTL_CONSTANT_STRING(L"\\Device\\Violation");
static UNICODE_STRING link_name = RTL_CONSTANT_STRING(L"\\DosDevices\\Violation");

/* Two threads send a control request each, with turn 0 and 1, at the same time. Gives the status with which
 * the frame completes the request, or KEPT. */
static NTSTATUS at_control(PIRP irp, int turn);
static void at_process(PEPROCESS process, PPS_CREATE_NOTIFY_INFO info); /* info NULL: its end */
static void at_handle(POB_PRE_OPERATION_INFORMATION information);
static BOOLEAN at_unload(void); /* FALSE: the frame does not clean up */

static VOID NTAPI on_process(PEPROCESS process, HANDLE pid, PPS_CREATE_NOTIFY_INFO info)
{
    (void) pid;
    at_process(process, info);
}

static OB_PREOP_CALLBACK_STATUS NTAPI on_handle(PVOID context, POB_PRE_OPERATION_INFORMATION information)
{
    (void) context;
    at_handle(information);
    return OB_PREOP_SUCCESS;
}

static NTSTATUS complete(PIRP irp, NTSTATUS status, ULONG_PTR information)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = information;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS NTAPI on_request(PDEVICE_OBJECT device, PIRP irp)
{
    (void) device;
    if (IoGetCurrentIrpStackLocation(irp)->MajorFunction != IRP_MJ_DEVICE_CONTROL)
        return complete(irp, STATUS_SUCCESS, 0);
    NTSTATUS status = at_control(irp, *(const UCHAR *) irp->AssociatedIrp.SystemBuffer);
    if (status == KEPT_PENDING)
        return STATUS_PENDING;
    return status == KEPT ? STATUS_SUCCESS : complete(irp, status, 0);
}

static VOID NTAPI on_unload(PDRIVER_OBJECT driver)
{
    (void) driver;
    if (!at_unload())
        return;
    PsSetCreateProcessNotifyRoutineEx(on_process, TRUE);
    ObUnRegisterCallbacks(the_registration);
    IoDeleteSymbolicLink(&link_name);
    IoDeleteDevice(the_device);
}

static NTSTATUS watch_handles(void)
{
    OB_OPERATION_REGISTRATION operation = {
        __imp_PsProcessType, OB_OPERATION_HANDLE_CREATE | OB_OPERATION_HANDLE_DUPLICATE, on_handle, NULL};
    OB_CALLBACK_REGISTRATION registration = {OB_FLT_REGISTRATION_VERSION, 1, RTL_CONSTANT_STRING(L"385201"),
                                             NULL, &operation};
    return ObRegisterCallbacks(&registration, &the_registration);
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path)
{
    (void) path;
    NTSTATUS status = IoCreateDevice(driver, 0, &device_name, 0x8000, 0, FALSE, &the_device);
    for (int i = 0; i <= IRP_MJ_MAXIMUM_FUNCTION; i++)
        driver->MajorFunction[i] = on_request;
    driver->DriverUnload = on_unload;
    if (NT_SUCCESS(status))
        status = IoCreateSymbolicLink(&link_name, &device_name);
    if (NT_SUCCESS(status))
        status = PsSetCreateProcessNotifyRoutineEx(on_process, FALSE);
    if (NT_SUCCESS(status))
        status = watch_handles();
    return status;
}

#ifndef AT_CONTROL
static NTSTATUS at_control(PIRP irp, int turn)
{
    (void) irp, (void) turn;
    return STATUS_SUCCESS;
}
#endif
#ifndef AT_PROCESS
static void at_process(PEPROCESS process, PPS_CREATE_NOTIFY_INFO info)
{
    (void) process, (void) info;
}
#endif
#ifndef AT_HANDLE
static void at_handle(POB_PRE_OPERATION_INFORMATION information)
{
    (void) information;
}
#endif
#ifndef AT_UNLOAD
static BOOLEAN at_unload(void)
{
    return TRUE;
}
#endif
