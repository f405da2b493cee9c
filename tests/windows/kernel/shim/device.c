/* Is the driver as the I/O manager sees it: loading, devices, their names, unloading. */
#include <pthread.h>
#include <stdlib.h>

#include "shim.h"
#include "texts.h"

enum { DEVICES = 16, LINKS = 16, NAME_UNITS = 64 };

PDRIVER_OBJECT shim_driver;
static struct shim_device *devices[DEVICES];
static struct {
    wchar_t name[NAME_UNITS], target[NAME_UNITS];
} links[LINKS];

static void destroy_device(struct shim_object *object)
{
    free(object);
}

static bool copy_name(wchar_t *target, PCUNICODE_STRING name)
{
    memset(target, 0, NAME_UNITS * sizeof *target);
    if (!name || name->Length == 0 || name->Length >= NAME_UNITS * sizeof *target)
        return false;
    memcpy(target, name->Buffer, name->Length);
    return target[0] == '\\';
}

static bool is_taken(const wchar_t *name)
{
    for (size_t i = 0; i < DEVICES; i++)
        if (devices[i] && !shim_differ(devices[i]->name, name))
            return true;
    for (size_t i = 0; i < LINKS; i++)
        if (links[i].name[0] != 0 && !shim_differ(links[i].name, name))
            return true;
    return false;
}

/* Documented: PASSIVE_LEVEL; STATUS_OBJECT_NAME_COLLISION if the name is taken. A device that is not opened
 * securely has a namespace below its name that its security does not guard. */
NTSTATUS IoCreateDevice(PDRIVER_OBJECT driver, ULONG extension_size, PUNICODE_STRING name, DEVICE_TYPE type,
                        ULONG characteristics, BOOLEAN exclusive, PDEVICE_OBJECT *created)
{
    wchar_t text[NAME_UNITS];
    (void) exclusive;
    shim_irql_at_most("IoCreateDevice", PASSIVE_LEVEL);
    if ((characteristics & FILE_DEVICE_SECURE_OPEN) == 0)
        shim_breach("secure-open", "a device is created without FILE_DEVICE_SECURE_OPEN");
    if (shim_is_to_fail(SHIM_FAULT_CALL))
        return STATUS_INSUFFICIENT_RESOURCES;
    if (!copy_name(text, name))
        return STATUS_OBJECT_NAME_INVALID;
    if (is_taken(text))
        return STATUS_OBJECT_NAME_COLLISION;
    size_t i = 0;
    while (devices[i])
        i++;
    struct shim_device *device = calloc(1, sizeof *device + extension_size);
    shim_object_init(&device->object, SHIM_DEVICE, destroy_device);
    memcpy(device->name, text, sizeof text);
    device->device.DriverObject = driver;
    device->device.DeviceType = type;
    device->device.Characteristics = characteristics;
    device->device.Flags = DO_DEVICE_INITIALIZING;
    device->device.StackSize = 1;
    device->device.DeviceExtension = extension_size > 0 ? device + 1 : NULL;
    device->device.NextDevice = driver->DeviceObject;
    driver->DeviceObject = &device->device;
    devices[i] = device;
    *created = &device->device;
    return STATUS_SUCCESS;
}

static struct shim_device *device_of(PDEVICE_OBJECT device)
{
    return CONTAINING_RECORD(device, struct shim_device, device);
}

/* Documented: up to APC_LEVEL. */
void IoDeleteDevice(PDEVICE_OBJECT device)
{
    shim_irql_at_most("IoDeleteDevice", APC_LEVEL);
    for (size_t i = 0; i < DEVICES; i++)
        if (devices[i] && &devices[i]->device == device) {
            for (PDEVICE_OBJECT *at = &device->DriverObject->DeviceObject; *at; at = &(*at)->NextDevice)
                if (*at == device) {
                    *at = device->NextDevice;
                    break;
                }
            devices[i] = NULL;
            shim_object_drop(&device_of(device)->object);
            return;
        }
    shim_breach("device", "IoDeleteDevice is called with %p, which is no device", (void *) device);
}

/* Documented: PASSIVE_LEVEL; STATUS_OBJECT_NAME_COLLISION if the name is taken. */
NTSTATUS IoCreateSymbolicLink(PUNICODE_STRING link, PUNICODE_STRING target)
{
    wchar_t text[NAME_UNITS];
    shim_irql_at_most("IoCreateSymbolicLink", PASSIVE_LEVEL);
    if (shim_is_to_fail(SHIM_FAULT_CALL))
        return STATUS_INSUFFICIENT_RESOURCES;
    if (!copy_name(text, link))
        return STATUS_OBJECT_NAME_INVALID;
    if (is_taken(text))
        return STATUS_OBJECT_NAME_COLLISION;
    size_t i = 0;
    while (links[i].name[0] != 0)
        i++;
    memcpy(links[i].name, text, sizeof text);
    copy_name(links[i].target, target);
    return STATUS_SUCCESS;
}

/* Documented: PASSIVE_LEVEL. */
NTSTATUS IoDeleteSymbolicLink(PUNICODE_STRING link)
{
    wchar_t text[NAME_UNITS];
    shim_irql_at_most("IoDeleteSymbolicLink", PASSIVE_LEVEL);
    for (size_t i = 0; copy_name(text, link) && i < LINKS; i++)
        if (links[i].name[0] != 0 && !shim_differ(links[i].name, text)) {
            links[i].name[0] = 0;
            return STATUS_SUCCESS;
        }
    return STATUS_OBJECT_NAME_NOT_FOUND;
}

const wchar_t *shim_link_target(const wchar_t *path)
{
    for (size_t i = 0; i < LINKS; i++)
        if (links[i].name[0] != 0 && !shim_differ(links[i].name, path))
            return links[i].target;
    return NULL;
}

struct shim_object *shim_object_of_device(const void *device)
{
    for (size_t i = 0; i < DEVICES; i++)
        if (devices[i] && &devices[i]->device == device)
            return &devices[i]->object;
    return NULL;
}

struct shim_device *shim_device_named(const wchar_t *path)
{
    const wchar_t *target = shim_link_target(path);
    path = target ? target : path;
    for (size_t i = 0; i < DEVICES; i++)
        if (devices[i] && !shim_differ(devices[i]->name, path))
            return devices[i];
    return NULL;
}

/* Documented: an unloaded driver has deleted its devices and links. */
void shim_devices_check(void)
{
    for (size_t i = 0; i < DEVICES; i++)
        if (devices[i])
            shim_breach("device-leak", "a device is left");
    for (size_t i = 0; i < LINKS; i++)
        if (links[i].name[0] != 0)
            shim_breach("link-leak", "a symbolic link is left");
}

/* ---- Loading and unloading ---- */

static NTSTATUS refuse_request(PDEVICE_OBJECT device, PIRP irp)
{
    (void) device;
    irp->IoStatus.Status = STATUS_INVALID_DEVICE_REQUEST;
    irp->IoStatus.Information = 0;
    IofCompleteRequest(irp, IO_NO_INCREMENT);
    return STATUS_INVALID_DEVICE_REQUEST;
}

static void check_nothing_is_left(void)
{
    shim_callbacks_check();
    shim_devices_check();
    shim_objects_check();
    shim_pool_check();
}

/* A thread of the System process loads and unloads drivers. */
static struct shim_thread begin_system(void)
{
    struct shim_thread caller = *shim_self();
    shim_become(4, 8);
    return caller;
}

/* Documented: a driver whose entry fails is not unloaded by its routine; it has cleaned up. */
NTSTATUS shim_load(DRIVER_INITIALIZE *entry)
{
    wchar_t path[] = L"\\Registry\\Machine\\System\\CurrentControlSet\\Services\\driver";
    UNICODE_STRING registry_path = {sizeof path - 2, sizeof path, path};
    shim_driver = calloc(1, sizeof *shim_driver);
    for (size_t i = 0; i <= IRP_MJ_MAXIMUM_FUNCTION; i++)
        shim_driver->MajorFunction[i] = refuse_request;
    struct shim_thread caller = begin_system();
    struct shim_thread before = shim_enter(PASSIVE_LEVEL, 0);
    NTSTATUS status = entry(shim_driver, &registry_path);
    shim_leave("DriverEntry", before, 0);
    *shim_self() = caller;
    for (size_t i = 0; i < DEVICES; i++)
        if (devices[i])
            devices[i]->device.Flags &= ~(ULONG) DO_DEVICE_INITIALIZING;
    if (!NT_SUCCESS(status)) {
        check_nothing_is_left();
        free(shim_driver);
        shim_driver = NULL;
    }
    return status;
}

void shim_unload(void)
{
    struct shim_thread caller = begin_system();
    struct shim_thread before = shim_enter(PASSIVE_LEVEL, 0);
    shim_driver->DriverUnload(shim_driver);
    shim_leave("DriverUnload", before, 0);
    *shim_self() = caller;
    check_nothing_is_left();
    free(shim_driver);
    shim_driver = NULL;
}
