/* Is the processes and threads of the machine, their tokens, names and times. */
#include <pthread.h>
#include <stdlib.h>

#include "shim.h"
#include "texts.h"

enum { PROCESSES = 1024, THREADS = 1024, SYSTEM_PID = 4 };

struct _KPROCESS {
    struct shim_object object;
    uint32_t pid, parent_pid;
    LONGLONG create_time;
    NTSTATUS exit_status;
    enum shim_account account;
    struct shim_token *token;
    wchar_t image[600];
};

struct _KTHREAD {
    struct shim_object object;
    uint32_t pid, tid;
};

static pthread_mutex_t process_lock = PTHREAD_MUTEX_INITIALIZER;
static PEPROCESS processes[PROCESSES];
static PETHREAD threads[THREADS];
static LONGLONG last_create_time;

static uint32_t id_of(HANDLE handle)
{
    return (uint32_t) (uintptr_t) handle;
}

static HANDLE handle_of(uint32_t id)
{
    return (HANDLE) (uintptr_t) id;
}

static void destroy_token(struct shim_object *object)
{
    free(object);
}

static void destroy_process(struct shim_object *object)
{
    shim_object_drop(&((PEPROCESS) object)->token->object);
    free(object);
}

static void destroy_thread(struct shim_object *object)
{
    free(object);
}

/* ---- For tests ---- */

static PEPROCESS *place_of(uint32_t pid)
{
    for (size_t i = 0; i < PROCESSES; i++)
        if (pid == 0 ? !processes[i] : processes[i] && processes[i]->pid == pid)
            return &processes[i];
    return NULL;
}

void shim_processes_init(void)
{
    shim_process_add(&(struct shim_process_plan){.pid = SYSTEM_PID, .account = SHIM_SYSTEM_ACCOUNT});
}

void shim_process_add(const struct shim_process_plan *plan)
{
    PEPROCESS process = calloc(1, sizeof *process);
    process->token = calloc(1, sizeof *process->token);
    shim_object_init(&process->object, SHIM_PROCESS, destroy_process);
    shim_object_init(&process->token->object, SHIM_TOKEN, destroy_token);
    process->pid = process->token->pid = plan->pid;
    process->parent_pid = plan->parent_pid;
    process->exit_status = STATUS_PENDING;
    process->account = plan->account;
    if (plan->image)
        memcpy(process->image, plan->image, shim_length(plan->image) * sizeof(wchar_t));
    pthread_mutex_lock(&process_lock);
    LONGLONG now = (LONGLONG) shim_wall_100ns();
    last_create_time = now > last_create_time ? now : last_create_time + 1;
    process->create_time = last_create_time;
    PEPROCESS *place = place_of(0);
    if (!place || place_of(plan->pid))
        abort();
    *place = process;
    pthread_mutex_unlock(&process_lock);
}

void shim_process_remove(uint32_t pid, NTSTATUS exit_status)
{
    pthread_mutex_lock(&process_lock);
    PEPROCESS *place = place_of(pid), process = place ? *place : NULL;
    if (process) {
        __atomic_store_n(&process->exit_status, exit_status, __ATOMIC_SEQ_CST);
        *place = NULL;
    }
    pthread_mutex_unlock(&process_lock);
    if (process)
        shim_object_drop(&process->object);
}

static PEPROCESS find_process(uint32_t pid)
{
    PEPROCESS *place = pid != 0 ? place_of(pid) : NULL;
    return place ? *place : NULL;
}

PEPROCESS shim_process_object(uint32_t pid)
{
    pthread_mutex_lock(&process_lock);
    PEPROCESS process = find_process(pid);
    pthread_mutex_unlock(&process_lock);
    return process;
}

void shim_process_exits(uint32_t pid, NTSTATUS exit_status)
{
    PEPROCESS process = shim_process_object(pid);
    if (process)
        __atomic_store_n(&process->exit_status, exit_status, __ATOMIC_SEQ_CST);
}

bool shim_process_runs(uint32_t pid)
{
    return shim_process_object(pid);
}

enum shim_account shim_account_of(uint32_t pid)
{
    PEPROCESS process = shim_process_object(pid);
    return process ? process->account : SHIM_USER;
}

void shim_thread_add(uint32_t pid, uint32_t tid)
{
    PETHREAD thread = calloc(1, sizeof *thread);
    shim_object_init(&thread->object, SHIM_THREAD, destroy_thread);
    thread->pid = pid;
    thread->tid = tid;
    pthread_mutex_lock(&process_lock);
    size_t i = 0;
    while (i < THREADS && threads[i])
        i++;
    if (i == THREADS)
        abort();
    threads[i] = thread;
    pthread_mutex_unlock(&process_lock);
}

static PETHREAD take_thread(uint32_t tid, bool removes)
{
    PETHREAD thread = NULL;
    pthread_mutex_lock(&process_lock);
    for (size_t i = 0; i < THREADS && !thread; i++)
        if (threads[i] && threads[i]->tid == tid) {
            thread = threads[i];
            threads[i] = removes ? NULL : thread;
        }
    pthread_mutex_unlock(&process_lock);
    return thread;
}

PETHREAD shim_thread_object(uint32_t tid)
{
    return take_thread(tid, false);
}

void shim_thread_remove(uint32_t tid)
{
    PETHREAD thread = take_thread(tid, true);
    if (thread)
        shim_object_drop(&thread->object);
}

void shim_processes_free(void)
{
    for (size_t i = 0; i < PROCESSES; i++)
        if (processes[i])
            shim_process_remove(processes[i]->pid, 0);
    for (size_t i = 0; i < THREADS; i++)
        if (threads[i])
            shim_thread_remove(threads[i]->tid);
}

/* ---- For the driver. Documented: any IRQL, unless another one is checked ---- */

HANDLE PsGetCurrentProcessId(void)
{
    return handle_of(shim_self()->pid);
}

HANDLE PsGetCurrentThreadId(void)
{
    return handle_of(shim_self()->tid);
}

static PEPROCESS process_of(const char *function, PEPROCESS process)
{
    if (shim_object_of(function, process)->kind != SHIM_PROCESS)
        shim_breach("bad-object", "%s is called with an object that is no process", function);
    return process;
}

HANDLE PsGetProcessId(PEPROCESS process)
{
    return handle_of(process_of("PsGetProcessId", process)->pid);
}

static PETHREAD thread_of(const char *function, PETHREAD thread)
{
    if (shim_object_of(function, thread)->kind != SHIM_THREAD)
        shim_breach("bad-object", "%s is called with an object that is no thread", function);
    return thread;
}

HANDLE PsGetThreadId(PETHREAD thread)
{
    return handle_of(thread_of("PsGetThreadId", thread)->tid);
}

HANDLE PsGetThreadProcessId(PETHREAD thread)
{
    return handle_of(thread_of("PsGetThreadProcessId", thread)->pid);
}

LONGLONG PsGetProcessCreateTimeQuadPart(PEPROCESS process)
{
    return process_of("PsGetProcessCreateTimeQuadPart", process)->create_time;
}

/* Documented: PASSIVE_LEVEL up to DISPATCH_LEVEL; STATUS_PENDING while it runs. */
NTSTATUS PsGetProcessExitStatus(PEPROCESS process)
{
    shim_irql_at_most("PsGetProcessExitStatus", DISPATCH_LEVEL);
    return __atomic_load_n(&process_of("PsGetProcessExitStatus", process)->exit_status, __ATOMIC_SEQ_CST);
}

/* Documented: up to APC_LEVEL; the caller gives the reference back. */
NTSTATUS PsLookupProcessByProcessId(HANDLE id, PEPROCESS *process)
{
    shim_irql_at_most("PsLookupProcessByProcessId", APC_LEVEL);
    if (shim_is_to_fail(SHIM_FAULT_CALL))
        return STATUS_INSUFFICIENT_RESOURCES;
    pthread_mutex_lock(&process_lock);
    PEPROCESS found = find_process(id_of(id));
    if (found)
        shim_object_hold_for_driver(&found->object);
    pthread_mutex_unlock(&process_lock);
    *process = found;
    return found ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
}

/* Documented: PASSIVE_LEVEL; the caller gives the reference back with PsDereferencePrimaryToken(). */
PACCESS_TOKEN PsReferencePrimaryToken(PEPROCESS process)
{
    shim_irql_at_most("PsReferencePrimaryToken", PASSIVE_LEVEL);
    struct shim_token *token = process_of("PsReferencePrimaryToken", process)->token;
    shim_object_hold_for_driver(&token->object);
    return token;
}

void PsDereferencePrimaryToken(PACCESS_TOKEN token)
{
    shim_irql_at_most("PsDereferencePrimaryToken", PASSIVE_LEVEL);
    if (shim_object_of("PsDereferencePrimaryToken", token)->kind != SHIM_TOKEN)
        shim_breach("bad-object", "PsDereferencePrimaryToken is called with an object that is no token");
    ObfDereferenceObject(token);
}

/* Documented: PASSIVE_LEVEL; the text is freed by ExFreePool(). */
NTSTATUS SeLocateProcessImageName(PEPROCESS process, PUNICODE_STRING *name)
{
    shim_irql_at_most("SeLocateProcessImageName", PASSIVE_LEVEL);
    process_of("SeLocateProcessImageName", process);
    *name = NULL;
    if (shim_is_to_fail(SHIM_FAULT_CALL))
        return STATUS_INSUFFICIENT_RESOURCES;
    size_t size = shim_length(process->image) * sizeof(wchar_t);
    UNICODE_STRING *text = shim_pool_system(sizeof *text + size + sizeof(wchar_t));
    *text = (UNICODE_STRING){(USHORT) size, (USHORT) (size + sizeof(wchar_t)), (PWCHAR) (text + 1)};
    memcpy(text->Buffer, process->image, size);
    *name = text;
    return STATUS_SUCCESS;
}

/* ---- The list of all processes ---- */

/* One entry, in the layout of 64-bit Windows. Threads of 0x50 bytes each follow it. */
struct process_information {
    ULONG next_entry_offset, thread_count;
    unsigned char unused0[0x18];
    LONGLONG create_time, user_time, kernel_time;
    UNICODE_STRING image_name;
    LONG base_priority;
    HANDLE process_id, parent_id;
    unsigned char unused1[0x100 - 0x60];
};
_Static_assert(offsetof(struct process_information, create_time) == 0x20, "create time");
_Static_assert(offsetof(struct process_information, image_name) == 0x38, "image name");
_Static_assert(offsetof(struct process_information, process_id) == 0x50, "process id");
_Static_assert(sizeof(struct process_information) == 0x100, "size");
enum { THREAD_INFORMATION_SIZE = 0x50 };

static const wchar_t *last_part(const wchar_t *path)
{
    const wchar_t *last = path;
    for (; *path != 0; path++)
        if (*path == '\\')
            last = path + 1;
    return last;
}

static ULONG put_process(char *at, const struct _KPROCESS *process)
{
    const wchar_t *name = last_part(process->image);
    ULONG name_size = (ULONG) (shim_length(name) * sizeof(wchar_t));
    ULONG size =
        (ULONG) sizeof(struct process_information) + THREAD_INFORMATION_SIZE + ((name_size + 9) & ~7u);
    if (!at)
        return size;
    struct process_information *entry = (struct process_information *) (void *) at;
    memset(entry, 0, size);
    entry->next_entry_offset = size;
    entry->thread_count = 1;
    entry->create_time = process->create_time;
    entry->process_id = handle_of(process->pid);
    entry->parent_id = handle_of(process->parent_pid);
    entry->image_name.Length = (USHORT) name_size;
    entry->image_name.MaximumLength = (USHORT) (name_size + sizeof(wchar_t));
    entry->image_name.Buffer = (PWCHAR) (at + sizeof *entry + THREAD_INFORMATION_SIZE);
    memcpy(entry->image_name.Buffer, name, name_size);
    return size;
}

/* Documented: PASSIVE_LEVEL for Zw functions; STATUS_INFO_LENGTH_MISMATCH if the buffer is too small, and then
 * needed says how large it has to be. The process of id 0 is in the list, too. */
NTSTATUS ZwQuerySystemInformation(SYSTEM_INFORMATION_CLASS kind, PVOID buffer, ULONG size, PULONG needed)
{
    static const struct _KPROCESS idle;
    shim_irql_at_most("ZwQuerySystemInformation", PASSIVE_LEVEL);
    if (kind != SystemProcessInformation)
        return STATUS_NOT_IMPLEMENTED;
    if (shim_is_to_fail(SHIM_FAULT_CALL))
        return STATUS_INSUFFICIENT_RESOURCES;
    pthread_mutex_lock(&process_lock);
    ULONG total = put_process(NULL, &idle);
    for (size_t i = 0; i < PROCESSES; i++)
        total += processes[i] ? put_process(NULL, processes[i]) : 0;
    if (total <= size) {
        char *at = buffer, *last = at;
        at += put_process(at, &idle);
        for (size_t i = 0; i < PROCESSES; i++)
            if (processes[i]) {
                last = at;
                at += put_process(at, processes[i]);
            }
        ((struct process_information *) (void *) last)->next_entry_offset = 0;
    }
    pthread_mutex_unlock(&process_lock);
    if (needed)
        *needed = total;
    return total <= size ? STATUS_SUCCESS : STATUS_INFO_LENGTH_MISMATCH;
}
