/* Has what runs in the place of system calls: each tells cbpfire.sys and applies the answer. Knows no driver under
 * test. */
#include "world.h"

#include <string.h>

#define SUSPENDED 1u /* THREAD_CREATE_FLAGS_CREATE_SUSPENDED */
#define ATTRIBUTE_IMAGE_NAME 0x20005u
#define ATTRIBUTE_PARENT 0x60000u
#define UNSPECIFIC_ACCESS 0xf2000000u /* generic rights, MAXIMUM_ALLOWED */
#define ALL_ACCESS 0x1fffffu
#define STATUS_ACCESS_DENIED_ ((NTSTATUS) 0xC0000022)

typedef RTL_USER_PROCESS_PARAMETERS parameters;

static NTSTATUS(NTAPI *create_process)(HANDLE *, HANDLE *, ACCESS_MASK, ACCESS_MASK, void *, void *, ULONG,
                                       ULONG, parameters *, void *, struct attributes *);
static NTSTATUS(NTAPI *create_thread)(HANDLE *, ACCESS_MASK, void *, HANDLE, void *, void *, ULONG, ULONG_PTR,
                                      SIZE_T, SIZE_T, void *);
static NTSTATUS(NTAPI *end_process)(HANDLE, NTSTATUS);
static NTSTATUS(NTAPI *end_thread)(HANDLE, NTSTATUS);
static NTSTATUS(NTAPI *open_process)(HANDLE *, ACCESS_MASK, OBJECT_ATTRIBUTES *, CLIENT_ID *);
static NTSTATUS(NTAPI *open_thread)(HANDLE *, ACCESS_MASK, OBJECT_ATTRIBUTES *, CLIENT_ID *);
NTSTATUS(NTAPI *world_duplicate)(HANDLE, HANDLE, HANDLE, HANDLE *, ACCESS_MASK, ULONG, ULONG);

/* ---- Creations ---- */

/* A test's: is called with the id of each process that this one creates, before anybody else knows of it. */
static void(CALLBACK *notice)(uint32_t pid);

__declspec(dllexport) void world_set_notice(void(CALLBACK *function)(uint32_t pid))
{
    notice = function;
}

/* A test's: whether the handles that a creation gives are asked for, too, and when. The documentation does not say
 * that they are, nor that they are not. */
enum births { NO_BIRTHS, BEFORE_CREATION, AFTER_CREATION };
static enum births births;

__declspec(dllexport) void world_set_births(int wanted)
{
    births = (enum births) wanted;
}

static const struct attribute *find_attribute(const struct attributes *all, uintptr_t number)
{
    size_t count = all ? (all->size - sizeof all->size) / sizeof *all->attributes : 0;
    for (size_t i = 0; i < count; i++)
        if (all->attributes[i].number == number)
            return &all->attributes[i];
    return NULL;
}

/* The operation with its texts, in memory of its own. */
static struct fire_operation *describe(uint32_t pid, const parameters *given,
                                       const struct attributes *attributes, uint32_t *size)
{
    const struct attribute *image = find_attribute(attributes, ATTRIBUTE_IMAGE_NAME);
    const struct attribute *parent = find_attribute(attributes, ATTRIBUTE_PARENT);
    struct fire_operation *made =
        VirtualAlloc(NULL, sizeof *made + FIRE_TEXTS_MAX, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
    if (!made)
        return NULL;
    *made = (struct fire_operation){.kind = FIRE_PROCESS_CREATION, .process_id = pid};
    made->parent_pid = parent ? world_process_of(parent->value) : 0;
    made->image_size = image ? (uint32_t) image->size : given->ImagePathName.Length;
    made->command_line_size = given->CommandLine.Length;
    uint8_t *texts = (uint8_t *) (made + 1);
    memcpy(texts, image ? image->value : given->ImagePathName.Buffer, made->image_size);
    memcpy(texts + made->image_size, given->CommandLine.Buffer, made->command_line_size);
    *size = (uint32_t) sizeof *made + made->image_size + made->command_line_size;
    return made;
}

static NTSTATUS tell_creation(HANDLE process, HANDLE thread, const parameters *given,
                              const struct attributes *attributes)
{
    uint32_t pid = world_process_of(process), size, owner;
    struct fire_outcome outcome = {0};
    struct fire_operation *operation = describe(pid, given, attributes, &size);
    if (!operation)
        return STATUS_NO_MEMORY;
    if (notice)
        notice(pid);
    uint32_t status = world_control(FIRE_OPERATION, operation, size, &outcome, sizeof outcome);
    VirtualFree(operation, 0, MEM_RELEASE);
    if (status || outcome.status)
        return (NTSTATUS) (status ? status : outcome.status);
    struct fire_operation first = {.kind = FIRE_THREAD_CREATION, .process_id = pid};
    first.thread_id = world_thread_of(thread, &owner);
    (void) world_tell(&first, &outcome);
    return 0;
}

static void give_birthright(HANDLE *handle, struct fire_operation *operation)
{
    HANDLE reduced;
    struct fire_outcome outcome;
    operation->access = ALL_ACCESS;
    if (!world_tell(operation, &outcome) || outcome.access == ALL_ACCESS)
        return;
    if (world_duplicate(SELF, *handle, SELF, &reduced, outcome.access, 0, 0) == 0) {
        (void) NtClose(*handle);
        *handle = reduced;
    }
}

/* The creator has handles of the process and of its first thread. */
static void give_birthrights(HANDLE *process, HANDLE *thread)
{
    struct fire_operation operation = {.kind = FIRE_PROCESS_HANDLE, .process_id = world_process_of(*process)};
    give_birthright(process, &operation);
    operation.kind = FIRE_THREAD_HANDLE;
    operation.thread_id = world_thread_of(*thread, &operation.process_id);
    give_birthright(thread, &operation);
}

static NTSTATUS NTAPI our_create_process(HANDLE *process, HANDLE *thread, ACCESS_MASK process_access,
                                         ACCESS_MASK thread_access, void *process_attributes,
                                         void *thread_attributes, ULONG process_flags, ULONG thread_flags,
                                         parameters *given, void *info, struct attributes *attributes)
{
    NTSTATUS status =
        create_process(process, thread, process_access, thread_access, process_attributes, thread_attributes,
                       process_flags, thread_flags | SUSPENDED, given, info, attributes);
    if (status)
        return status;
    if (births == BEFORE_CREATION)
        give_birthrights(process, thread);
    status = tell_creation(*process, *thread, given, attributes);
    if (!status && births == AFTER_CREATION)
        give_birthrights(process, thread);
    if (!status && !world_enter(*process, *thread))
        status = STATUS_ACCESS_DENIED_;
    if (status) {
        (void) end_process(*process, status);
        (void) NtClose(*thread);
        (void) NtClose(*process);
    } else if (!(thread_flags & SUSPENDED)) {
        (void) NtResumeThread(*thread, NULL);
    }
    return status;
}

static NTSTATUS NTAPI our_create_thread(HANDLE *thread, ACCESS_MASK access, void *attributes, HANDLE process,
                                        void *start, void *argument, ULONG flags, ULONG_PTR zero_bits,
                                        SIZE_T committed, SIZE_T reserved, void *attribute_list)
{
    NTSTATUS status = create_thread(thread, access, attributes, process, start, argument, flags | SUSPENDED,
                                    zero_bits, committed, reserved, attribute_list);
    if (status)
        return status;
    struct fire_operation operation = {.kind = FIRE_THREAD_CREATION};
    struct fire_outcome outcome;
    operation.thread_id = world_thread_of(*thread, &operation.process_id);
    (void) world_tell(&operation, &outcome);
    if (!(flags & SUSPENDED))
        (void) NtResumeThread(*thread, NULL);
    return status;
}

/* ---- Ends ---- */

static bool has_ended(HANDLE process)
{
    return WaitForSingleObject(process, 0) == WAIT_OBJECT_0;
}

static NTSTATUS end_another(HANDLE process, uint32_t pid, NTSTATUS status)
{
    struct fire_operation operation = {
        .kind = FIRE_TERMINATE, .process_id = pid, .status = (uint32_t) status};
    struct fire_outcome outcome;
    if (!(world_granted_access(process) & PROCESS_TERMINATE) || has_ended(process) ||
        !world_tell(&operation, &outcome))
        return end_process(process, status);
    return 0;
}

static NTSTATUS NTAPI our_end_process(HANDLE process, NTSTATUS status)
{
    uint32_t own = GetCurrentProcessId(), pid = !process || process == SELF ? own : world_process_of(process);
    struct fire_operation operation = {
        .process_id = own, .thread_id = GetCurrentThreadId(), .status = (uint32_t) status};
    struct fire_outcome outcome;
    if (pid != own)
        return end_another(process, pid, status);
    operation.kind = process ? FIRE_PROCESS_END : FIRE_OTHER_THREADS_END;
    if (process) {
        (void) world_tell(&operation, &outcome);
        return end_process(process, status);
    }
    status = end_process(process, status);
    (void) world_tell(&operation, &outcome);
    return status;
}

static NTSTATUS NTAPI our_end_thread(HANDLE thread, NTSTATUS status)
{
    struct fire_operation operation = {
        .kind = FIRE_THREAD_END, .process_id = GetCurrentProcessId(), .thread_id = GetCurrentThreadId()};
    struct fire_outcome outcome;
    if (thread && thread != THIS_THREAD) {
        operation.thread_id = world_thread_of(thread, &operation.process_id);
        operation.originator_pid = operation.process_id;
        operation.originator_tid = operation.thread_id;
        if (!(world_granted_access(thread) & THREAD_TERMINATE))
            return end_thread(thread, status);
    }
    (void) world_tell(&operation, &outcome);
    return end_thread(thread, status);
}

/* ---- Handles ---- */

/* What is left of the access. An object is found before the callbacks run: so a call that fails fires nothing. */
static ACCESS_MASK ask_for(struct fire_operation *operation)
{
    struct fire_outcome outcome;
    return world_tell(operation, &outcome) ? outcome.access : operation->access;
}

static NTSTATUS NTAPI our_open_process(HANDLE *process, ACCESS_MASK access, OBJECT_ATTRIBUTES *attributes,
                                       CLIENT_ID *id)
{
    NTSTATUS status = open_process(process, access, attributes, id);
    if (status)
        return status;
    struct fire_operation operation = {.kind = FIRE_PROCESS_HANDLE, .original_access = access};
    operation.process_id = world_process_of(*process);
    operation.access = access & UNSPECIFIC_ACCESS ? world_granted_access(*process) : access;
    ACCESS_MASK left = ask_for(&operation);
    if (left == operation.access)
        return status;
    (void) NtClose(*process);
    return open_process(process, left, attributes, id);
}

static NTSTATUS NTAPI our_open_thread(HANDLE *thread, ACCESS_MASK access, OBJECT_ATTRIBUTES *attributes,
                                      CLIENT_ID *id)
{
    NTSTATUS status = open_thread(thread, access, attributes, id);
    if (status)
        return status;
    struct fire_operation operation = {.kind = FIRE_THREAD_HANDLE, .original_access = access};
    operation.thread_id = world_thread_of(*thread, &operation.process_id);
    operation.access = access & UNSPECIFIC_ACCESS ? world_granted_access(*thread) : access;
    ACCESS_MASK left = ask_for(&operation);
    if (left == operation.access)
        return status;
    (void) NtClose(*thread);
    return open_thread(thread, left, attributes, id);
}

/* Fills the operation if the handle, ours, is of a process or thread. */
static bool describe_duplication(HANDLE handle, ACCESS_MASK access, ULONG options,
                                 struct fire_operation *made)
{
    enum object object = world_object_of(handle);
    if (object == OTHER_OBJECT)
        return false;
    if (object == A_PROCESS)
        made->process_id = world_process_of(handle);
    else
        made->thread_id = world_thread_of(handle, &made->process_id);
    made->kind = object == A_PROCESS ? FIRE_PROCESS_HANDLE : FIRE_THREAD_HANDLE;
    made->access = options & DUPLICATE_SAME_ACCESS ? world_granted_access(handle) : access;
    return made->process_id != 0;
}

static NTSTATUS NTAPI our_duplicate(HANDLE source_process, HANDLE source, HANDLE target_process,
                                    HANDLE *target, ACCESS_MASK access, ULONG attributes, ULONG options)
{
    HANDLE own = source;
    struct fire_operation operation = {0};
    if (!target || (source_process != SELF &&
                    world_duplicate(source_process, source, SELF, &own, 0, 0, DUPLICATE_SAME_ACCESS)))
        return world_duplicate(source_process, source, target_process, target, access, attributes, options);
    if (describe_duplication(own, access, options, &operation)) {
        operation.source_pid = world_process_of(source_process);
        operation.target_pid = world_process_of(target_process);
        ACCESS_MASK left = ask_for(&operation);
        if (left != operation.access) {
            access = left;
            options &= ~(ULONG) DUPLICATE_SAME_ACCESS;
        }
    }
    if (source_process != SELF)
        (void) NtClose(own);
    return world_duplicate(source_process, source, target_process, target, access, attributes, options);
}

const struct world_call world_calls[] = {
    {"NtCreateUserProcess", our_create_process, (void **) &create_process},
    {"NtCreateThreadEx", our_create_thread, (void **) &create_thread},
    {"NtTerminateProcess", our_end_process, (void **) &end_process},
    {"NtTerminateThread", our_end_thread, (void **) &end_thread},
    {"NtOpenProcess", our_open_process, (void **) &open_process},
    {"NtOpenThread", our_open_thread, (void **) &open_thread},
    {"NtDuplicateObject", our_duplicate, (void **) &world_duplicate},
};
const uint32_t world_call_count = sizeof world_calls / sizeof world_calls[0];
