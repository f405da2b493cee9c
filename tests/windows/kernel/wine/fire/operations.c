/* Does with the registered callbacks what the kernel does for an operation: which callbacks run, in which order and
 * in whose context. Knows no driver, and not where operations come from. */
#include "fire.h"

#include <string.h>

#define STATUS_PROCESS_IS_TERMINATING_ ((NTSTATUS) 0xC000010A)

struct ending {
    struct fire_object *process;
    uint32_t status;
};

bool fire_operation_is_valid(const struct fire_operation *operation, uint32_t size)
{
    return size >= sizeof *operation && size <= sizeof *operation + FIRE_TEXTS_MAX &&
           operation->kind >= FIRE_PROCESS_CREATION && operation->kind <= FIRE_THREAD_HANDLE &&
           operation->image_size <= size && operation->command_line_size <= size &&
           sizeof *operation + operation->image_size + operation->command_line_size == size &&
           operation->process_id;
}

/* ---- Ends ---- */

static uint32_t end_thread(struct fire_object *thread)
{
    uint32_t pid = fire_object_pid(thread), tid = fire_object_tid(thread);
    if (!fire_takes_end(thread))
        return 0;
    fire_originator_set(pid, tid);
    uint32_t calls = fire_call_thread_routines(pid, tid, false);
    fire_thread_ended(thread);
    return calls;
}

/* All threads of the process but that one; also those have ended then that end by themselves. */
static uint32_t end_other_threads(struct fire_object *process, uint32_t tid)
{
    struct fire_object *thread;
    uint32_t calls = 0;
    bool is_ending;
    while ((thread = fire_thread_of(process, tid, &is_ending)) || is_ending) {
        if (thread) {
            calls += end_thread(thread);
            fire_object_release(thread);
        } else {
            Sleep(1);
        }
    }
    return calls;
}

/* The last thread that ends makes the callbacks for the process, after those for itself. */
static uint32_t end_process(struct fire_object *process, uint32_t last_tid, uint32_t status)
{
    uint32_t pid = fire_object_pid(process);
    if (!fire_takes_end(process))
        return 0;
    fire_set_exit_status(process, status);
    uint32_t calls = end_other_threads(process, last_tid);
    calls += end_other_threads(process, 0); /* the last one */
    fire_originator_set(pid, last_tid ? last_tid : pid);
    calls += fire_call_process_routines(process, NULL);
    fire_process_ended(process);
    return calls;
}

/* Waits until Wine ends the process, and tells it where nobody has told it. */
static uint32_t NTAPI watch(void *context)
{
    struct fire_object *process = context;
    uint32_t status = 0;
    WaitForSingleObject(fire_process_handle(process), INFINITE_);
    GetExitCodeProcess(fire_process_handle(process), &status);
    (void) end_process(process, 0, status);
    fire_object_release(process);
    return 0;
}

/* Another process ends this one: it does nothing more of its own while its callbacks run. */
static uint32_t NTAPI terminate(void *context)
{
    struct ending *ending = context;
    HANDLE handle = fire_process_handle(ending->process);
    if (handle)
        NtSuspendProcess(handle);
    (void) end_process(ending->process, 0, ending->status);
    if (handle)
        TerminateProcess(handle, ending->status);
    fire_object_release(ending->process);
    fire_free(ending);
    return 0;
}

static void begin_thread(uint32_t(NTAPI *routine)(void *), void *context)
{
    HANDLE thread = CreateThread(NULL, 0, routine, context, 0, NULL);
    if (thread)
        CloseHandle(thread);
}

static void begin_ending(struct fire_object *process, uint32_t status)
{
    struct ending *ending = fire_allocate(sizeof *ending);
    *ending = (struct ending){process, status};
    begin_thread(terminate, ending);
}

/* ---- Creations ---- */

static UNICODE_STRING text_of(const void *text, uint32_t size)
{
    return (UNICODE_STRING){(USHORT) size, (USHORT) size, (WCHAR *) text};
}

static void create_process(struct fire_object *process, const struct fire_operation *operation,
                           struct fire_outcome *outcome)
{
    const uint8_t *texts = (const uint8_t *) (operation + 1);
    UNICODE_STRING image = text_of(texts, operation->image_size);
    UNICODE_STRING command_line = text_of(texts + operation->image_size, operation->command_line_size);
    bool has_image = !(operation->flags & FIRE_HAS_NO_IMAGE);
    PS_CREATE_NOTIFY_INFO information = {.Size = sizeof information};
    information.FileOpenNameAvailable = !(operation->flags & FIRE_NAME_IS_NOT_AVAILABLE);
    information.ParentProcessId =
        ULongToHandle(operation->parent_pid ? operation->parent_pid : fire_current_pid());
    information.CreatingThreadId.UniqueProcess = ULongToHandle(fire_current_pid());
    information.CreatingThreadId.UniqueThread = ULongToHandle(fire_current_tid());
    information.ImageFileName = has_image ? &image : NULL;
    information.CommandLine = has_image ? &command_line : NULL;
    outcome->calls = fire_call_process_routines(process, &information);
    if (information.CreationStatus > 0)
        fire_violation("PS_CREATE_NOTIFY_INFO: CreationStatus is an error code, or 0");
    outcome->status = NT_SUCCESS(information.CreationStatus) ? 0 : (uint32_t) information.CreationStatus;
    if (outcome->status) { /* it had no thread that ran */
        outcome->calls += end_process(process, 0, outcome->status);
    } else if (fire_process_handle(process)) {
        fire_object_retain(process);
        begin_thread(watch, process);
    }
}

static void create_thread(struct fire_object *process, const struct fire_operation *operation,
                          struct fire_outcome *outcome)
{
    struct fire_object *thread = fire_thread(fire_object_pid(process), operation->thread_id);
    outcome->calls = fire_call_thread_routines(operation->process_id, operation->thread_id, true);
    fire_object_release(thread);
}

static void one_thread_ends(struct fire_object *process, const struct fire_operation *operation,
                            struct fire_outcome *outcome)
{
    struct fire_object *thread = fire_thread(fire_object_pid(process), operation->thread_id);
    outcome->calls = end_thread(thread);
    fire_object_release(thread);
}

static void open_handle(struct fire_object *process, const struct fire_operation *operation,
                        struct fire_outcome *outcome)
{
    if (operation->kind == FIRE_PROCESS_HANDLE) {
        outcome->calls = fire_call_object_callbacks(process, operation, &outcome->access);
        return;
    }
    struct fire_object *thread = fire_thread(fire_object_pid(process), operation->thread_id);
    outcome->calls = fire_call_object_callbacks(thread, operation, &outcome->access);
    fire_object_release(thread);
}

void fire_operate(const struct fire_operation *operation, struct fire_outcome *outcome)
{
    *outcome = (struct fire_outcome){.access = operation->access};
    struct fire_object *process =
        fire_process(operation->process_id, (operation->flags & FIRE_IS_SCRIPTED) != 0);
    if (!process)
        return;
    fire_originator_set(operation->originator_pid, operation->originator_tid);
    switch (operation->kind) {
    case FIRE_PROCESS_CREATION:
        create_process(process, operation, outcome);
        break;
    case FIRE_PROCESS_END:
        outcome->calls = end_process(process, operation->thread_id, operation->status);
        break;
    case FIRE_THREAD_CREATION:
        create_thread(process, operation, outcome);
        break;
    case FIRE_THREAD_END:
        one_thread_ends(process, operation, outcome);
        break;
    case FIRE_OTHER_THREADS_END:
        outcome->calls = end_other_threads(process, operation->thread_id);
        break;
    case FIRE_TERMINATE:
        fire_object_retain(process);
        begin_ending(process, operation->status);
        break;
    default:
        open_handle(process, operation, outcome);
    }
    fire_originator_set(0, 0);
    fire_object_release(process);
}
