/* Takes the routines that drivers register, and calls them as the kernel does. Refuses what the documentation says
 * is refused, and notes what it says a routine must not do. Knows nothing of how operations come about.
 *
 * Each function's documentation: learn.microsoft.com, "Windows driver API", under its name. */
#include "fire.h"

#include <string.h>

#define STATUS_ALTITUDE_COLLISION ((NTSTATUS) 0xC01C0011) /* STATUS_FLT_INSTANCE_ALTITUDE_COLLISION */
#define FORCE_INTEGRITY 0x80u                             /* IMAGE_DLLCHARACTERISTICS_FORCE_INTEGRITY */

enum { ROUTINES_MAX = 64, OBJECTS_MAX = 8, ALTITUDE_MAX = 64 };

enum kind { PROCESS_ROUTINE, PROCESS_ROUTINE_EX2, THREAD_ROUTINE, KINDS };

struct routine {
    void *function;
    uint32_t running;
    enum kind kind;
};

struct object_registration {
    bool is_used;
    uint32_t running;
    WCHAR altitude[ALTITUDE_MAX];
    void *context;
    uint32_t count;
    OB_OPERATION_REGISTRATION operations[2];
};

static struct routine routines[ROUTINES_MAX];
static struct object_registration registrations[OBJECTS_MAX];
static WCHAR taken_altitude[ALTITUDE_MAX];
static uint32_t failing;

/* ---- What both kinds have ---- */

/* Callbacks need an image that is linked with /INTEGRITYCHECK, else registering them is STATUS_ACCESS_DENIED. */
static bool is_of_checked_image(const void *function)
{
    struct fire_region region;
    uint32_t header;
    uint16_t characteristics;
    if (!function || !VirtualQuery(function, &region, sizeof region))
        return false;
    const uint8_t *base = region.allocation_base;
    memcpy(&header, base + 0x3c, sizeof header);
    memcpy(&characteristics, base + header + 24 + 70, sizeof characteristics);
    return characteristics & FORCE_INTEGRITY;
}

/* Removing waits for the callbacks that run. The caller has the lock, and has it again on return. */
static void wait_for_callbacks(const uint32_t *running)
{
    while (*running) {
        fire_unlock();
        Sleep(1);
        fire_lock();
    }
}

static struct routine *find(void *function, enum kind kind)
{
    for (uint32_t i = 0; i < ROUTINES_MAX; i++)
        if (routines[i].function == function && (!function || routines[i].kind == kind))
            return &routines[i];
    return NULL;
}

static NTSTATUS add_routine(void *function, enum kind kind, NTSTATUS exists, NTSTATUS no_room)
{
    NTSTATUS status = STATUS_SUCCESS;
    fire_lock();
    struct routine *place = find(NULL, kind);
    if (find(function, kind))
        status = exists;
    else if (!place ||
             failing == (kind == THREAD_ROUTINE ? FIRE_REGISTERS_THREADS : FIRE_REGISTERS_PROCESSES))
        status = no_room;
    else
        *place = (struct routine){function, 0, kind};
    fire_unlock();
    return status;
}

static NTSTATUS remove_routine(void *function, enum kind kind, NTSTATUS is_missing)
{
    NTSTATUS status = STATUS_SUCCESS;
    fire_lock();
    struct routine *routine = find(function, kind);
    if (routine) {
        routine->kind = KINDS; /* is called no more */
        wait_for_callbacks(&routine->running);
        *routine = (struct routine){0};
    } else {
        status = is_missing;
    }
    fire_unlock();
    return status;
}

/* ---- Processes and threads ---- */

static NTSTATUS set_process_routine(void *function, enum kind kind, BOOLEAN removes)
{
    if (!is_of_checked_image(function))
        return STATUS_ACCESS_DENIED;
    return removes ? remove_routine(function, kind, STATUS_INVALID_PARAMETER)
                   : add_routine(function, kind, STATUS_INVALID_PARAMETER, STATUS_INVALID_PARAMETER);
}

static NTSTATUS NTAPI set_process_routine_ex(PCREATE_PROCESS_NOTIFY_ROUTINE_EX function, BOOLEAN removes)
{
    return set_process_routine(function, PROCESS_ROUTINE, removes);
}

/* Type 0 is PsCreateProcessNotifySubsystems, the only one. */
static NTSTATUS NTAPI set_process_routine_ex2(uint32_t type, void *function, BOOLEAN removes)
{
    return type == 0 ? set_process_routine(function, PROCESS_ROUTINE_EX2, removes) : STATUS_INVALID_PARAMETER;
}

static NTSTATUS NTAPI set_thread_routine(PCREATE_THREAD_NOTIFY_ROUTINE function)
{
    return add_routine(function, THREAD_ROUTINE, STATUS_SUCCESS, STATUS_INSUFFICIENT_RESOURCES);
}

static NTSTATUS NTAPI remove_thread_routine(PCREATE_THREAD_NOTIFY_ROUTINE function)
{
    return remove_routine(function, THREAD_ROUTINE, STATUS_PROCEDURE_NOT_FOUND);
}

/* Takes the next routine of these kinds after the one at *at, for a call. */
static void *begin_call(uint32_t *at, bool is_thread)
{
    void *function = NULL;
    fire_lock();
    for (; *at < ROUTINES_MAX && !function; ++*at) {
        struct routine *routine = &routines[*at];
        if (routine->function && routine->kind != KINDS && (routine->kind == THREAD_ROUTINE) == is_thread) {
            routine->running++;
            function = routine->function;
        }
    }
    fire_unlock();
    return function;
}

static void end_call(uint32_t at)
{
    fire_lock();
    routines[at - 1].running--;
    fire_unlock();
}

uint32_t fire_call_process_routines(struct fire_object *process, PPS_CREATE_NOTIFY_INFO information)
{
    uint32_t calls = 0, at = 0;
    void *function;
    while ((function = begin_call(&at, false))) {
        PCREATE_PROCESS_NOTIFY_ROUTINE_EX routine = (PCREATE_PROCESS_NOTIFY_ROUTINE_EX) (uintptr_t) function;
        routine((PEPROCESS) process, ULongToHandle(fire_object_pid(process)), information);
        calls++;
        end_call(at);
    }
    return calls;
}

uint32_t fire_call_thread_routines(uint32_t pid, uint32_t tid, bool is_creation)
{
    uint32_t calls = 0, at = 0;
    void *function;
    while ((function = begin_call(&at, true))) {
        PCREATE_THREAD_NOTIFY_ROUTINE routine = (PCREATE_THREAD_NOTIFY_ROUTINE) (uintptr_t) function;
        routine(ULongToHandle(pid), ULongToHandle(tid), is_creation);
        calls++;
        end_call(at);
    }
    return calls;
}

/* ---- Handles ---- */

static bool is_taken(const WCHAR *altitude)
{
    bool taken = taken_altitude[0] && wcscmp(altitude, taken_altitude) == 0;
    for (uint32_t i = 0; i < OBJECTS_MAX; i++)
        taken = taken || (registrations[i].is_used && wcscmp(altitude, registrations[i].altitude) == 0);
    return taken;
}

static bool is_valid(const OB_CALLBACK_REGISTRATION *wanted)
{
    if (wanted->Version >> 8 != OB_FLT_REGISTRATION_VERSION >> 8 || wanted->OperationRegistrationCount == 0 ||
        wanted->OperationRegistrationCount > 2 || wanted->Altitude.Length == 0 ||
        wanted->Altitude.Length >= 2 * ALTITUDE_MAX)
        return false;
    for (uint32_t i = 0; i < wanted->OperationRegistrationCount; i++) {
        const OB_OPERATION_REGISTRATION *operation = &wanted->OperationRegistration[i];
        if ((operation->ObjectType != fire_type(L"PsProcessType") &&
             operation->ObjectType != fire_type(L"PsThreadType")) ||
            operation->Operations == 0 || operation->Operations > 3 ||
            (!operation->PreOperation && !operation->PostOperation))
            return false;
    }
    return true;
}

static NTSTATUS NTAPI register_callbacks(POB_CALLBACK_REGISTRATION wanted, void **handle)
{
    NTSTATUS status = STATUS_INSUFFICIENT_RESOURCES;
    if (!is_valid(wanted))
        return STATUS_INVALID_PARAMETER;
    for (uint32_t i = 0; i < wanted->OperationRegistrationCount; i++)
        if (!is_of_checked_image(wanted->OperationRegistration[i].PreOperation))
            return STATUS_ACCESS_DENIED;
    fire_lock();
    for (uint32_t i = 0; i < OBJECTS_MAX && failing != FIRE_REGISTERS_OBJECTS; i++) {
        struct object_registration *made = &registrations[i];
        if (made->is_used)
            continue;
        memset(made, 0, sizeof *made);
        memcpy(made->altitude, wanted->Altitude.Buffer, wanted->Altitude.Length);
        status = is_taken(made->altitude) ? STATUS_ALTITUDE_COLLISION : STATUS_SUCCESS;
        if (NT_SUCCESS(status)) {
            made->context = wanted->RegistrationContext;
            made->count = wanted->OperationRegistrationCount;
            memcpy(made->operations, wanted->OperationRegistration, made->count * sizeof *made->operations);
            made->is_used = true;
            *handle = made;
        }
        break;
    }
    fire_unlock();
    return status;
}

static void NTAPI unregister_callbacks(void *handle)
{
    struct object_registration *registration = handle;
    bool is_ours = false;
    for (uint32_t i = 0; i < OBJECTS_MAX; i++)
        is_ours = is_ours || (registration == &registrations[i] && registration->is_used);
    if (!is_ours) {
        fire_violation("ObUnRegisterCallbacks: the handle is that of a registration");
        return;
    }
    fire_lock();
    registration->count = 0; /* is called no more */
    wait_for_callbacks(&registration->running);
    registration->is_used = false;
    fire_unlock();
}

static USHORT FASTCALL filter_version(void)
{
    return OB_FLT_REGISTRATION_VERSION;
}

/* A routine may only take rights away, and leaves OriginalDesiredAccess alone. */
static void check_answer(const OB_PRE_OPERATION_INFORMATION *information, OB_PREOP_CALLBACK_STATUS status,
                         ACCESS_MASK before, ACCESS_MASK original)
{
    const OB_PRE_CREATE_HANDLE_INFORMATION *parameters = &information->Parameters->CreateHandleInformation;
    if (status != OB_PREOP_SUCCESS)
        fire_violation("PreOperation: the routine has to return OB_PREOP_SUCCESS");
    if (parameters->DesiredAccess & ~before)
        fire_violation("OB_PRE_CREATE_HANDLE_INFORMATION: rights are never added");
    if (parameters->OriginalDesiredAccess != original)
        fire_violation("OB_PRE_CREATE_HANDLE_INFORMATION: OriginalDesiredAccess must not be changed");
    if (information->KernelHandle && parameters->DesiredAccess != before)
        fire_violation("OB_PRE_OPERATION_INFORMATION: the access of a kernel handle must not be changed");
}

static void call_one(const OB_OPERATION_REGISTRATION *registered, void *context, struct fire_object *object,
                     const struct fire_operation *operation, ACCESS_MASK *access)
{
    struct fire_object *source = operation->source_pid ? fire_process(operation->source_pid, true) : NULL;
    struct fire_object *target = operation->target_pid ? fire_process(operation->target_pid, true) : NULL;
    ACCESS_MASK original = operation->original_access ? operation->original_access : operation->access;
    OB_PRE_OPERATION_PARAMETERS parameters;
    /* Both kinds of parameters begin with both masks. */
    parameters.DuplicateHandleInformation =
        (OB_PRE_DUPLICATE_HANDLE_INFORMATION){*access, original, source, target};
    OB_PRE_OPERATION_INFORMATION information = {
        .Object = object, .ObjectType = *registered->ObjectType, .Parameters = &parameters};
    information.Operation = source ? OB_OPERATION_HANDLE_DUPLICATE : OB_OPERATION_HANDLE_CREATE;
    information.KernelHandle = (operation->flags & FIRE_IS_KERNEL_HANDLE) != 0;
    OB_PREOP_CALLBACK_STATUS status = registered->PreOperation(context, &information);
    check_answer(&information, status, *access, original);
    *access &= parameters.CreateHandleInformation.DesiredAccess;
    if (source)
        fire_object_release(source);
    if (target)
        fire_object_release(target);
}

uint32_t fire_call_object_callbacks(struct fire_object *object, const struct fire_operation *operation,
                                    uint32_t *access)
{
    POBJECT_TYPE *type =
        fire_type(operation->kind == FIRE_THREAD_HANDLE ? L"PsThreadType" : L"PsProcessType");
    OB_OPERATION wanted = operation->source_pid ? OB_OPERATION_HANDLE_DUPLICATE : OB_OPERATION_HANDLE_CREATE;
    uint32_t calls = 0;
    ACCESS_MASK left = operation->access;
    for (uint32_t i = 0; i < OBJECTS_MAX; i++) {
        struct object_registration *registration = &registrations[i];
        fire_lock();
        uint32_t count = registration->is_used ? registration->count : 0;
        registration->running += count ? 1 : 0;
        fire_unlock();
        for (uint32_t k = 0; k < count; k++) {
            const OB_OPERATION_REGISTRATION *registered = &registration->operations[k];
            if (registered->ObjectType != type || !(registered->Operations & wanted) ||
                !registered->PreOperation)
                continue;
            call_one(registered, registration->context, object, operation, &left);
            calls++;
        }
        fire_lock();
        registration->running -= count ? 1 : 0;
        fire_unlock();
    }
    *access = left;
    return calls;
}

/* ---- For operations.c and main.c ---- */

NTSTATUS fire_take_altitude(const WCHAR *altitude, uint32_t size)
{
    if (size >= sizeof taken_altitude)
        return STATUS_INVALID_PARAMETER;
    fire_lock();
    memset(taken_altitude, 0, sizeof taken_altitude);
    memcpy(taken_altitude, altitude, size);
    fire_unlock();
    return STATUS_SUCCESS;
}

void fire_fail_registrations(uint32_t kind)
{
    failing = kind;
}

void fire_registrations_describe(struct fire_state *state)
{
    fire_lock();
    for (uint32_t i = 0; i < ROUTINES_MAX; i++) {
        const struct routine *routine = &routines[i];
        if (!routine->function)
            continue;
        state->process_routines += routine->kind == PROCESS_ROUTINE;
        state->process_routines_ex2 += routine->kind == PROCESS_ROUTINE_EX2;
        state->thread_routines += routine->kind == THREAD_ROUTINE;
        state->running += routine->running;
    }
    for (uint32_t i = 0; i < OBJECTS_MAX; i++) {
        if (!registrations[i].is_used)
            continue;
        state->object_registrations++;
        state->running += registrations[i].running;
        memcpy(state->altitude, registrations[i].altitude, sizeof state->altitude - 2);
    }
    fire_unlock();
}

static const struct fire_export exports[] = {
    {"PsSetCreateProcessNotifyRoutineEx", set_process_routine_ex, NULL},
    {"PsSetCreateProcessNotifyRoutineEx2", set_process_routine_ex2, NULL},
    {"PsSetCreateThreadNotifyRoutine", set_thread_routine, NULL},
    {"PsRemoveCreateThreadNotifyRoutine", remove_thread_routine, NULL},
    {"ObRegisterCallbacks", register_callbacks, NULL},
    {"ObUnRegisterCallbacks", unregister_callbacks, NULL},
    {"ObGetFilterVersion", filter_version, NULL},
};

const struct fire_exports fire_registration_exports = {exports, RTL_NUMBER_OF(exports)};
