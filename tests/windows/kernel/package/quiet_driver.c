/* Is a driver that does nothing, for tests of installing. It can be told at its build to lack the function that
 * lets the system unload it (WITHOUT_UNLOAD), or to refuse its start (WITH_REFUSAL). */
#include <ddk/wdm.h>

#ifndef WITHOUT_UNLOAD
static VOID WINAPI unload(DRIVER_OBJECT *driver)
{
    (void) driver;
}
#endif

NTSTATUS WINAPI DriverEntry(DRIVER_OBJECT *driver, UNICODE_STRING *path)
{
    (void) path;
#ifdef WITH_REFUSAL
    return STATUS_INSUFFICIENT_RESOURCES;
#endif
#ifndef WITHOUT_UNLOAD
    driver->DriverUnload = unload;
#else
    (void) driver;
#endif
    return STATUS_SUCCESS;
}
