/* Is the kernel's lists of callbacks, and calls them at the levels and in the state that the documentation
 * promises to the driver. Removing one waits until no thread is in it. Knows objects, not who is told why. */
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "loader.h"

enum { OPERATION_MAX = 4, NOTIFY_SUBSYSTEMS = 0 };
enum { OB_PREOP_SUCCESS = 0, KERNEL_HANDLE = 1 };

/* The driver has one callback of each kind at most. */
struct callback {
    void *routine;    /* NULL: none */
    uint32_t running; /* threads in it; removing waits for this word */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct callback callbacks[CALLBACK_KINDS];
static OB_OPERATION_REGISTRATION operations[OPERATION_MAX];
static unsigned operation_count;
static void *handle_context;
static char altitude[64], taken_altitude[64];
static __thread int own_depth; /* callbacks that this thread is in */
static int handle_registration;

/* ---- Calling ---- */

static void *begin(int kind)
{
    pthread_mutex_lock(&lock);
    void *routine = callbacks[kind].routine;
    if (routine)
        callbacks[kind].running++;
    pthread_mutex_unlock(&lock);
    own_depth += routine != NULL;
    return routine;
}

static void end(int kind)
{
    own_depth--;
    pthread_mutex_lock(&lock);
    bool is_last = --callbacks[kind].running == 0;
    pthread_mutex_unlock(&lock);
    if (is_last)
        wake_word(&callbacks[kind].running, INT_MAX);
}

/* Documentation, PCREATE_PROCESS_NOTIFY_ROUTINE_EX: called at PASSIVE_LEVEL in a critical region with normal
 * kernel APCs disabled, for a creation in the creating thread; an error in CreationStatus refuses it. */
static void call_process(struct nt_process *process, PS_CREATE_NOTIFY_INFO *info)
{
    CREATE_PROCESS_NOTIFY routine = (CREATE_PROCESS_NOTIFY) begin(CALLBACK_PROCESS);
    if (!routine)
        return;
    verdicts_doing(info ? "in the process callback, creation" : "in the process callback, end");
    level_region(1);
    struct level_mark mark = level_enter();
    routine(process, process_id(process), info);
    level_leave(mark, "the process callback");
    level_region(-1);
    end(CALLBACK_PROCESS);
    verdicts_doing("-");
}

NTSTATUS callback_process_created(struct nt_process *process, PS_CREATE_NOTIFY_INFO *info)
{
    PS_CREATE_NOTIFY_INFO before = *info;
    call_process(process, info);
    before.CreationStatus = info->CreationStatus;
    if (memcmp(&before, info, sizeof before) != 0)
        violation("changed_input", "the process callback has changed more than CreationStatus");
    return info->CreationStatus;
}

void callback_process_ended(struct nt_process *process)
{
    call_process(process, NULL);
}

/* Documentation, PCREATE_THREAD_NOTIFY_ROUTINE: at PASSIVE_LEVEL or APC_LEVEL. A creation is told in the
 * creating thread, an end in the thread that ends. */
void callback_thread(struct nt_process *process, uint32_t tid, bool is_created)
{
    CREATE_THREAD_NOTIFY routine = (CREATE_THREAD_NOTIFY) begin(CALLBACK_THREAD);
    if (!routine)
        return;
    verdicts_doing(is_created ? "in the thread callback, creation" : "in the thread callback, end");
    level_region(1);
    struct level_mark mark = level_enter();
    routine(process_id(process), tid, is_created);
    level_leave(mark, "the thread callback");
    level_region(-1);
    end(CALLBACK_THREAD);
    verdicts_doing("-");
}

static PRE_OPERATION routine_for(void *type, ULONG operation)
{
    for (unsigned i = 0; i < operation_count; i++)
        if (*operations[i].ObjectType == type && (operations[i].Operations & operation) != 0)
            return (PRE_OPERATION) operations[i].PreOperation;
    return NULL;
}

/* Documentation, PRE_OPERATION_CALLBACK and OB_PRE_CREATE_HANDLE_INFORMATION: at PASSIVE_LEVEL with normal
 * kernel APCs disabled; it returns OB_PREOP_SUCCESS; rights may be taken out of DesiredAccess and not added,
 * and nothing else is changed. Rights of a kernel handle are left alone. */
uint32_t callback_handle(const struct handle_operation *operation)
{
    ULONG kind = operation->is_duplication ? OB_OPERATION_HANDLE_DUPLICATE : OB_OPERATION_HANDLE_CREATE;
    OB_PRE_OPERATION_PARAMETERS parameters = {operation->access, operation->access, operation->source,
                                              operation->target};
    OB_PRE_OPERATION_INFORMATION information = {.Operation = kind,
                                                .Flags = operation->is_kernel_handle ? KERNEL_HANDLE : 0,
                                                .Object = operation->object,
                                                .ObjectType =
                                                    operation->is_thread ? type_thread : type_process,
                                                .Parameters = &parameters};
    if (!begin(CALLBACK_HANDLE))
        return operation->access;
    PRE_OPERATION routine = routine_for(information.ObjectType, kind);
    if (routine) {
        verdicts_doing("in the handle callback");
        level_region(1);
        struct level_mark mark = level_enter();
        int result = routine(handle_context, &information);
        level_leave(mark, "the handle callback");
        level_region(-1);
        verdicts_doing("-");
        if (result != OB_PREOP_SUCCESS)
            violation("handle_callback", "the handle callback returns %d", result);
    }
    if ((parameters.DesiredAccess & ~operation->access) != 0)
        violation("rights_added", "the handle callback makes 0x%x of 0x%x", parameters.DesiredAccess,
                  operation->access);
    if (parameters.OriginalDesiredAccess != operation->access)
        violation("changed_input", "the handle callback has changed OriginalDesiredAccess");
    if (operation->is_kernel_handle && parameters.DesiredAccess != operation->access)
        violation("kernel_handle_stripped", "the handle callback takes rights out of a kernel handle");
    end(CALLBACK_HANDLE);
    return parameters.DesiredAccess;
}

/* ---- Registering ---- */

static NTSTATUS add(int kind, void *routine, const char *function)
{
    const struct image *image = image_current();
    level_at_most(kind == CALLBACK_HANDLE ? APC_LEVEL : PASSIVE_LEVEL, function);
    if (!image_contains(routine) || !image->is_force_integrity)
        return STATUS_ACCESS_DENIED;
    if (io_shall_fail())
        return STATUS_INSUFFICIENT_RESOURCES;
    pthread_mutex_lock(&lock);
    bool is_there = callbacks[kind].routine;
    if (!is_there)
        callbacks[kind].routine = routine;
    pthread_mutex_unlock(&lock);
    return is_there ? STATUS_INVALID_PARAMETER : STATUS_SUCCESS;
}

static bool take_out(int kind, const void *routine, const char *function)
{
    uint32_t running;
    level_at_most(kind == CALLBACK_HANDLE ? APC_LEVEL : PASSIVE_LEVEL, function);
    if (own_depth > 0)
        violation("removal_in_callback", "%s in a callback, for whose end it waits", function);
    if (level_fast_mutexes() > 0 || level_spin_locks() > 0)
        violation("wait_with_lock", "%s, which waits for callbacks, with a lock held", function);
    pthread_mutex_lock(&lock);
    bool is_there = callbacks[kind].routine && callbacks[kind].routine == routine;
    if (is_there)
        callbacks[kind].routine = NULL;
    pthread_mutex_unlock(&lock);
    while (is_there && (running = __atomic_load_n(&callbacks[kind].running, __ATOMIC_SEQ_CST)) != 0)
        wait_on_word(&callbacks[kind].running, running);
    return is_there;
}

/* PsSetCreateProcessNotifyRoutineEx, ...Ex2. Documentation, Requirements: PASSIVE_LEVEL; Return values:
 * STATUS_INVALID_PARAMETER (registered already, or not), STATUS_ACCESS_DENIED (the image has no
 * FORCE_INTEGRITY); Parameters: removing waits for callbacks that run; Remarks: never in the callback. */
static NTAPI NTSTATUS PsSetCreateProcessNotifyRoutineEx(void *routine, BOOLEAN removes)
{
    if (!removes)
        return add(CALLBACK_PROCESS, routine, "PsSetCreateProcessNotifyRoutineEx");
    return take_out(CALLBACK_PROCESS, routine, "PsSetCreateProcessNotifyRoutineEx")
               ? STATUS_SUCCESS
               : STATUS_INVALID_PARAMETER;
}

static NTAPI NTSTATUS PsSetCreateProcessNotifyRoutineEx2(ULONG kind, void *routine, BOOLEAN removes)
{
    return kind == NOTIFY_SUBSYSTEMS ? PsSetCreateProcessNotifyRoutineEx(routine, removes)
                                     : STATUS_INVALID_PARAMETER;
}

/* PsSetCreateThreadNotifyRoutine, PsRemoveCreateThreadNotifyRoutine. Documentation, Requirements:
 * PASSIVE_LEVEL; Return values: STATUS_INSUFFICIENT_RESOURCES, STATUS_PROCEDURE_NOT_FOUND. */
static NTAPI NTSTATUS PsSetCreateThreadNotifyRoutine(void *routine)
{
    return add(CALLBACK_THREAD, routine, "PsSetCreateThreadNotifyRoutine");
}

static NTAPI NTSTATUS PsRemoveCreateThreadNotifyRoutine(void *routine)
{
    return take_out(CALLBACK_THREAD, routine, "PsRemoveCreateThreadNotifyRoutine")
               ? STATUS_SUCCESS
               : STATUS_PROCEDURE_NOT_FOUND;
}

static bool is_valid(const OB_OPERATION_REGISTRATION *row)
{
    return (row->ObjectType == &type_process || row->ObjectType == &type_thread) && row->Operations != 0 &&
           (row->Operations & ~(ULONG) (OB_OPERATION_HANDLE_CREATE | OB_OPERATION_HANDLE_DUPLICATE)) == 0 &&
           image_contains(row->PreOperation);
}

/* ObRegisterCallbacks. Documentation, Requirements: at most APC_LEVEL; Return values:
 * STATUS_FLT_INSTANCE_ALTITUDE_COLLISION, STATUS_INVALID_PARAMETER, STATUS_ACCESS_DENIED (a callback is not in
 * a signed image); ObjectType is the address of PsProcessType or PsThreadType. */
static NTAPI NTSTATUS ObRegisterCallbacks(const OB_CALLBACK_REGISTRATION *registration, void **handle)
{
    char wanted[sizeof altitude];
    unsigned count = registration->OperationRegistrationCount;
    if (registration->Version != OB_FLT_REGISTRATION_VERSION || count == 0 || count > OPERATION_MAX)
        return STATUS_INVALID_PARAMETER;
    for (unsigned i = 0; i < count; i++)
        if (!is_valid(&registration->OperationRegistration[i]))
            return STATUS_INVALID_PARAMETER;
    text_ascii(&registration->Altitude, wanted, sizeof wanted);
    if (wanted[0] == 0 || strspn(wanted, "0123456789.") != strlen(wanted))
        return STATUS_INVALID_PARAMETER;
    if (strcmp(wanted, taken_altitude) == 0 ||
        (callback_has(CALLBACK_HANDLE) && strcmp(wanted, altitude) == 0))
        return STATUS_FLT_INSTANCE_ALTITUDE_COLLISION;
    memcpy(operations, registration->OperationRegistration, count * sizeof operations[0]);
    operation_count = count;
    handle_context = registration->RegistrationContext;
    NTSTATUS status = add(CALLBACK_HANDLE, operations[0].PreOperation, "ObRegisterCallbacks");
    if (!NT_SUCCESS(status))
        return status;
    snprintf(altitude, sizeof altitude, "%s", wanted);
    *handle = &handle_registration;
    return status;
}

/* ObUnRegisterCallbacks. Documentation, Requirements: at most APC_LEVEL; Remarks: it waits for callbacks that
 * run, and takes what ObRegisterCallbacks gave, once. */
static NTAPI void ObUnRegisterCallbacks(void *handle)
{
    if (handle != &handle_registration ||
        !take_out(CALLBACK_HANDLE, callbacks[CALLBACK_HANDLE].routine, "ObUnRegisterCallbacks"))
        violation("not_registered", "ObUnRegisterCallbacks of what is not registered");
    altitude[0] = 0;
}

/* ---- What scenarios ask ---- */

void callback_take_altitude(const char *text)
{
    snprintf(taken_altitude, sizeof taken_altitude, "%s", text ? text : "");
}

const char *callback_altitude(void)
{
    return altitude;
}

bool callback_has(enum callback_kind kind)
{
    pthread_mutex_lock(&lock);
    bool is_there = callbacks[kind].routine;
    pthread_mutex_unlock(&lock);
    return is_there;
}

void callbacks_check_gone(void)
{
    static const char *const names[CALLBACK_KINDS] = {"process", "thread", "handle"};
    for (int i = 0; i < CALLBACK_KINDS; i++)
        if (callbacks[i].routine)
            violation("callback_left", "the %s callback is registered after unload", names[i]);
}

const struct export callback_exports[] = {EXPORT(PsSetCreateProcessNotifyRoutineEx),
                                          EXPORT(PsSetCreateProcessNotifyRoutineEx2),
                                          EXPORT(PsSetCreateThreadNotifyRoutine),
                                          EXPORT(PsRemoveCreateThreadNotifyRoutine),
                                          EXPORT(ObRegisterCallbacks),
                                          EXPORT(ObUnRegisterCallbacks),
                                          {NULL, NULL}};
