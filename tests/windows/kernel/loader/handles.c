/* Is the kernel's handles: those of processes, and those of the driver's own, which it must close. Links of the
 * object manager are here too, because they are reached by handles alone. Knows objects, not what they are. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "objects.h"

enum { HANDLE_MAX = 4096, VOLUME_MAX = 26, OBJ_KERNEL_HANDLE = 0x200 };
#define KERNEL_HANDLE_BITS UINT64_C(0xffffffff80000000)

typedef struct OBJECT_ATTRIBUTES {
    ULONG Length, padding;
    HANDLE RootDirectory;
    UNICODE_STRING *ObjectName;
    ULONG Attributes, padding2;
    void *SecurityDescriptor, *SecurityQualityOfService;
} OBJECT_ATTRIBUTES;
NT_SIZE(OBJECT_ATTRIBUTES, 0x30);

/* A link leads from a drive letter to a device. */
struct link {
    struct nt_object base;
    char target[64];
};

struct handle {
    struct nt_object *object;   /* NULL: free */
    struct nt_process *process; /* whose handle it is; NULL: the kernel's */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct handle handles[HANDLE_MAX];
static char volumes[VOLUME_MAX][64];
static int link_kind;

void facts_volume(char letter, const char *device)
{
    snprintf(volumes[letter - 'A'], sizeof volumes[0], "%s", device);
}

/* Gives a handle, or 0. Handles are multiples of 4; those of the kernel have the upper bits set. */
static uint64_t open_handle(struct nt_object *object, struct nt_process *process)
{
    uint64_t value = 0;
    pthread_mutex_lock(&lock);
    for (unsigned i = 1; i < HANDLE_MAX && value == 0; i++)
        if (!handles[i].object) {
            handles[i] = (struct handle){object, process};
            object_kernel_takes(object);
            value = i * 4 | (process ? 0 : KERNEL_HANDLE_BITS);
        }
    pthread_mutex_unlock(&lock);
    return value;
}

/* Gives the entry of a handle that is open in this table. The caller has the lock. */
static struct handle *find_handle(struct nt_process *process, uint64_t value)
{
    bool is_kernel_s = (value & KERNEL_HANDLE_BITS) == KERNEL_HANDLE_BITS;
    uint64_t index = (is_kernel_s ? value & ~KERNEL_HANDLE_BITS : value) / 4;
    if (index == 0 || index >= HANDLE_MAX || !handles[index].object ||
        handles[index].process != (is_kernel_s ? NULL : process))
        return NULL;
    return &handles[index];
}

static bool close_in(struct nt_process *process, uint64_t value)
{
    pthread_mutex_lock(&lock);
    struct handle *handle = find_handle(process, value);
    if (handle) {
        object_kernel_gives_back(handle->object);
        handle->object = NULL;
    }
    pthread_mutex_unlock(&lock);
    return handle;
}

bool handle_close(struct nt_process *process, uint64_t value)
{
    return (value & KERNEL_HANDLE_BITS) != KERNEL_HANDLE_BITS && close_in(process, value);
}

static unsigned handle_count(struct nt_process *process)
{
    unsigned count = 0;
    pthread_mutex_lock(&lock);
    for (unsigned i = 1; i < HANDLE_MAX; i++)
        count += handles[i].object && handles[i].process == process;
    pthread_mutex_unlock(&lock);
    return count;
}

void handles_close_all(struct nt_process *process)
{
    for (unsigned i = 1; i < HANDLE_MAX; i++)
        if (handles[i].process == process)
            close_in(process, i * 4);
}

void handles_check_closed(void)
{
    unsigned count = handle_count(NULL);
    if (count > 0)
        violation("handle_leak", "the driver has left %u handles of the kernel open", count);
}

/* ObOpenObjectByPointer. Documentation, Requirements: PASSIVE_LEVEL; Parameters: without OBJ_KERNEL_HANDLE the
 * handle is the current process's; with a type other than the object's STATUS_OBJECT_TYPE_MISMATCH. */
static NTAPI NTSTATUS ObOpenObjectByPointer(void *address, ULONG attributes, void *state, ULONG access,
                                            void *type, UCHAR mode, HANDLE *handle)
{
    (void) state, (void) access, (void) mode;
    level_at_most(PASSIVE_LEVEL, "ObOpenObjectByPointer");
    struct nt_object *object = device_as_object(address);
    if (!object)
        object = object_check(address, "ObOpenObjectByPointer");
    if (io_shall_fail())
        return STATUS_INSUFFICIENT_RESOURCES;
    if (type && type != object->type)
        return STATUS_OBJECT_TYPE_MISMATCH;
    *handle = open_handle(object, attributes & OBJ_KERNEL_HANDLE ? NULL : thread_process(actor()));
    return *handle != 0 ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

/* ZwClose. Documentation, Requirements: PASSIVE_LEVEL; Remarks: the handle is open, and of the current process
 * or the kernel's. */
static NTAPI NTSTATUS ZwClose(HANDLE handle)
{
    level_at_most(PASSIVE_LEVEL, "ZwClose");
    if (!close_in(thread_process(actor()), handle))
        violation("bad_handle", "ZwClose of 0x%llx, which is not open", (unsigned long long) handle);
    return STATUS_SUCCESS;
}

/* Finds where a link leads: that of a drive, or one that the driver has made. */
static bool find_link(const char *name, char *target, size_t size)
{
    bool is_drive =
        strncmp(name, "\\??\\", 4) == 0 && name[4] >= 'A' && name[4] <= 'Z' && strcmp(name + 5, ":") == 0;
    if (!is_drive)
        return io_has_symbolic_link(name, target, size);
    snprintf(target, size, "%s", volumes[name[4] - 'A']);
    return target[0];
}

/* ZwOpenSymbolicLinkObject. Documentation, Requirements: PASSIVE_LEVEL; Remarks: in a thread of a process other
 * than the system's the attributes have OBJ_KERNEL_HANDLE, or programs could use the handle. */
static NTAPI NTSTATUS ZwOpenSymbolicLinkObject(HANDLE *handle, ULONG access,
                                               const OBJECT_ATTRIBUTES *attributes)
{
    char name[64];
    (void) access;
    level_at_most(PASSIVE_LEVEL, "ZwOpenSymbolicLinkObject");
    if (attributes->Length != sizeof *attributes)
        return STATUS_INVALID_PARAMETER;
    if ((attributes->Attributes & OBJ_KERNEL_HANDLE) == 0)
        violation("user_handle", "ZwOpenSymbolicLinkObject without OBJ_KERNEL_HANDLE");
    if (io_shall_fail())
        return STATUS_INSUFFICIENT_RESOURCES;
    text_ascii(attributes->ObjectName, name, sizeof name);
    struct link *link = calloc(1, sizeof *link);
    if (!find_link(name, link->target, sizeof link->target)) {
        free(link);
        return STATUS_OBJECT_NAME_NOT_FOUND;
    }
    object_init(&link->base, &link_kind);
    *handle = open_handle(&link->base, NULL);
    object_kernel_gives_back(&link->base); /* the handle has one */
    return *handle != 0 ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

/* ZwQuerySymbolicLinkObject. Documentation, Requirements: PASSIVE_LEVEL; Parameters: the length that is needed
 * is given; STATUS_BUFFER_TOO_SMALL if MaximumLength is less. */
static NTAPI NTSTATUS ZwQuerySymbolicLinkObject(HANDLE value, UNICODE_STRING *target, ULONG *needed)
{
    level_at_most(PASSIVE_LEVEL, "ZwQuerySymbolicLinkObject");
    pthread_mutex_lock(&lock);
    struct handle *handle = find_handle(NULL, value);
    pthread_mutex_unlock(&lock);
    if (!handle || handle->object->type != &link_kind)
        violation("bad_handle", "ZwQuerySymbolicLinkObject of a handle of no link");
    const char *text = ((const struct link *) handle->object)->target;
    size_t size = strlen(text) * sizeof(WCHAR);
    if (needed)
        *needed = (ULONG) size;
    if (target->MaximumLength < size)
        return STATUS_BUFFER_TOO_SMALL;
    for (size_t i = 0; text[i]; i++)
        target->Buffer[i] = (WCHAR) text[i];
    target->Length = (USHORT) size;
    return STATUS_SUCCESS;
}

/* ZwSetSecurityObject. Documentation, Requirements: PASSIVE_LEVEL. Nothing here reads a descriptor again; who
 * may open the device is proved where there is an I/O manager with access checks. */
static NTAPI NTSTATUS ZwSetSecurityObject(HANDLE value, ULONG information, const void *descriptor)
{
    level_at_most(PASSIVE_LEVEL, "ZwSetSecurityObject");
    (void) information;
    pthread_mutex_lock(&lock);
    struct handle *handle = find_handle(thread_process(actor()), value);
    pthread_mutex_unlock(&lock);
    if (!handle || !descriptor)
        violation("bad_handle", "ZwSetSecurityObject of a handle that is not open");
    return io_shall_fail() ? STATUS_INSUFFICIENT_RESOURCES : STATUS_SUCCESS;
}

const struct export handle_exports[] = {EXPORT(ObOpenObjectByPointer),    EXPORT(ZwClose),
                                        EXPORT(ZwOpenSymbolicLinkObject), EXPORT(ZwQuerySymbolicLinkObject),
                                        EXPORT(ZwSetSecurityObject),      {NULL, NULL}};
