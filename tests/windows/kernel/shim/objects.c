/* Is the object manager: references, handles, symbolic links. Counts apart what the driver has taken, so that
 * what it does not give back is seen. */
#include <pthread.h>
#include <stdlib.h>
#include <wchar.h>

#include "shim.h"
#include "texts.h"

enum { OBJECT_MAGIC = 0x6a626f73, HANDLES = 4096, LINKS = 32, HANDLE_STEP = 4 };

static pthread_mutex_t object_lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t driver_refs;

static struct handle {
    struct shim_object *object;
    uint32_t access, pid;
    bool is_kernel;
} handles[HANDLES];

/* The types, told apart by their addresses. */
static struct _OBJECT_TYPE {
    enum shim_kind kind;
} types[] = {{SHIM_PROCESS}, {SHIM_THREAD}, {SHIM_TOKEN}, {SHIM_DEVICE}};
static POBJECT_TYPE type_pointers[] = {&types[0], &types[1], &types[2], &types[3]};
POBJECT_TYPE *PsProcessType = &type_pointers[0], *PsThreadType = &type_pointers[1],
             *SeTokenObjectType = &type_pointers[2], *IoDeviceObjectType = &type_pointers[3];

/* ---- References ---- */

void shim_object_init(struct shim_object *object, enum shim_kind kind, void (*destroy)(struct shim_object *))
{
    *object = (struct shim_object){.magic = OBJECT_MAGIC, .kind = kind, .system_refs = 1, .destroy = destroy};
}

struct shim_object *shim_object_of(const char *function, void *memory)
{
    struct shim_object *object = shim_object_of_device(memory);
    if (!object)
        object = memory;
    if (!object || object->magic != OBJECT_MAGIC)
        shim_breach("bad-object", "%s is called with %p, which is no object", function, memory);
    return object;
}

static void change(struct shim_object *object, int64_t system, int64_t driver, const char *function)
{
    pthread_mutex_lock(&object_lock);
    object->system_refs += system;
    object->driver_refs += driver;
    driver_refs += driver;
    bool is_unbalanced = object->driver_refs < 0;
    bool is_last = object->system_refs == 0 && object->driver_refs == 0;
    pthread_mutex_unlock(&object_lock);
    if (is_unbalanced)
        shim_breach("reference", "%s gives back a reference that the driver does not have", function);
    if (is_last) {
        object->magic = 0;
        object->destroy(object);
    }
}

void shim_object_hold(struct shim_object *object)
{
    change(object, 1, 0, "");
}

void shim_object_drop(struct shim_object *object)
{
    change(object, -1, 0, "");
}

void shim_object_hold_for_driver(struct shim_object *object)
{
    change(object, 0, 1, "");
}

/* Documented: up to DISPATCH_LEVEL. */
LONG_PTR ObfReferenceObject(PVOID memory)
{
    shim_irql_at_most("ObfReferenceObject", DISPATCH_LEVEL);
    change(shim_object_of("ObfReferenceObject", memory), 0, 1, "ObfReferenceObject");
    return 1;
}

/* Documented: up to DISPATCH_LEVEL; each call is for one reference that the driver has. */
LONG_PTR ObfDereferenceObject(PVOID memory)
{
    shim_irql_at_most("ObfDereferenceObject", DISPATCH_LEVEL);
    change(shim_object_of("ObfDereferenceObject", memory), 0, -1, "ObfDereferenceObject");
    return 0;
}

/* ---- Handles ---- */

static NTSTATUS make_handle(struct shim_object *object, uint32_t access, bool is_kernel, PHANDLE handle)
{
    pthread_mutex_lock(&object_lock);
    uint32_t i = 1;
    while (i < HANDLES && handles[i].object)
        i++;
    if (i < HANDLES) {
        handles[i] = (struct handle){object, access, shim_self()->pid, is_kernel};
        object->system_refs++;
        *handle = (HANDLE) (uintptr_t) (i * HANDLE_STEP | (is_kernel ? 0xffffffff80000000ull : 0));
    }
    pthread_mutex_unlock(&object_lock);
    return i < HANDLES ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

static struct handle *find_handle(uint64_t value)
{
    uint32_t i = (uint32_t) (value & 0x7fffffffu) / HANDLE_STEP;
    bool is_kernel = value > 0x7fffffffu;
    bool is_known = i > 0 && i < HANDLES && value % HANDLE_STEP == 0 && handles[i].object &&
                    handles[i].is_kernel == is_kernel;
    return is_known ? &handles[i] : NULL;
}

uint32_t shim_handle_access(uint32_t pid, uint64_t value, enum shim_kind *kind, uint32_t *object_pid)
{
    pthread_mutex_lock(&object_lock);
    struct handle *handle = find_handle(value);
    bool is_its = handle && !handle->is_kernel && handle->pid == pid;
    uint32_t access = is_its ? handle->access : 0;
    *kind = is_its ? handle->object->kind : 0;
    *object_pid =
        is_its && handle->object->kind == SHIM_TOKEN ? ((struct shim_token *) handle->object)->pid : 0;
    pthread_mutex_unlock(&object_lock);
    return access;
}

static bool close_handle(uint64_t value, bool is_driver, uint32_t pid)
{
    pthread_mutex_lock(&object_lock);
    struct handle *handle = find_handle(value);
    struct shim_object *object = NULL;
    if (handle && (handle->is_kernel ? is_driver : handle->pid == pid)) {
        object = handle->object;
        *handle = (struct handle){0};
    }
    pthread_mutex_unlock(&object_lock);
    if (object)
        shim_object_drop(object);
    return object;
}

bool shim_handle_close(uint32_t pid, uint64_t value)
{
    return close_handle(value, false, pid);
}

/* Documented: PASSIVE_LEVEL; the handle is open, and of this process or of the kernel. */
NTSTATUS ZwClose(HANDLE handle)
{
    shim_irql_at_most("ZwClose", PASSIVE_LEVEL);
    if (!close_handle((uint64_t) (uintptr_t) handle, true, shim_self()->pid))
        shim_breach("handle", "ZwClose is called with %p, which is no handle of this process", handle);
    return STATUS_SUCCESS;
}

/* Documented: PASSIVE_LEVEL; the type is checked if it is given, and has to be given for UserMode; without
 * OBJ_KERNEL_HANDLE the current process gets the handle. */
NTSTATUS ObOpenObjectByPointer(PVOID memory, ULONG attributes, PACCESS_STATE state, ACCESS_MASK access,
                               POBJECT_TYPE type, KPROCESSOR_MODE mode, PHANDLE handle)
{
    (void) state;
    shim_irql_at_most("ObOpenObjectByPointer", PASSIVE_LEVEL);
    struct shim_object *object = shim_object_of("ObOpenObjectByPointer", memory);
    if (!type && mode != KernelMode)
        return STATUS_OBJECT_TYPE_MISMATCH;
    if (type && type->kind != object->kind)
        return STATUS_OBJECT_TYPE_MISMATCH;
    if (shim_is_to_fail(SHIM_FAULT_CALL))
        return STATUS_INSUFFICIENT_RESOURCES;
    return make_handle(object, access, (attributes & OBJ_KERNEL_HANDLE) != 0, handle);
}

/* Documented (Driver Verifier): handles of the kernel and references are given back before the unload. */
void shim_objects_check(void)
{
    pthread_mutex_lock(&object_lock);
    for (uint32_t i = 0; i < HANDLES; i++)
        if (handles[i].object && handles[i].is_kernel)
            shim_breach("handle-leak", "a kernel handle of an object of kind %d is left",
                        (int) handles[i].object->kind);
    if (driver_refs != 0)
        shim_breach("reference-leak", "%lld references are left", (long long) driver_refs);
    pthread_mutex_unlock(&object_lock);
}

/* ---- Symbolic links of drives ---- */

struct link {
    struct shim_object object;
    wchar_t name[64], target[64];
};
static struct link *links[LINKS];

static void destroy_link(struct shim_object *object)
{
    free(object);
}

static const wchar_t *without_directory(const wchar_t *name)
{
    static const wchar_t *const directories[] = {L"\\??\\", L"\\DosDevices\\", L"\\GLOBAL??\\"};
    for (size_t i = 0; i < ARRAYSIZE(directories); i++) {
        size_t size = shim_length(directories[i]);
        if (memcmp(name, directories[i], size * sizeof(wchar_t)) == 0)
            return name + size;
    }
    return name;
}

static struct link *make_link(const wchar_t *name, const wchar_t *target)
{
    struct link *link = calloc(1, sizeof *link);
    shim_object_init(&link->object, SHIM_LINK, destroy_link);
    memcpy(link->name, name, shim_length(name) * sizeof(wchar_t));
    memcpy(link->target, target, shim_length(target) * sizeof(wchar_t));
    return link;
}

/* A link that a driver has made lives as long as its handle here. */
static NTSTATUS open_drivers_link(const wchar_t *name, ACCESS_MASK access, PHANDLE handle)
{
    struct link *link = make_link(name, shim_link_target(name));
    NTSTATUS status = make_handle(&link->object, access, true, handle);
    shim_object_drop(&link->object);
    return status;
}

void shim_link_drive(const wchar_t *name, const wchar_t *target)
{
    size_t at = 0;
    while (links[at] && shim_differ(without_directory(links[at]->name), without_directory(name)))
        at++;
    if (links[at])
        shim_object_drop(&links[at]->object);
    links[at] = NULL;
    if (!target)
        return;
    links[at] = make_link(name, target);
}

/* Documented: PASSIVE_LEVEL; a handle that user programs must not see has OBJ_KERNEL_HANDLE. */
NTSTATUS ZwOpenSymbolicLinkObject(PHANDLE handle, ACCESS_MASK access, POBJECT_ATTRIBUTES attributes)
{
    wchar_t name[64] = {0};
    shim_irql_at_most("ZwOpenSymbolicLinkObject", PASSIVE_LEVEL);
    if (attributes->Length != sizeof *attributes)
        return STATUS_INVALID_PARAMETER;
    if ((attributes->Attributes & OBJ_KERNEL_HANDLE) == 0)
        shim_breach("user-handle", "a driver opens a link with a handle that programs can use");
    if (shim_is_to_fail(SHIM_FAULT_CALL))
        return STATUS_INSUFFICIENT_RESOURCES;
    if (attributes->ObjectName->Length >= sizeof name)
        return STATUS_OBJECT_NAME_NOT_FOUND;
    memcpy(name, attributes->ObjectName->Buffer, attributes->ObjectName->Length);
    for (size_t i = 0; i < LINKS; i++)
        if (links[i] && !shim_differ(without_directory(links[i]->name), without_directory(name)))
            return make_handle(&links[i]->object, access, true, handle);
    return shim_link_target(name) ? open_drivers_link(name, access, handle) : STATUS_OBJECT_NAME_NOT_FOUND;
}

/* Documented: PASSIVE_LEVEL; size gets what is needed; STATUS_BUFFER_TOO_SMALL if the text has less room. */
NTSTATUS ZwQuerySymbolicLinkObject(HANDLE handle, PUNICODE_STRING target, PULONG size)
{
    shim_irql_at_most("ZwQuerySymbolicLinkObject", PASSIVE_LEVEL);
    pthread_mutex_lock(&object_lock);
    struct handle *found = find_handle((uint64_t) (uintptr_t) handle);
    struct link *link = found && found->object->kind == SHIM_LINK ? (struct link *) found->object : NULL;
    bool may_query = found && (found->access & (SYMBOLIC_LINK_QUERY | GENERIC_READ)) != 0;
    pthread_mutex_unlock(&object_lock);
    if (!link)
        shim_breach("handle", "ZwQuerySymbolicLinkObject is called with %p, which is no link", handle);
    if (!may_query)
        return STATUS_ACCESS_DENIED;
    ULONG needed = (ULONG) (shim_length(link->target) * sizeof(wchar_t));
    if (size)
        *size = needed;
    if (needed > target->MaximumLength)
        return STATUS_BUFFER_TOO_SMALL;
    memcpy(target->Buffer, link->target, needed);
    target->Length = (USHORT) needed;
    return STATUS_SUCCESS;
}

/* ---- Names of files ---- */

struct file {
    struct shim_object object;
    wchar_t name[300];
};

static void destroy_file(struct shim_object *object)
{
    free(object);
}

struct shim_object *shim_file_named(const wchar_t *name)
{
    struct file *file = calloc(1, sizeof *file);
    shim_object_init(&file->object, SHIM_FILE, destroy_file);
    memcpy(file->name, name, shim_length(name) * sizeof(wchar_t));
    return &file->object;
}

/* Documented: PASSIVE_LEVEL; FileNormalizedNameInformation gives the size of the name and the name, of which
 * STATUS_BUFFER_OVERFLOW gives as much as there is room for. */
NTSTATUS ZwQueryInformationFile(HANDLE handle, PIO_STATUS_BLOCK status, PVOID buffer, ULONG size,
                                FILE_INFORMATION_CLASS kind)
{
    shim_irql_at_most("ZwQueryInformationFile", PASSIVE_LEVEL);
    pthread_mutex_lock(&object_lock);
    struct handle *found = find_handle((uint64_t) (uintptr_t) handle);
    struct file *file = found && found->object->kind == SHIM_FILE ? (struct file *) found->object : NULL;
    pthread_mutex_unlock(&object_lock);
    if (!file)
        shim_breach("handle", "ZwQueryInformationFile is called with %p, which is no file", handle);
    if (shim_is_to_fail(SHIM_FAULT_CALL))
        return STATUS_INSUFFICIENT_RESOURCES;
    if (kind != FileNormalizedNameInformation)
        return STATUS_NOT_IMPLEMENTED;
    ULONG name_size = (ULONG) (shim_length(file->name) * sizeof(wchar_t));
    ULONG given = name_size + sizeof name_size <= size ? name_size : size - (ULONG) sizeof name_size;
    memcpy(buffer, &name_size, sizeof name_size);
    memcpy((char *) buffer + sizeof name_size, file->name, given);
    status->Status = given == name_size ? STATUS_SUCCESS : STATUS_BUFFER_OVERFLOW;
    status->Information = sizeof name_size + given;
    return status->Status;
}

/* ---- Security of an object ---- */

static void copy_dacl(struct shim_device *device, const SECURITY_DESCRIPTOR *descriptor)
{
    const ACL *dacl = descriptor->Dacl;
    if (!dacl || (descriptor->Control & SE_DACL_PRESENT) == 0)
        shim_breach("dacl", "a security descriptor without a list lets everybody in");
    if (dacl->AclSize > sizeof device->dacl)
        shim_breach("dacl", "a list of %u bytes is larger than the shim can take", dacl->AclSize);
    memcpy(device->dacl, dacl, dacl->AclSize);
    device->has_dacl = true;
}

/* Documented: PASSIVE_LEVEL; the handle has WRITE_DAC if the list is set. */
NTSTATUS ZwSetSecurityObject(HANDLE handle, SECURITY_INFORMATION what, PSECURITY_DESCRIPTOR descriptor)
{
    shim_irql_at_most("ZwSetSecurityObject", PASSIVE_LEVEL);
    pthread_mutex_lock(&object_lock);
    struct handle *found = find_handle((uint64_t) (uintptr_t) handle);
    struct shim_object *object = found ? found->object : NULL;
    uint32_t access = found ? found->access : 0;
    pthread_mutex_unlock(&object_lock);
    if (!object)
        return STATUS_INVALID_HANDLE;
    if ((what & DACL_SECURITY_INFORMATION) == 0 || object->kind != SHIM_DEVICE)
        return STATUS_INVALID_PARAMETER;
    if ((access & (WRITE_DAC | GENERIC_ALL)) == 0)
        return STATUS_ACCESS_DENIED;
    if (((SECURITY_DESCRIPTOR *) descriptor)->Revision != SECURITY_DESCRIPTOR_REVISION)
        return STATUS_UNKNOWN_REVISION;
    if (shim_is_to_fail(SHIM_FAULT_CALL))
        return STATUS_INSUFFICIENT_RESOURCES;
    copy_dacl((struct shim_device *) object, descriptor);
    return STATUS_SUCCESS;
}
