/* Loads and unloads the driver as the I/O manager does, keeps its devices and links, and checks that nothing of
 * it is left afterwards. Knows requests only by the files that are open. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "objects.h"

enum { LINK_MAX = 8, NAME_SIZE = 128, DRIVER_TYPE = 4, DEVICE_TYPE = 3 };

struct device {
    DEVICE_OBJECT object;
    struct nt_object *stand_in; /* for handles of the device */
    struct device *next;
    char name[NAME_SIZE];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct device *devices;
static struct {
    char name[NAME_SIZE], target[NAME_SIZE];
} links[LINK_MAX];
static DRIVER_OBJECT driver;
static struct image *loaded;
static uint32_t open_count; /* files; unloading waits for this word */
static bool is_unloading;
static int device_kind; /* the type of devices, by its address */

/* ---- Devices ---- */

DEVICE_OBJECT *device_open(const char *name, NTSTATUS *status)
{
    struct device *device;
    pthread_mutex_lock(&lock);
    for (device = devices; device && strcmp(device->name, name) != 0; device = device->next)
        ;
    if (!device || is_unloading || (device->object.Flags & DO_DEVICE_INITIALIZING) != 0) {
        *status = device ? STATUS_NO_SUCH_DEVICE : STATUS_OBJECT_NAME_NOT_FOUND;
        device = NULL;
    } else {
        device->object.ReferenceCount++;
        open_count++;
    }
    pthread_mutex_unlock(&lock);
    return device ? &device->object : NULL;
}

void device_close(DEVICE_OBJECT *device)
{
    pthread_mutex_lock(&lock);
    device->ReferenceCount--;
    open_count--;
    pthread_mutex_unlock(&lock);
    wake_word(&open_count, 1);
}

struct nt_object *device_as_object(void *address)
{
    for (const struct device *device = devices; device; device = device->next)
        if (&device->object == address)
            return device->stand_in;
    return NULL;
}

/* IoCreateDevice. Documentation, Requirements: at most APC_LEVEL; Return values: STATUS_OBJECT_NAME_COLLISION,
 * STATUS_INSUFFICIENT_RESOURCES; Remarks: the device is not opened before the driver clears
 * DO_DEVICE_INITIALIZING, which the I/O manager does after DriverEntry. */
static NTAPI NTSTATUS IoCreateDevice(DRIVER_OBJECT *owner, ULONG extension_size, UNICODE_STRING *name,
                                     ULONG type, ULONG characteristics, BOOLEAN is_exclusive,
                                     DEVICE_OBJECT **result)
{
    char ascii[NAME_SIZE] = "";
    (void) is_exclusive;
    level_at_most(APC_LEVEL, "IoCreateDevice");
    if (name)
        text_ascii(name, ascii, sizeof ascii);
    if (io_shall_fail())
        return STATUS_INSUFFICIENT_RESOURCES;
    for (const struct device *device = devices; device; device = device->next)
        if (name && strcmp(device->name, ascii) == 0)
            return STATUS_OBJECT_NAME_COLLISION;
    struct device *device = calloc(1, sizeof *device + extension_size);
    device->object = (DEVICE_OBJECT){.Type = DEVICE_TYPE,
                                     .Size = sizeof device->object,
                                     .DriverObject = owner,
                                     .NextDevice = owner->DeviceObject,
                                     .Flags = DO_DEVICE_INITIALIZING,
                                     .Characteristics = characteristics,
                                     .DeviceExtension = extension_size > 0 ? device + 1 : NULL,
                                     .DeviceType = type,
                                     .StackSize = 1};
    snprintf(device->name, sizeof device->name, "%s", ascii);
    device->stand_in = calloc(1, sizeof *device->stand_in);
    object_init(device->stand_in, &device_kind);
    device->next = devices;
    devices = device;
    owner->DeviceObject = *result = &device->object;
    return STATUS_SUCCESS;
}

/* IoDeleteDevice. Documentation, Requirements: at most APC_LEVEL; Remarks: nothing may be open any more. */
static NTAPI void IoDeleteDevice(DEVICE_OBJECT *object)
{
    struct device **place = &devices;
    level_at_most(APC_LEVEL, "IoDeleteDevice");
    while (*place && &(*place)->object != object)
        place = &(*place)->next;
    if (!*place)
        violation("no_object", "IoDeleteDevice of what is no device");
    if (object->ReferenceCount > 0)
        violation("device_in_use", "IoDeleteDevice with %d open files", object->ReferenceCount);
    struct device *device = *place;
    *place = device->next;
    object->DriverObject->DeviceObject = devices ? &devices->object : NULL;
    object_kernel_gives_back(device->stand_in);
    free(device);
}

/* IoCreateSymbolicLink, IoDeleteSymbolicLink. Documentation, Requirements: PASSIVE_LEVEL. */
static NTAPI NTSTATUS IoCreateSymbolicLink(const UNICODE_STRING *name, const UNICODE_STRING *target)
{
    char ascii[NAME_SIZE];
    unsigned at = 0;
    level_at_most(PASSIVE_LEVEL, "IoCreateSymbolicLink");
    if (io_shall_fail())
        return STATUS_INSUFFICIENT_RESOURCES;
    text_ascii(name, ascii, sizeof ascii);
    for (unsigned i = 0; i < LINK_MAX; i++)
        if (strcmp(links[i].name, ascii) == 0)
            return STATUS_OBJECT_NAME_COLLISION;
    while (at + 1 < LINK_MAX && links[at].name[0])
        at++;
    snprintf(links[at].name, NAME_SIZE, "%s", ascii);
    text_ascii(target, links[at].target, NAME_SIZE);
    return STATUS_SUCCESS;
}

static NTAPI NTSTATUS IoDeleteSymbolicLink(const UNICODE_STRING *name)
{
    char ascii[NAME_SIZE];
    level_at_most(PASSIVE_LEVEL, "IoDeleteSymbolicLink");
    text_ascii(name, ascii, sizeof ascii);
    for (unsigned i = 0; i < LINK_MAX; i++)
        if (strcmp(links[i].name, ascii) == 0) {
            links[i].name[0] = 0;
            return STATUS_SUCCESS;
        }
    return STATUS_OBJECT_NAME_NOT_FOUND;
}

bool io_has_symbolic_link(const char *name, char *target, size_t size)
{
    for (unsigned i = 0; i < LINK_MAX; i++)
        if (strcmp(links[i].name, name) == 0) {
            snprintf(target, size, "%s", links[i].target);
            return true;
        }
    return false;
}

/* ---- Loading ---- */

/* Serves what the driver has no routine for. */
static NTAPI NTSTATUS serve_nothing(DEVICE_OBJECT *device, IRP *irp)
{
    static void (*NTAPI complete)(IRP *, UCHAR);
    (void) device;
    if (!complete)
        complete = (void (*NTAPI)(IRP *, UCHAR)) export_find("IofCompleteRequest");
    irp->IoStatus = (IO_STATUS_BLOCK){.Status = STATUS_INVALID_DEVICE_REQUEST};
    complete(irp, 0);
    return STATUS_INVALID_DEVICE_REQUEST;
}

/* A driver that is gone has left nothing. Documentation, "Unload routines". */
static void check_nothing_left(void)
{
    callbacks_check_gone();
    if (devices)
        violation("device_left", "the device %s is left after unload", devices->name);
    for (unsigned i = 0; i < LINK_MAX; i++)
        if (links[i].name[0])
            violation("link_left", "the link %s is left after unload", links[i].name);
    pool_check_leaks();
    objects_check_balance();
}

NTSTATUS io_load(struct image *image)
{
    UNICODE_STRING *path = text_make("\\Registry\\Machine\\System\\CurrentControlSet\\Services\\cbprocess");
    image_map(image);
    memset(&driver, 0, sizeof driver);
    driver.Type = DRIVER_TYPE;
    driver.Size = sizeof driver;
    driver.DriverStart = image->base;
    driver.DriverSize = image->size;
    driver.DriverInit = (DRIVER_INITIALIZE) image->entry;
    for (unsigned i = 0; i < IRP_MJ_COUNT; i++)
        driver.MajorFunction[i] = serve_nothing;
    is_unloading = false;
    verdicts_doing("in DriverEntry");
    struct level_mark mark = level_enter();
    NTSTATUS status = driver.DriverInit(&driver, path);
    level_leave(mark, "DriverEntry");
    verdicts_doing("-");
    free(path);
    if (NT_SUCCESS(status)) {
        for (struct device *device = devices; device; device = device->next)
            device->object.Flags &= ~(ULONG) DO_DEVICE_INITIALIZING;
        loaded = image;
    } else {
        check_nothing_left();
        image_unmap(image);
    }
    return status;
}

void io_unload(void)
{
    uint32_t count;
    pthread_mutex_lock(&lock);
    is_unloading = true;
    pthread_mutex_unlock(&lock);
    verdicts_doing("waits for open files before unload");
    while ((count = __atomic_load_n(&open_count, __ATOMIC_SEQ_CST)) != 0)
        wait_on_word(&open_count, count);
    if (!driver.DriverUnload)
        violation("no_unload", "the driver has no unload routine");
    verdicts_doing("in DriverUnload");
    struct level_mark mark = level_enter();
    driver.DriverUnload(&driver);
    level_leave(mark, "DriverUnload");
    verdicts_doing("-");
    check_nothing_left();
    image_unmap(loaded);
    loaded = NULL;
}

const struct export loading_exports[] = {EXPORT(IoCreateDevice),
                                         EXPORT(IoDeleteDevice),
                                         EXPORT(IoCreateSymbolicLink),
                                         EXPORT(IoDeleteSymbolicLink),
                                         {NULL, NULL}};
