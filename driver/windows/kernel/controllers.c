/* Keeps the controllers: one for each time that the device is open. The file object is the controller's
 * identity: another process with a duplicate of the handle speaks for the controller, too, and the controller
 * ends with the process that has opened it, or with the last handle, whichever is first. */
#include "kernel.h"

struct cbpd_controller {
    LIST_ENTRY link;
    uint64_t id;
    PEPROCESS process; /* keeps its id from being given to another process; NULL: none is known */
    uint32_t pid;      /* of the process that has opened the device; 0: it has ended */
    bool is_closing;   /* no session opens any more */
};

/* The list changes under the books and the lock, so either of them is enough to read it. */
static struct {
    KSPIN_LOCK lock;
    LIST_ENTRY controllers;
    uint64_t last_id;
} all;

void cbpd_controllers_begin(void)
{
    KeInitializeSpinLock(&all.lock);
    InitializeListHead(&all.controllers);
}

uint64_t cbpd_controller_id(const struct cbpd_controller *controller)
{
    return controller->id;
}

struct cbpd_controller *cbpd_controller_create(void)
{
    KIRQL irql;
    struct cbpd_controller *controller = cbpd_pool_allocate(sizeof *controller);
    if (!controller)
        return NULL;
    controller->pid = (uint32_t) (ULONG_PTR) PsGetCurrentProcessId();
    if (!NT_SUCCESS(PsLookupProcessByProcessId(PsGetCurrentProcessId(), &controller->process)))
        controller->process = NULL;
    (void) cbpd_books_lock();
    KeAcquireSpinLock(&all.lock, &irql);
    controller->id = ++all.last_id;
    InsertTailList(&all.controllers, &controller->link);
    KeReleaseSpinLock(&all.lock, irql);
    cbpd_books_unlock();
    return controller;
}

bool cbpd_controller_is_open(const struct cbpd_controller *controller)
{
    return !controller->is_closing;
}

void cbpd_controller_shut(struct cbpd_controller *controller)
{
    controller->is_closing = true;
}

void cbpd_controller_free(struct cbpd_controller *controller)
{
    KIRQL irql;
    (void) cbpd_books_lock();
    KeAcquireSpinLock(&all.lock, &irql);
    RemoveEntryList(&controller->link);
    KeReleaseSpinLock(&all.lock, irql);
    cbpd_books_unlock();
    if (controller->process)
        ObDereferenceObject(controller->process);
    cbpd_pool_free(controller);
}

static void forget_process(struct cbpd_controller *controller)
{
    KIRQL irql;
    KeAcquireSpinLock(&all.lock, &irql);
    controller->pid = 0;
    KeReleaseSpinLock(&all.lock, irql);
    controller->is_closing = true;
}

struct cbpd_controller *cbpd_controller_forget_process(uint32_t pid)
{
    for (LIST_ENTRY *entry = all.controllers.Flink; entry != &all.controllers; entry = entry->Flink) {
        struct cbpd_controller *controller = CONTAINING_RECORD(entry, struct cbpd_controller, link);
        if (pid == 0 || controller->pid != pid)
            continue;
        forget_process(controller);
        return controller;
    }
    return NULL;
}

uint32_t cbpd_controller_pid(uint64_t controller_id)
{
    uint32_t pid = 0;
    KIRQL irql;
    KeAcquireSpinLock(&all.lock, &irql);
    for (LIST_ENTRY *entry = all.controllers.Flink; entry != &all.controllers; entry = entry->Flink) {
        const struct cbpd_controller *controller = CONTAINING_RECORD(entry, struct cbpd_controller, link);
        if (controller->id == controller_id)
            pid = controller->pid;
    }
    KeReleaseSpinLock(&all.lock, irql);
    return pid;
}
