/* Is the kernel's processes, threads and tokens, with a count of the references that the driver holds on each:
 * it must have given back exactly what it took. Handles are in handles.c. Knows no callbacks. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "objects.h"

enum { BUCKET_COUNT = 4096 };
#define OBJECT_MAGIC UINT64_C(0x7463656a626f746e)

struct nt_token {
    struct nt_object base;
};

struct nt_process {
    struct nt_object base;
    struct nt_process *hash_next;
    uint32_t pid, parent_pid;
    int64_t create_time;
    NTSTATUS exit_status;
    bool has_ended;
    UNICODE_STRING *path;
    struct nt_token *token;
};

struct nt_thread {
    struct nt_object base;
    uint32_t tid;
    struct nt_process *process;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct nt_object *all;
static struct nt_process *buckets[BUCKET_COUNT];
static int64_t last_create_time = INT64_C(134000000000000000);
static __thread struct nt_thread *current;
/* A type is known by its address. The driver sees the variables. */
static int process_kind, thread_kind, token_kind;
void *type_process = &process_kind, *type_thread = &thread_kind, *type_token = &token_kind;

/* ---- References ---- */

void object_init(struct nt_object *object, void *type)
{
    object->magic = OBJECT_MAGIC;
    object->type = type;
    object->kernel_references = 1;
    pthread_mutex_lock(&lock);
    object->next = all;
    all = object;
    pthread_mutex_unlock(&lock);
}

/* Finds that the driver may use the object: somebody has a reference. */
struct nt_object *object_check(void *address, const char *function)
{
    struct nt_object *object = address;
    if (!address || (uintptr_t) address % 8 != 0 || object->magic != OBJECT_MAGIC)
        violation("no_object", "%s of %p, which is no object", function, address);
    if (__atomic_load_n(&object->kernel_references, __ATOMIC_SEQ_CST) +
            __atomic_load_n(&object->driver_references, __ATOMIC_SEQ_CST) <=
        0)
        violation("freed_object", "%s of an object that nobody references any more", function);
    return object;
}

static void driver_takes(struct nt_object *object)
{
    __atomic_add_fetch(&object->driver_references, 1, __ATOMIC_SEQ_CST);
}

static void driver_gives_back(struct nt_object *object, const char *function)
{
    if (__atomic_sub_fetch(&object->driver_references, 1, __ATOMIC_SEQ_CST) < 0)
        violation("over_dereference", "%s of an object that the driver has no reference to", function);
}

void object_kernel_takes(struct nt_object *object)
{
    __atomic_add_fetch(&object->kernel_references, 1, __ATOMIC_SEQ_CST);
}

void object_kernel_gives_back(struct nt_object *object)
{
    __atomic_sub_fetch(&object->kernel_references, 1, __ATOMIC_SEQ_CST);
}

void objects_check_balance(void)
{
    unsigned count = 0;
    pthread_mutex_lock(&lock);
    for (const struct nt_object *object = all; object; object = object->next)
        count += object->driver_references > 0;
    pthread_mutex_unlock(&lock);
    if (count > 0)
        violation("reference_leak", "the driver holds references to %u objects after unload", count);
    handles_check_closed();
}

static void object_free(struct nt_object *object)
{
    object->magic = 0;
    if (object->type == type_process)
        free(((struct nt_process *) object)->path);
    free(object);
}

void objects_clear(void)
{
    pthread_mutex_lock(&lock);
    struct nt_object **place = &all;
    while (*place) {
        struct nt_object *object = *place;
        if (object->kernel_references + object->driver_references > 0) {
            place = &object->next;
            continue;
        }
        *place = object->next;
        object_free(object);
    }
    pthread_mutex_unlock(&lock);
}

/* ---- Processes ---- */

static struct nt_process **bucket_of(uint32_t pid)
{
    return &buckets[pid / 4 % BUCKET_COUNT];
}

struct nt_process *process_create(uint32_t pid, uint32_t parent_pid, const char *path)
{
    struct nt_process *process = calloc(1, sizeof *process);
    process->token = calloc(1, sizeof *process->token);
    object_init(&process->token->base, type_token);
    process->pid = pid;
    process->parent_pid = parent_pid;
    process->create_time = __atomic_add_fetch(&last_create_time, 1000, __ATOMIC_RELAXED);
    process->exit_status = STATUS_PENDING; /* while it runs */
    process->path = text_make(path);
    object_init(&process->base, type_process);
    pthread_mutex_lock(&lock);
    process->hash_next = *bucket_of(pid);
    *bucket_of(pid) = process;
    pthread_mutex_unlock(&lock);
    return process;
}

/* From here on the id leads to no process. */
static void leave_table(struct nt_process *process)
{
    pthread_mutex_lock(&lock);
    for (struct nt_process **place = bucket_of(process->pid); *place; place = &(*place)->hash_next)
        if (*place == process) {
            *place = process->hash_next;
            break;
        }
    pthread_mutex_unlock(&lock);
}

void process_end(struct nt_process *process, NTSTATUS exit_status)
{
    process->exit_status = exit_status;
    process->has_ended = true;
}

void process_forget(struct nt_process *process)
{
    leave_table(process);
    handles_close_all(process);
    object_kernel_gives_back(&process->token->base);
    object_kernel_gives_back(&process->base);
}

uint32_t process_id(const struct nt_process *process)
{
    return process->pid;
}

int64_t process_create_time(const struct nt_process *process)
{
    return process->create_time;
}

uint32_t process_parent(const struct nt_process *process)
{
    return process->parent_pid;
}

uint32_t objects_list(struct nt_process **list, uint32_t room)
{
    uint32_t count = 0;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < BUCKET_COUNT; i++)
        for (struct nt_process *process = buckets[i]; process; process = process->hash_next)
            if (!process->has_ended) {
                if (count < room) {
                    object_kernel_takes(&process->base);
                    list[count] = process;
                }
                count++;
            }
    pthread_mutex_unlock(&lock);
    return count;
}

void objects_release(struct nt_process **list, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        object_kernel_gives_back(&list[i]->base);
}

/* ---- Threads ---- */

struct nt_thread *thread_create(uint32_t tid, struct nt_process *process)
{
    struct nt_thread *thread = calloc(1, sizeof *thread);
    thread->tid = tid;
    thread->process = process;
    object_kernel_takes(&process->base);
    object_init(&thread->base, type_thread);
    return thread;
}

void thread_forget(struct nt_thread *thread)
{
    object_kernel_gives_back(&thread->process->base);
    object_kernel_gives_back(&thread->base);
}

uint32_t thread_id(const struct nt_thread *thread)
{
    return thread->tid;
}

struct nt_process *thread_process(const struct nt_thread *thread)
{
    return thread->process;
}

void actor_set(struct nt_thread *thread)
{
    current = thread;
}

struct nt_thread *actor(void)
{
    if (!current)
        wrong("a thread calls the driver that is no thread of Windows");
    return current;
}

/* ---- Routines ---- */

static struct nt_process *process_of(void *process, const char *function)
{
    struct nt_object *object = object_check(process, function);
    if (object->type != type_process)
        violation("no_object", "%s of an object that is no process", function);
    return (struct nt_process *) object;
}

static struct nt_thread *thread_of(void *thread, const char *function)
{
    struct nt_object *object = object_check(thread, function);
    if (object->type != type_thread)
        violation("no_object", "%s of an object that is no thread", function);
    return (struct nt_thread *) object;
}

/* ObfReferenceObject, ObfDereferenceObject. Documentation, Requirements: at most DISPATCH_LEVEL; Remarks: one
 * dereference for each reference, and none of what the driver has no reference to. */
static NTAPI int64_t ObfReferenceObject(void *object)
{
    level_at_most(DISPATCH_LEVEL, "ObfReferenceObject");
    driver_takes(object_check(object, "ObfReferenceObject"));
    return 2;
}

static NTAPI int64_t ObfDereferenceObject(void *object)
{
    level_at_most(DISPATCH_LEVEL, "ObfDereferenceObject");
    driver_gives_back(object_check(object, "ObfDereferenceObject"), "ObfDereferenceObject");
    return 1;
}

/* PsLookupProcessByProcessId. Documentation, Requirements: at most APC_LEVEL; Remarks: the process is
 * referenced; STATUS_INVALID_CID: there is none. */
static NTAPI NTSTATUS PsLookupProcessByProcessId(HANDLE pid, void **process)
{
    struct nt_process *found;
    level_at_most(APC_LEVEL, "PsLookupProcessByProcessId");
    if (io_shall_fail()) /* as if it had just ended */
        return STATUS_INVALID_CID;
    pthread_mutex_lock(&lock);
    for (found = *bucket_of((uint32_t) pid); found && found->pid != pid; found = found->hash_next)
        ;
    if (found)
        driver_takes(&found->base);
    pthread_mutex_unlock(&lock);
    if (!found)
        return STATUS_INVALID_CID;
    *process = found;
    return STATUS_SUCCESS;
}

/* PsReferencePrimaryToken. Documentation, Requirements: PASSIVE_LEVEL; Remarks: given back with
 * PsDereferencePrimaryToken, which is allowed below DISPATCH_LEVEL. */
static NTAPI void *PsReferencePrimaryToken(void *process)
{
    level_at_most(PASSIVE_LEVEL, "PsReferencePrimaryToken");
    struct nt_token *token = process_of(process, "PsReferencePrimaryToken")->token;
    driver_takes(&token->base);
    return token;
}

static NTAPI void PsDereferencePrimaryToken(void *token)
{
    level_at_most(APC_LEVEL, "PsDereferencePrimaryToken");
    driver_gives_back(object_check(token, "PsDereferencePrimaryToken"), "PsDereferencePrimaryToken");
}

/* SeLocateProcessImageName. Documentation, Requirements: PASSIVE_LEVEL; Remarks: the caller frees the one
 * block that has the string and its text. STATUS_NOT_FOUND: it has no name. */
static NTAPI NTSTATUS SeLocateProcessImageName(void *address, UNICODE_STRING **name)
{
    level_at_most(PASSIVE_LEVEL, "SeLocateProcessImageName");
    struct nt_process *process = process_of(address, "SeLocateProcessImageName");
    if (io_shall_fail())
        return STATUS_INSUFFICIENT_RESOURCES;
    if (!process->path)
        return STATUS_NOT_FOUND;
    UNICODE_STRING *text = pool_take(sizeof *text + process->path->Length, 0x6d4e6553, true);
    text->Length = text->MaximumLength = process->path->Length;
    text->Buffer = (WCHAR *) (void *) (text + 1);
    memcpy(text->Buffer, process->path->Buffer, text->Length);
    *name = text;
    return STATUS_SUCCESS;
}

/* The following ones read what never changes. Documentation, Requirements: at most DISPATCH_LEVEL. */
static NTAPI HANDLE PsGetProcessId(void *process)
{
    level_at_most(DISPATCH_LEVEL, "PsGetProcessId");
    return process_of(process, "PsGetProcessId")->pid;
}

static NTAPI int64_t PsGetProcessCreateTimeQuadPart(void *process)
{
    level_at_most(DISPATCH_LEVEL, "PsGetProcessCreateTimeQuadPart");
    return process_of(process, "PsGetProcessCreateTimeQuadPart")->create_time;
}

static NTAPI NTSTATUS PsGetProcessExitStatus(void *process)
{
    level_at_most(APC_LEVEL, "PsGetProcessExitStatus");
    return process_of(process, "PsGetProcessExitStatus")->exit_status;
}

static NTAPI HANDLE PsGetThreadId(void *thread)
{
    level_at_most(DISPATCH_LEVEL, "PsGetThreadId");
    return thread_of(thread, "PsGetThreadId")->tid;
}

static NTAPI HANDLE PsGetThreadProcessId(void *thread)
{
    level_at_most(DISPATCH_LEVEL, "PsGetThreadProcessId");
    return thread_of(thread, "PsGetThreadProcessId")->process->pid;
}

static NTAPI HANDLE PsGetCurrentProcessId(void)
{
    return actor()->process->pid;
}

static NTAPI HANDLE PsGetCurrentThreadId(void)
{
    return actor()->tid;
}

static NTAPI void *IoGetCurrentProcess(void)
{
    return actor()->process;
}

const struct export object_exports[] = {EXPORT(ObfReferenceObject),
                                        EXPORT(ObfDereferenceObject),
                                        EXPORT(PsLookupProcessByProcessId),
                                        EXPORT(PsReferencePrimaryToken),
                                        EXPORT(PsDereferencePrimaryToken),
                                        EXPORT(SeLocateProcessImageName),
                                        EXPORT(PsGetProcessId),
                                        EXPORT(PsGetProcessCreateTimeQuadPart),
                                        EXPORT(PsGetProcessExitStatus),
                                        EXPORT(PsGetThreadId),
                                        EXPORT(PsGetThreadProcessId),
                                        EXPORT(PsGetCurrentProcessId),
                                        EXPORT(PsGetCurrentThreadId),
                                        EXPORT(IoGetCurrentProcess),
                                        {"PsProcessType", &type_process},
                                        {"PsThreadType", &type_thread},
                                        {"SeTokenObjectType", &type_token},
                                        {NULL, NULL}};
