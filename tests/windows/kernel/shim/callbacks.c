/* Is the callbacks of processes, threads and handles: registers them, and fires them in the calling thread as
 * the system does. Knows what a callback may change. */
#include <pthread.h>
#include <stdlib.h>

#include "shim.h"
#include "texts.h"

enum kind { PROCESSES_EX, PROCESSES_EX2, THREADS, HANDLES, KINDS };
static const char *const names[KINDS] = {"a process notify routine", "a process notify routine (Ex2)",
                                         "a thread notify routine", "an object callback"};

static pthread_mutex_t callback_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t all_have_returned = PTHREAD_COND_INITIALIZER;
static struct {
    void *routine; /* NULL: none */
    uint32_t running;
} registered[KINDS];
static _Thread_local uint32_t running_here[KINDS];

enum { HANDLE_KINDS = 2 };
static struct {
    OB_OPERATION_REGISTRATION operations[HANDLE_KINDS];
    uint32_t count;
    void *context;
    wchar_t altitude[32];
} handle_callbacks;
static wchar_t taken_altitude[32];

/* ---- Registration ---- */

static NTSTATUS add(enum kind kind, const char *function, void *routine)
{
    shim_irql_at_most(function, kind == HANDLES ? APC_LEVEL : PASSIVE_LEVEL);
    if (shim_is_to_fail(SHIM_FAULT_CALL))
        return kind == HANDLES ? STATUS_INSUFFICIENT_RESOURCES : STATUS_INVALID_PARAMETER;
    pthread_mutex_lock(&callback_lock);
    bool is_free = !registered[kind].routine;
    if (is_free)
        registered[kind].routine = routine;
    pthread_mutex_unlock(&callback_lock);
    return is_free ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
}

/* Documented: removing waits until no callback runs, therefore a callback cannot remove itself, and nothing
 * that a callback waits for may be held. */
static NTSTATUS take_out(enum kind kind, const char *function, const void *routine)
{
    shim_irql_at_most(function, kind == HANDLES ? APC_LEVEL : PASSIVE_LEVEL);
    if (shim_self()->mutexes != 0)
        shim_breach("wait-with-lock", "%s waits for callbacks with a fast mutex held", function);
    if (running_here[kind] != 0)
        shim_breach("deadlock", "%s waits for the callback that calls it", function);
    pthread_mutex_lock(&callback_lock);
    bool is_known = registered[kind].routine && registered[kind].routine == routine;
    if (is_known)
        registered[kind].routine = NULL;
    while (is_known && registered[kind].running != 0)
        pthread_cond_wait(&all_have_returned, &callback_lock);
    pthread_mutex_unlock(&callback_lock);
    return is_known ? STATUS_SUCCESS : STATUS_PROCEDURE_NOT_FOUND;
}

/* Documented: PASSIVE_LEVEL; STATUS_INVALID_PARAMETER if the routine is registered already. */
NTSTATUS PsSetCreateProcessNotifyRoutineEx(PCREATE_PROCESS_NOTIFY_ROUTINE_EX routine, BOOLEAN remove)
{
    const char *name = "PsSetCreateProcessNotifyRoutineEx";
    return remove ? take_out(PROCESSES_EX, name, (void *) routine)
                  : add(PROCESSES_EX, name, (void *) routine);
}

NTSTATUS PsSetCreateProcessNotifyRoutineEx2(PSCREATEPROCESSNOTIFYTYPE type, PVOID routine, BOOLEAN remove)
{
    const char *name = "PsSetCreateProcessNotifyRoutineEx2";
    if (type != PsCreateProcessNotifySubsystems)
        return STATUS_INVALID_PARAMETER;
    return remove ? take_out(PROCESSES_EX2, name, routine) : add(PROCESSES_EX2, name, routine);
}

NTSTATUS PsSetCreateThreadNotifyRoutine(PCREATE_THREAD_NOTIFY_ROUTINE routine)
{
    return add(THREADS, "PsSetCreateThreadNotifyRoutine", (void *) routine);
}

NTSTATUS PsRemoveCreateThreadNotifyRoutine(PCREATE_THREAD_NOTIFY_ROUTINE routine)
{
    return take_out(THREADS, "PsRemoveCreateThreadNotifyRoutine", (void *) routine);
}

void shim_take_altitude(const wchar_t *altitude)
{
    memset(taken_altitude, 0, sizeof taken_altitude);
    if (altitude)
        memcpy(taken_altitude, altitude, shim_length(altitude) * sizeof(wchar_t));
}

static bool is_sound(const OB_CALLBACK_REGISTRATION *registration)
{
    if (registration->Version != OB_FLT_REGISTRATION_VERSION ||
        registration->OperationRegistrationCount == 0 ||
        registration->OperationRegistrationCount > HANDLE_KINDS || registration->Altitude.Length == 0 ||
        registration->Altitude.Length >= sizeof handle_callbacks.altitude)
        return false;
    for (uint32_t i = 0; i < registration->OperationRegistrationCount; i++) {
        const OB_OPERATION_REGISTRATION *operation = &registration->OperationRegistration[i];
        if ((operation->ObjectType != PsProcessType && operation->ObjectType != PsThreadType) ||
            operation->Operations == 0 || operation->Operations > 3 || !operation->PreOperation)
            return false;
    }
    return true;
}

static bool is_own_altitude(const wchar_t *altitude)
{
    pthread_mutex_lock(&callback_lock);
    bool is_own = registered[HANDLES].routine && !shim_differ(altitude, handle_callbacks.altitude);
    pthread_mutex_unlock(&callback_lock);
    return is_own;
}

/* Documented: up to APC_LEVEL; an altitude belongs to one driver; what the registration points to may go after
 * the call. */
NTSTATUS ObRegisterCallbacks(POB_CALLBACK_REGISTRATION registration, PVOID *handle)
{
    wchar_t altitude[32] = {0};
    if (!is_sound(registration))
        return STATUS_INVALID_PARAMETER;
    memcpy(altitude, registration->Altitude.Buffer, registration->Altitude.Length);
    if ((taken_altitude[0] != 0 && !shim_differ(altitude, taken_altitude)) || is_own_altitude(altitude))
        return STATUS_FLT_INSTANCE_ALTITUDE_COLLISION;
    NTSTATUS status = add(HANDLES, "ObRegisterCallbacks", &handle_callbacks);
    if (status != STATUS_SUCCESS)
        return status;
    pthread_mutex_lock(&callback_lock);
    handle_callbacks.count = registration->OperationRegistrationCount;
    memcpy(handle_callbacks.operations, registration->OperationRegistration,
           handle_callbacks.count * sizeof handle_callbacks.operations[0]);
    handle_callbacks.context = registration->RegistrationContext;
    memcpy(handle_callbacks.altitude, altitude, sizeof altitude);
    pthread_mutex_unlock(&callback_lock);
    *handle = &handle_callbacks;
    return STATUS_SUCCESS;
}

void ObUnRegisterCallbacks(PVOID handle)
{
    if (take_out(HANDLES, "ObUnRegisterCallbacks", handle) != STATUS_SUCCESS)
        shim_breach("callback", "ObUnRegisterCallbacks is called with %p, which is not registered", handle);
}

bool shim_altitude(wchar_t *buffer, size_t size)
{
    pthread_mutex_lock(&callback_lock);
    bool is_known = registered[HANDLES].routine && size >= sizeof handle_callbacks.altitude;
    if (is_known)
        memcpy(buffer, handle_callbacks.altitude, sizeof handle_callbacks.altitude);
    pthread_mutex_unlock(&callback_lock);
    return is_known;
}

uint32_t shim_registered(void)
{
    pthread_mutex_lock(&callback_lock);
    bool has_processes = registered[PROCESSES_EX].routine || registered[PROCESSES_EX2].routine;
    uint32_t count =
        has_processes + (registered[THREADS].routine ? 1u : 0u) + (registered[HANDLES].routine ? 1u : 0u);
    pthread_mutex_unlock(&callback_lock);
    return count;
}

/* Documented: a driver that is unloaded with a routine registered ends the system. */
void shim_callbacks_check(void)
{
    for (int kind = 0; kind < KINDS; kind++)
        if (registered[kind].routine)
            shim_breach("callback-leak", "%s is left", names[kind]);
}

/* ---- Firing. Documented: PASSIVE_LEVEL, in a critical region ---- */

static void *begin(enum kind kind, struct shim_thread *before)
{
    pthread_mutex_lock(&callback_lock);
    void *routine = registered[kind].routine;
    registered[kind].running += routine ? 1 : 0;
    pthread_mutex_unlock(&callback_lock);
    if (!routine)
        return NULL;
    running_here[kind]++;
    *before = shim_enter(PASSIVE_LEVEL, 1);
    return routine;
}

static void end(enum kind kind, struct shim_thread before)
{
    shim_leave(names[kind], before, 1);
    running_here[kind]--;
    pthread_mutex_lock(&callback_lock);
    registered[kind].running--;
    pthread_cond_broadcast(&all_have_returned);
    pthread_mutex_unlock(&callback_lock);
}

/* Gives a text of its own memory, with no NUL behind it, so that a reader beyond its end is seen. */
static UNICODE_STRING *text_of(const wchar_t *source)
{
    if (!source)
        return NULL;
    size_t size = shim_length(source) * sizeof(wchar_t);
    UNICODE_STRING *text = malloc(sizeof *text);
    text->Length = text->MaximumLength = (USHORT) size;
    text->Buffer = malloc(size > 0 ? size : 1);
    memcpy(text->Buffer, source, size);
    return text;
}

static void free_text(UNICODE_STRING *text)
{
    if (text)
        free(text->Buffer);
    free(text);
}

static NTSTATUS fire_creation(const struct shim_creation *creation, enum kind kind)
{
    struct shim_thread before;
    PCREATE_PROCESS_NOTIFY_ROUTINE_EX routine = (PCREATE_PROCESS_NOTIFY_ROUTINE_EX) begin(kind, &before);
    if (!routine)
        return STATUS_SUCCESS;
    UNICODE_STRING *name = creation->has_no_name ? NULL : text_of(creation->process.image);
    UNICODE_STRING *line = text_of(creation->command_line);
    struct shim_thread *self = shim_self();
    PPS_CREATE_NOTIFY_INFO info = calloc(1, sizeof *info);
    info->Size = sizeof *info;
    info->FileOpenNameAvailable = creation->open_name_is_known;
    info->IsSubsystemProcess = creation->is_subsystem;
    info->ParentProcessId = (HANDLE) (uintptr_t) creation->process.parent_pid;
    info->CreatingThreadId.UniqueProcess =
        (HANDLE) (uintptr_t) (creation->creator_pid != 0 ? creation->creator_pid : self->pid);
    info->CreatingThreadId.UniqueThread =
        (HANDLE) (uintptr_t) (creation->creator_tid != 0 ? creation->creator_tid : self->tid);
    struct shim_object *file = creation->file_name ? shim_file_named(creation->file_name) : NULL;
    info->FileObject = (PFILE_OBJECT) file; /* nobody looks into it */
    info->CreationStatus = creation->refused_with;
    info->ImageFileName = name;
    info->CommandLine = line;
    routine(shim_process_object(creation->process.pid), (HANDLE) (uintptr_t) creation->process.pid, info);
    NTSTATUS status = info->CreationStatus;
    if (status != STATUS_SUCCESS && !NT_ERROR(status))
        shim_breach("creation-status", "a creation is refused with %x, which is no failure",
                    (unsigned) status);
    free_text(name);
    free_text(line);
    free(info);
    if (file)
        shim_object_drop(file);
    end(kind, before);
    return status;
}

NTSTATUS shim_create_process(const struct shim_creation *creation)
{
    if (!creation->is_added)
        shim_process_add(&creation->process);
    NTSTATUS status = fire_creation(creation, PROCESSES_EX2);
    if (status == STATUS_SUCCESS && !creation->is_subsystem)
        status = fire_creation(creation, PROCESSES_EX);
    if (status != STATUS_SUCCESS)
        shim_process_remove(creation->process.pid, status);
    return status;
}

void shim_end_process(uint32_t pid, NTSTATUS exit_status)
{
    shim_process_exits(pid, exit_status);
    for (int kind = PROCESSES_EX; kind <= PROCESSES_EX2; kind++) {
        struct shim_thread before;
        PCREATE_PROCESS_NOTIFY_ROUTINE_EX routine = (PCREATE_PROCESS_NOTIFY_ROUTINE_EX) begin(kind, &before);
        if (!routine)
            continue;
        routine(shim_process_object(pid), (HANDLE) (uintptr_t) pid, NULL);
        end(kind, before);
    }
    shim_process_remove(pid, exit_status);
}

static void fire_thread(uint32_t pid, uint32_t tid, BOOLEAN is_created)
{
    struct shim_thread before;
    PCREATE_THREAD_NOTIFY_ROUTINE routine = (PCREATE_THREAD_NOTIFY_ROUTINE) begin(THREADS, &before);
    if (!routine)
        return;
    /* Documented: PASSIVE_LEVEL or APC_LEVEL. Every other thread shows the driver the other level. */
    shim_self()->entry_irql = shim_self()->irql = tid / 4 % 2 == 0 ? PASSIVE_LEVEL : APC_LEVEL;
    routine((HANDLE) (uintptr_t) pid, (HANDLE) (uintptr_t) tid, is_created);
    end(THREADS, before);
}

void shim_create_thread(uint32_t pid, uint32_t tid)
{
    shim_thread_add(pid, tid);
    fire_thread(pid, tid, TRUE);
}

void shim_end_thread(uint32_t pid, uint32_t tid)
{
    fire_thread(pid, tid, FALSE);
    shim_thread_remove(tid);
}

/* ---- Handles ---- */

/* The rights that Microsoft's page of OB_PRE_CREATE_HANDLE_INFORMATION lists. No other may be taken away. */
enum {
    PROCESS_RIGHTS = 0x0001 | 0x0002 | 0x0008 | 0x0020 | 0x0040 | 0x0080 | 0x0100 | 0x0200 | 0x0800,
    THREAD_RIGHTS = 0x0001 | 0x0002 | 0x0010 | 0x0020 | 0x0100 | 0x0200 | 0x0400
};

static void check_access(const struct shim_opening *opening, uint32_t left)
{
    uint32_t lost = opening->access & ~left;
    if ((left & ~opening->access) != 0)
        shim_breach("access-added", "a handle that asks for %x gets %x", opening->access, left);
    if (opening->is_kernel && lost != 0)
        shim_breach("kernel-handle", "a kernel handle loses the rights %x", lost);
    if ((lost & ~(uint32_t) (opening->is_thread ? THREAD_RIGHTS : PROCESS_RIGHTS)) != 0)
        shim_breach("access-taken", "a handle loses the rights %x, which no driver may take", lost);
}

static uint32_t call_handles(const struct shim_opening *opening, const OB_OPERATION_REGISTRATION *operation)
{
    OB_PRE_OPERATION_PARAMETERS *parameters = calloc(1, sizeof *parameters);
    POB_PRE_OPERATION_INFORMATION information = calloc(1, sizeof *information);
    information->Operation =
        opening->is_duplicate ? OB_OPERATION_HANDLE_DUPLICATE : OB_OPERATION_HANDLE_CREATE;
    information->KernelHandle = opening->is_kernel;
    information->Object = opening->is_thread ? (void *) shim_thread_object(opening->id)
                                             : (void *) shim_process_object(opening->id);
    information->ObjectType = *operation->ObjectType;
    information->Parameters = parameters;
    parameters->CreateHandleInformation.DesiredAccess = opening->access;
    parameters->CreateHandleInformation.OriginalDesiredAccess = opening->access;
    if (opening->is_duplicate) {
        parameters->DuplicateHandleInformation.SourceProcess = shim_process_object(opening->source_pid);
        parameters->DuplicateHandleInformation.TargetProcess = shim_process_object(opening->target_pid);
    }
    if (operation->PreOperation(handle_callbacks.context, information) != OB_PREOP_SUCCESS)
        shim_breach("preop-status", "an object callback does not return OB_PREOP_SUCCESS");
    uint32_t left = parameters->CreateHandleInformation.DesiredAccess;
    if (parameters->CreateHandleInformation.OriginalDesiredAccess != opening->access)
        shim_breach("access-original", "an object callback changes OriginalDesiredAccess");
    free(information);
    free(parameters);
    return left;
}

uint32_t shim_open_object(const struct shim_opening *opening)
{
    struct shim_thread before;
    if (!begin(HANDLES, &before))
        return opening->access;
    POBJECT_TYPE *type = opening->is_thread ? PsThreadType : PsProcessType;
    OB_OPERATION operation =
        opening->is_duplicate ? OB_OPERATION_HANDLE_DUPLICATE : OB_OPERATION_HANDLE_CREATE;
    uint32_t left = opening->access;
    for (uint32_t i = 0; i < handle_callbacks.count; i++) {
        const OB_OPERATION_REGISTRATION *row = &handle_callbacks.operations[i];
        if (row->ObjectType == type && (row->Operations & operation) != 0)
            left = call_handles(opening, row);
    }
    end(HANDLES, before);
    check_access(opening, left);
    return left;
}
