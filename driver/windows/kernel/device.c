/* Makes the driver's one device, and passes its requests on. Only administrators and the system itself can open
 * it. A control code counts if it is equal to one of the protocol's as a whole: with its access, for which the
 * system has checked the handle, and its method, by which the system has copied the buffers. */
#include "kernel.h"

#define WIDE_(text) L##text
#define WIDE(text) WIDE_(text)

static PDEVICE_OBJECT device;

/* ---- Security ---- */

/* A security identifier as the system lays it out. */
struct sid {
    UCHAR revision, part_count;
    UCHAR authority[6];
    ULONG parts[2];
};

enum { NT_AUTHORITY = 5, ACE_SIZE_MAX = 8 + sizeof(struct sid) };

/* Lets nobody in but these. The lists' memory is the caller's, and the descriptor points to it. */
static NTSTATUS make_descriptor(SECURITY_DESCRIPTOR *descriptor, ACL *acl, ULONG acl_size)
{
    static const struct sid insiders[] = {
        {SID_REVISION, 1, {0, 0, 0, 0, 0, NT_AUTHORITY}, {SECURITY_LOCAL_SYSTEM_RID, 0}},
        {SID_REVISION,
         2,
         {0, 0, 0, 0, 0, NT_AUTHORITY},
         {SECURITY_BUILTIN_DOMAIN_RID, DOMAIN_ALIAS_RID_ADMINS}}};
    NTSTATUS status = RtlCreateSecurityDescriptor(descriptor, SECURITY_DESCRIPTOR_REVISION);
    if (NT_SUCCESS(status))
        status = RtlCreateAcl(acl, acl_size, ACL_REVISION);
    for (size_t i = 0; NT_SUCCESS(status) && i < sizeof insiders / sizeof insiders[0]; i++)
        status = RtlAddAccessAllowedAce(acl, ACL_REVISION, GENERIC_ALL, (PSID) (ULONG_PTR) &insiders[i]);
    if (NT_SUCCESS(status))
        status = RtlSetDaclSecurityDescriptor(descriptor, TRUE, acl, FALSE);
    return status;
}

/* The device cannot be opened yet: its initialization ends after DriverEntry(). */
static NTSTATUS protect(void)
{
    SECURITY_DESCRIPTOR descriptor;
    union {
        ACL acl;
        UCHAR bytes[sizeof(ACL) + 2 * ACE_SIZE_MAX];
    } list;
    HANDLE handle;
    NTSTATUS status = make_descriptor(&descriptor, &list.acl, sizeof list);
    if (!NT_SUCCESS(status))
        return status;
    status = ObOpenObjectByPointer(device, OBJ_KERNEL_HANDLE, NULL, WRITE_DAC, NULL, KernelMode, &handle);
    if (!NT_SUCCESS(status))
        return status;
    status = ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, &descriptor);
    (void) ZwClose(handle);
    return status;
}

/* ---- Requests of the system ---- */

static NTSTATUS complete(PIRP irp, NTSTATUS status, size_t size)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = size;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static NTSTATUS NTAPI create(PDEVICE_OBJECT to, PIRP irp)
{
    PFILE_OBJECT file = IoGetCurrentIrpStackLocation(irp)->FileObject;
    (void) to;
    if (file->FileName.Length != 0) /* there is nothing in the device to name */
        return complete(irp, STATUS_OBJECT_NAME_NOT_FOUND, 0);
    file->FsContext = cbpd_controller_create();
    return complete(irp, file->FsContext ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES, 0);
}

static NTSTATUS NTAPI cleanup(PDEVICE_OBJECT to, PIRP irp)
{
    struct cbpd_controller *controller = IoGetCurrentIrpStackLocation(irp)->FileObject->FsContext;
    (void) to;
    cbpd_sessions_close(controller);
    return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS NTAPI close(PDEVICE_OBJECT to, PIRP irp)
{
    PFILE_OBJECT file = IoGetCurrentIrpStackLocation(irp)->FileObject;
    (void) to;
    /* Wine sends no cleanup; elsewhere there is nothing left to close. */
    cbpd_sessions_close(file->FsContext);
    cbpd_controller_free(file->FsContext);
    file->FsContext = NULL;
    return complete(irp, STATUS_SUCCESS, 0);
}

static NTSTATUS NTAPI control(PDEVICE_OBJECT to, PIRP irp)
{
    PIO_STACK_LOCATION stack = IoGetCurrentIrpStackLocation(irp);
    struct cbpd_controller *controller = stack->FileObject ? stack->FileObject->FsContext : NULL;
    size_t reply_size = 0;
    (void) to;
    if (!controller) /* another driver has sent it without having opened the device */
        return complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case CBP_KERNEL_RECEIVE:
        return cbpd_deliveries_receive(controller, irp);
    case CBP_KERNEL_REQUEST: {
        NTSTATUS status = cbpd_requests_serve(
            controller, irp->AssociatedIrp.SystemBuffer, stack->Parameters.DeviceIoControl.InputBufferLength,
            stack->Parameters.DeviceIoControl.OutputBufferLength, &reply_size);
        return complete(irp, status, reply_size);
    }
    default:
        return complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
}

/* ---- The device ---- */

NTSTATUS cbpd_device_create(PDRIVER_OBJECT driver)
{
    UNICODE_STRING name, link;
    RtlInitUnicodeString(&name, WIDE(CBP_KERNEL_DEVICE_NAME));
    RtlInitUnicodeString(&link, WIDE(CBP_KERNEL_LINK_NAME));
    NTSTATUS status =
        IoCreateDevice(driver, 0, &name, CBP_KERNEL_DEVICE_TYPE, FILE_DEVICE_SECURE_OPEN, FALSE, &device);
    if (!NT_SUCCESS(status))
        return status;
    driver->MajorFunction[IRP_MJ_CREATE] = create;
    driver->MajorFunction[IRP_MJ_CLEANUP] = cleanup;
    driver->MajorFunction[IRP_MJ_CLOSE] = close;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = control;
    status = protect();
    if (NT_SUCCESS(status))
        status = IoCreateSymbolicLink(&link, &name);
    if (!NT_SUCCESS(status))
        IoDeleteDevice(device);
    return status;
}

void cbpd_device_delete(void)
{
    UNICODE_STRING link;
    RtlInitUnicodeString(&link, WIDE(CBP_KERNEL_LINK_NAME));
    (void) IoDeleteSymbolicLink(&link);
    IoDeleteDevice(device);
}
