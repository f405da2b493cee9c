/* Has the processes, threads and tokens that drivers get pointers to, with what they may ask about them. They are
 * no objects of Wine's kernel: so they are there for a process that is only scripted, too, and references that a
 * driver keeps can be counted. Knows no callback.
 *
 * The documentation of each function is that of its name on learn.microsoft.com, "Windows driver API". */
#include "fire.h"

#include <string.h>

#define STATUS_INVALID_CID_ ((NTSTATUS) 0xC000000B)
#define PROCESS_EVERYTHING 0x1fffffu
#define TOKEN_EVERYTHING 0xf01ffu
#define IMAGE_SIZE_MAX 0x8000u

enum kind { IS_PROCESS, IS_THREAD, IS_TOKEN };

struct fire_object {
    struct fire_object *next;
    enum kind kind;
    uint32_t pid, tid;
    LONG references; /* beside the table's own, while it lives */
    bool is_alive, is_scripted, end_is_taken;
    uint32_t exit_status;
    int64_t create_time;
    HANDLE process; /* of Wine, with all rights, in this process; NULL: scripted */
};

static struct fire_object *objects;
static uint32_t driver_references, tokens;

/* ---- The table. Callers hold the lock ---- */

static struct fire_object *add(enum kind kind, uint32_t pid, uint32_t tid)
{
    struct fire_object *object = fire_allocate(sizeof *object);
    *object = (struct fire_object){.next = objects,
                                   .kind = kind,
                                   .pid = pid,
                                   .tid = tid,
                                   .is_alive = true,
                                   .exit_status = STATUS_PENDING};
    objects = object;
    return object;
}

static struct fire_object *find(enum kind kind, uint32_t id)
{
    for (struct fire_object *object = objects; object; object = object->next)
        if (object->kind == kind && object->is_alive && (kind == IS_THREAD ? object->tid : object->pid) == id)
            return object;
    return NULL;
}

static bool is_ours(const void *pointer)
{
    bool found = false;
    fire_lock();
    for (struct fire_object *object = objects; object && !found; object = object->next)
        found = object == pointer;
    fire_unlock();
    return found;
}

static void remove_if_unused(struct fire_object *object)
{
    if (object->is_alive || object->references > 0)
        return;
    struct fire_object **at = &objects;
    while (*at != object)
        at = &(*at)->next;
    *at = object->next;
    if (object->process)
        CloseHandle(object->process);
    fire_free(object);
}

/* ---- For the other files ---- */

/* A process that is neither known nor scripted has to be one of Wine's. */
static bool look_at(struct fire_object *process)
{
    KERNEL_USER_TIMES times;
    process->process = OpenProcess(PROCESS_EVERYTHING, 0, process->pid);
    if (!process->process)
        return false;
    if (NT_SUCCESS(ZwQueryInformationProcess(process->process, ProcessTimes, &times, sizeof times, NULL)))
        process->create_time = times.CreateTime.QuadPart;
    return WaitForSingleObject(process->process, 0) != 0;
}

struct fire_object *fire_process(uint32_t pid, bool is_scripted)
{
    fire_lock();
    struct fire_object *process = find(IS_PROCESS, pid);
    if (!process && pid != 0) {
        process = add(IS_PROCESS, pid, 0);
        process->is_scripted = is_scripted;
        if (is_scripted)
            process->create_time = 1;
        else if (!look_at(process))
            process->is_alive = false;
        if (!process->is_alive) {
            remove_if_unused(process);
            process = NULL;
        }
    }
    if (process)
        process->references++;
    fire_unlock();
    return process;
}

struct fire_object *fire_thread(uint32_t pid, uint32_t tid)
{
    fire_lock();
    struct fire_object *thread = find(IS_THREAD, tid);
    if (!thread)
        thread = add(IS_THREAD, pid, tid);
    thread->references++;
    fire_unlock();
    return thread;
}

struct fire_object *fire_thread_of(struct fire_object *process, uint32_t but_tid, bool *is_ending)
{
    struct fire_object *found = NULL;
    *is_ending = false;
    fire_lock();
    for (struct fire_object *thread = objects; thread && !found; thread = thread->next) {
        if (thread->kind != IS_THREAD || !thread->is_alive || thread->pid != process->pid ||
            thread->tid == but_tid)
            continue;
        if (thread->end_is_taken)
            *is_ending = true;
        else
            found = thread;
    }
    if (found)
        found->references++;
    fire_unlock();
    return found;
}

void fire_object_retain(struct fire_object *object)
{
    fire_lock();
    object->references++;
    fire_unlock();
}

void fire_object_release(struct fire_object *object)
{
    fire_lock();
    object->references--;
    remove_if_unused(object);
    fire_unlock();
}

static void ended(struct fire_object *object)
{
    fire_lock();
    object->is_alive = false;
    remove_if_unused(object);
    fire_unlock();
}

void fire_thread_ended(struct fire_object *thread)
{
    ended(thread);
}

void fire_process_ended(struct fire_object *process)
{
    ended(process);
}

uint32_t fire_object_pid(const struct fire_object *object)
{
    return object->pid;
}

uint32_t fire_object_tid(const struct fire_object *object)
{
    return object->tid;
}

HANDLE fire_process_handle(const struct fire_object *process)
{
    return process->process;
}

void fire_set_exit_status(struct fire_object *process, uint32_t status)
{
    process->exit_status = status;
}

bool fire_takes_end(struct fire_object *object)
{
    fire_lock();
    bool takes = !object->end_is_taken;
    object->end_is_taken = true;
    fire_unlock();
    return takes;
}

void fire_objects_describe(struct fire_state *state)
{
    fire_lock();
    state->objects = driver_references;
    state->tokens = tokens;
    fire_unlock();
}

/* ---- For drivers ---- */

static NTSTATUS NTAPI look_up_process(HANDLE pid, PEPROCESS *process)
{
    struct fire_object *found = fire_process(HandleToULong(pid), false);
    if (!found)
        return STATUS_INVALID_CID_;
    fire_lock();
    driver_references++;
    fire_unlock();
    *process = (PEPROCESS) found;
    return STATUS_SUCCESS;
}

static void(NTAPI *wine_reference)(void *object);
static void(NTAPI *wine_dereference)(void *object);

static void change_references(struct fire_object *object, LONG by)
{
    fire_lock();
    driver_references += (uint32_t) by;
    if (object->kind == IS_TOKEN)
        tokens += (uint32_t) by;
    object->references += by;
    bool is_below = object->references < 0 || (int32_t) driver_references < 0;
    remove_if_unused(object);
    fire_unlock();
    if (is_below)
        fire_violation("ObfDereferenceObject: each call needs a reference that the driver has got before");
}

static void FASTCALL reference(void *object)
{
    if (is_ours(object))
        change_references(object, 1);
    else
        wine_reference(object);
}

static void FASTCALL dereference(void *object)
{
    if (is_ours(object))
        change_references(object, -1);
    else
        wine_dereference(object);
}

static HANDLE(NTAPI *wine_get_process_id)(PEPROCESS process);
static HANDLE(NTAPI *wine_get_thread_id)(PETHREAD thread);
static HANDLE(NTAPI *wine_get_thread_process_id)(PETHREAD thread);

static HANDLE NTAPI get_process_id(PEPROCESS process)
{
    return is_ours(process) ? ULongToHandle(((struct fire_object *) process)->pid)
                            : wine_get_process_id(process);
}

static HANDLE NTAPI get_thread_id(PETHREAD thread)
{
    return is_ours(thread) ? ULongToHandle(((struct fire_object *) thread)->tid) : wine_get_thread_id(thread);
}

static HANDLE NTAPI get_thread_process_id(PETHREAD thread)
{
    return is_ours(thread) ? ULongToHandle(((struct fire_object *) thread)->pid)
                           : wine_get_thread_process_id(thread);
}

static LONGLONG NTAPI get_create_time(PEPROCESS process)
{
    return ((struct fire_object *) process)->create_time;
}

static NTSTATUS NTAPI get_exit_status(PEPROCESS process)
{
    return (NTSTATUS) ((struct fire_object *) process)->exit_status;
}

/* The current process; a pointer to it is valid as long as the process is the current one. */
static PEPROCESS NTAPI get_current_process(void)
{
    struct fire_object *process = fire_process(fire_current_pid(), false);
    if (!process)
        process = fire_process(fire_current_pid(), true);
    fire_lock();
    process->references--;
    fire_unlock();
    return (PEPROCESS) process;
}

/* The name with the device in it, as the system has it; the caller frees it. */
static NTSTATUS NTAPI locate_image_name(PEPROCESS process, PUNICODE_STRING *name)
{
    static const WCHAR dos[] = L"\\??\\";
    struct fire_object *object = (struct fire_object *) process;
    UNICODE_STRING *found = ExAllocatePoolWithTag(NonPagedPool, sizeof *found + 2 * IMAGE_SIZE_MAX, 'erif');
    ULONG size;
    WCHAR device[256];
    if (!found)
        return STATUS_INSUFFICIENT_RESOURCES;
    NTSTATUS status = object->process ? ZwQueryInformationProcess(object->process, ProcessImageFileName,
                                                                  found, IMAGE_SIZE_MAX, &size)
                                      : STATUS_INVALID_CID_;
    if (!NT_SUCCESS(status)) {
        ExFreePoolWithTag(found, 'erif');
        return status;
    }
    WCHAR *text = found->Buffer;
    WCHAR drive[3] = {text[4], text[5], 0};
    if (memcmp(text, dos, 8) == 0 && QueryDosDeviceW(drive, device, RTL_NUMBER_OF(device))) {
        size_t length = wcslen(device) * 2;
        memmove((char *) text + length, text + 6, found->Length - 12u);
        memcpy(text, device, length);
        found->Length = (USHORT) (found->Length - 12u + length);
    }
    found->MaximumLength = found->Length;
    *name = found;
    return STATUS_SUCCESS;
}

/* ---- Tokens and handles ---- */

POBJECT_TYPE *fire_type(const WCHAR *name)
{
    UNICODE_STRING text;
    RtlInitUnicodeString(&text, name);
    return MmGetSystemRoutineAddress(&text);
}

static bool is_of_type(const struct fire_object *object, POBJECT_TYPE type)
{
    static const WCHAR *const names[] = {
        [IS_PROCESS] = L"PsProcessType", [IS_THREAD] = L"PsThreadType", [IS_TOKEN] = L"SeTokenObjectType"};
    return !type || type == *fire_type(names[object->kind]);
}

static PACCESS_TOKEN NTAPI reference_token(PEPROCESS process)
{
    struct fire_object *object = (struct fire_object *) process;
    fire_lock();
    struct fire_object *token = add(IS_TOKEN, object->pid, 0);
    token->is_alive = false;
    token->references = 1;
    token->is_scripted = object->is_scripted;
    driver_references++;
    tokens++;
    fire_unlock();
    return token;
}

static NTSTATUS(NTAPI *wine_open)(void *, ULONG, PACCESS_STATE, ACCESS_MASK, POBJECT_TYPE, KPROCESSOR_MODE,
                                  HANDLE *);

/* OBJ_KERNEL_HANDLE: the handle is the system's, which winedevice.exe stands for; else the current process's. */
static NTSTATUS give_handle(HANDLE opened, ULONG attributes, ACCESS_MASK access, HANDLE *handle)
{
    NTSTATUS status = STATUS_SUCCESS;
    if (attributes & OBJ_KERNEL_HANDLE) {
        *handle = opened;
        return status;
    }
    HANDLE taker = OpenProcess(PROCESS_EVERYTHING, 0, fire_current_pid());
    if (!taker || !DuplicateHandle(GetCurrentProcess(), opened, taker, handle, access, 0, 0))
        status = STATUS_ACCESS_DENIED;
    if (taker)
        CloseHandle(taker);
    CloseHandle(opened);
    return status;
}

static NTSTATUS open_ours(struct fire_object *object, ULONG attributes, ACCESS_MASK access, HANDLE *handle)
{
    HANDLE process = OpenProcess(PROCESS_EVERYTHING, 0, object->pid), opened = process;
    if (!process)
        return STATUS_INVALID_CID_;
    if (object->kind == IS_TOKEN) {
        NTSTATUS status = NtOpenProcessToken(process, TOKEN_EVERYTHING, &opened);
        CloseHandle(process);
        if (!NT_SUCCESS(status))
            return status;
    }
    return give_handle(opened, attributes, access, handle);
}

static NTSTATUS NTAPI open_by_pointer(void *object, ULONG attributes, PACCESS_STATE state, ACCESS_MASK access,
                                      POBJECT_TYPE type, KPROCESSOR_MODE mode, HANDLE *handle)
{
    if (is_ours(object))
        return is_of_type(object, type) ? open_ours(object, attributes, access, handle)
                                        : STATUS_OBJECT_TYPE_MISMATCH;
    return wine_open(object, attributes, state, access, type, mode, handle);
}

static const struct fire_export exports[] = {
    {"PsLookupProcessByProcessId", look_up_process, NULL},
    {"ObfReferenceObject", reference, (void **) &wine_reference},
    {"ObfDereferenceObject", dereference, (void **) &wine_dereference},
    {"ObReferenceObject", reference, NULL},
    {"ObDereferenceObject", dereference, NULL},
    {"PsGetProcessId", get_process_id, (void **) &wine_get_process_id},
    {"PsGetThreadId", get_thread_id, (void **) &wine_get_thread_id},
    {"PsGetThreadProcessId", get_thread_process_id, (void **) &wine_get_thread_process_id},
    {"PsGetProcessCreateTimeQuadPart", get_create_time, NULL},
    {"PsGetProcessExitStatus", get_exit_status, NULL},
    {"IoGetCurrentProcess", get_current_process, NULL},
    {"PsGetCurrentProcess", get_current_process, NULL},
    {"SeLocateProcessImageName", locate_image_name, NULL},
    {"PsReferencePrimaryToken", reference_token, NULL},
    {"PsDereferencePrimaryToken", dereference, NULL},
    {"ObOpenObjectByPointer", open_by_pointer, (void **) &wine_open},
};

const struct fire_exports fire_object_exports = {exports, RTL_NUMBER_OF(exports)};
