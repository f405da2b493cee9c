/* cbpfire.sys: a test-only driver for Wine. Wine runs real drivers, starts them through the service manager and
 * serves their devices, but nothing there calls the routines that a driver registers for processes, threads and
 * handles. This driver is loaded first, into the same winedevice.exe (the services have one load-order group). It
 * gives ntoskrnl.exe registering functions that keep the routines, and calls these when a program asks for it:
 * world.dll does, in each program of the tests, for what the program really does. */
#include "fire.h"

#include <string.h>

struct job {
    IRP *irp;
    struct fire_operation *operation;
};

static void *lock;
static DEVICE_OBJECT *device;
static UNICODE_STRING device_name = RTL_CONSTANT_STRING(L"\\Device\\CbpFire");
static UNICODE_STRING link_name = RTL_CONSTANT_STRING(L"\\DosDevices\\CbpFire");
static uint32_t violations;
static char first_violation[128];

void fire_lock(void)
{
    AcquireSRWLockExclusive(&lock);
}

void fire_unlock(void)
{
    ReleaseSRWLockExclusive(&lock);
}

void *fire_allocate(SIZE_T size)
{
    void *memory = VirtualAlloc(NULL, size, 0x3000, 4);
    if (!memory)
        TerminateProcess(GetCurrentProcess(), 1);
    return memory;
}

void fire_free(void *memory)
{
    VirtualFree(memory, 0, 0x8000);
}

void fire_violation(const char *rule)
{
    fire_lock();
    if (violations++ == 0)
        strncpy(first_violation, rule, sizeof first_violation - 1);
    fire_unlock();
}

/* ---- Requests ---- */

static NTSTATUS complete(IRP *irp, NTSTATUS status, uint32_t size)
{
    irp->IoStatus.Status = status;
    irp->IoStatus.Information = size;
    IoCompleteRequest(irp, IO_NO_INCREMENT);
    return status;
}

static uint32_t NTAPI operate(void *context)
{
    struct job *job = context;
    struct fire_outcome *outcome = job->irp->AssociatedIrp.SystemBuffer;
    fire_operate(job->operation, outcome);
    (void) complete(job->irp, STATUS_SUCCESS, sizeof *outcome);
    fire_free(job->operation);
    fire_free(job);
    return 0;
}

/* Wine has one thread for the requests of all drivers in a winedevice.exe: callbacks wait in another. */
static NTSTATUS begin_operation(IRP *irp, const struct fire_operation *wanted, uint32_t size)
{
    if (!fire_operation_is_valid(wanted, size))
        return complete(irp, STATUS_INVALID_PARAMETER, 0);
    struct job *job = fire_allocate(sizeof *job);
    *job = (struct job){irp, fire_allocate(size)};
    memcpy(job->operation, wanted, size);
    if (job->operation->originator_pid == 0) {
        job->operation->originator_pid = fire_current_pid();
        job->operation->originator_tid = fire_current_tid();
    }
    IoMarkIrpPending(irp);
    CloseHandle(CreateThread(NULL, 0, operate, job, 0, NULL));
    return STATUS_PENDING;
}

static NTSTATUS tell_state(IRP *irp, uint32_t room)
{
    struct fire_state *state = irp->AssociatedIrp.SystemBuffer;
    if (room < sizeof *state)
        return complete(irp, STATUS_BUFFER_TOO_SMALL, 0);
    memset(state, 0, sizeof *state);
    fire_objects_describe(state);
    fire_registrations_describe(state);
    fire_stand_ins_describe(state);
    fire_lock();
    state->violations = violations;
    memcpy(state->violation, first_violation, sizeof first_violation);
    fire_unlock();
    return complete(irp, STATUS_SUCCESS, sizeof *state);
}

static NTSTATUS NTAPI control(DEVICE_OBJECT *ours, IRP *irp)
{
    const IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(irp);
    uint32_t size = stack->Parameters.DeviceIoControl.InputBufferLength;
    uint32_t room = stack->Parameters.DeviceIoControl.OutputBufferLength;
    void *buffer = irp->AssociatedIrp.SystemBuffer;
    (void) ours;
    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case FIRE_OPERATION:
        if (room < sizeof(struct fire_outcome))
            return complete(irp, STATUS_BUFFER_TOO_SMALL, 0);
        return begin_operation(irp, buffer, size);
    case FIRE_STATE:
        return tell_state(irp, room);
    case FIRE_TAKE_ALTITUDE:
        return complete(irp, fire_take_altitude(buffer, size), 0);
    case FIRE_FAIL_REGISTRATIONS:
        if (size != sizeof(uint32_t))
            return complete(irp, STATUS_INVALID_PARAMETER, 0);
        fire_fail_registrations(*(const uint32_t *) buffer);
        return complete(irp, STATUS_SUCCESS, 0);
    default:
        return complete(irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
}

static NTSTATUS NTAPI open_or_close(DEVICE_OBJECT *ours, IRP *irp)
{
    (void) ours;
    return complete(irp, STATUS_SUCCESS, 0);
}

/* Wine takes a driver that uses Win32 for a library, too, and calls its entry as that of one: with the reason in the
 * place of the path. There is no unload: drivers that are loaded have our functions' addresses. */
NTSTATUS NTAPI DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *path)
{
    const struct fire_exports lists[] = {fire_object_exports, fire_originator_exports,
                                         fire_registration_exports, fire_stand_in_exports};
    if ((uintptr_t) path < 0x10000)
        return TRUE;
    NTSTATUS status = IoCreateDevice(driver, 0, &device_name, 0x8c0c, 0, FALSE, &device);
    if (!NT_SUCCESS(status))
        return status;
    status = IoCreateSymbolicLink(&link_name, &device_name);
    if (NT_SUCCESS(status) && !fire_exports_replace(lists, RTL_NUMBER_OF(lists)))
        status = STATUS_UNSUCCESSFUL;
    if (!NT_SUCCESS(status)) {
        IoDeleteSymbolicLink(&link_name);
        IoDeleteDevice(device);
        return status;
    }
    driver->MajorFunction[IRP_MJ_CREATE] = open_or_close;
    driver->MajorFunction[IRP_MJ_CLEANUP] = open_or_close;
    driver->MajorFunction[IRP_MJ_CLOSE] = open_or_close;
    driver->MajorFunction[IRP_MJ_DEVICE_CONTROL] = control;
    return STATUS_SUCCESS;
}
