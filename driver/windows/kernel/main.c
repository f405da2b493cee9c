/* Is where the system loads and unloads the driver. The system unloads it when no handle of the device is open:
 * by then every session has ended, every receive is completed, and no callback is registered. */
#include "outbox.h"

static DRIVER_UNLOAD unload;

static void close_all(void)
{
    cbpd_books_close();
    if (cbpd_pool_count() != 0)
        DbgPrint("cbprocess: %u blocks of memory are lost\n", (unsigned) cbpd_pool_count());
}

static void NTAPI unload(PDRIVER_OBJECT driver)
{
    (void) driver;
    cbpd_device_delete();
    close_all();
}

DRIVER_INITIALIZE DriverEntry;

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING registry_path)
{
    (void) registry_path;
    if (!cbpd_system_find())
        return STATUS_PROCEDURE_NOT_FOUND;
    cbpd_outboxes_open();
    cbpd_deliveries_begin();
    cbpd_workers_begin();
    cbpd_controllers_begin();
    cbpd_arming_begin();
    NTSTATUS status = cbpd_books_open() ? cbpd_device_create(driver) : STATUS_INSUFFICIENT_RESOURCES;
    if (NT_SUCCESS(status))
        driver->DriverUnload = unload;
    else
        close_all();
    return status;
}
