/* Carries the contract test to Wine: installs the test's driver as a service, starts it, makes the calls, and
 * takes the service away. A program for Windows, with nothing of Wine in it.
 *
 *     wine_host.exe FOLDER\nt_contract.sys [FOLDER\cbpfire.sys]
 *
 * With the second driver, which is started first, Wine has functions that it lacks otherwise. */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>
#include <winternl.h>

#include "nt_contract.h"

/* The driver reads from this name where it is. */
#define SERVICE L"CBContractWine"
#define SERVICE_WITH_FIRE L"CBContractFire"
#define GROUP L"CBContract" /* Wine has the drivers of a group in one process */

NTSTATUS NTAPI NtCancelIoFileEx(HANDLE file, PIO_STATUS_BLOCK request, PIO_STATUS_BLOCK status);

struct call {
    HANDLE file, event;
    IO_STATUS_BLOCK result;
    NTSTATUS started;
};

static void *open_device(void)
{
    HANDLE file = CreateFileA(CONTRACT_PATH, GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE,
                              NULL, OPEN_EXISTING, FILE_FLAG_OVERLAPPED, NULL);
    return file != INVALID_HANDLE_VALUE ? file : NULL;
}

static void close_file(void *file)
{
    CloseHandle(file);
}

static void *start(void *file, uint32_t code, const void *input, uint32_t input_size, void *output,
                   uint32_t output_size)
{
    struct call *call = calloc(1, sizeof *call);
    call->file = file;
    call->event = CreateEventA(NULL, TRUE, FALSE, NULL);
    call->started = NtDeviceIoControlFile(file, call->event, NULL, NULL, &call->result, code, (void *) input,
                                          input_size, output, output_size);
    return call;
}

static int wait_for(void *memory, uint32_t ms, uint32_t *status, uint32_t *information)
{
    struct call *call = memory;
    if (call->started == STATUS_PENDING && WaitForSingleObject(call->event, ms) != WAIT_OBJECT_0)
        return 0;
    NTSTATUS ended = call->started == STATUS_PENDING ? call->result.Status : call->started;
    *status = (uint32_t) ended;
    *information = (uint32_t) ended >> 30 == 3 ? 0 : (uint32_t) call->result.Information;
    return 1;
}

static void cancel(void *memory)
{
    struct call *call = memory;
    IO_STATUS_BLOCK status;
    (void) NtCancelIoFileEx(call->file, &call->result, &status);
}

static void release(void *memory)
{
    struct call *call = memory;
    uint32_t status, information;
    if (!wait_for(call, 0, &status, &information))
        return; /* its file has gone, and the system may still write to it */
    CloseHandle(call->event);
    free(call);
}

static void say(const char *what)
{
    printf("wine: does not hold: %s\n", what);
}

static uint32_t make_calls(void)
{
    static const struct contract_host host = {open_device, close_file, start, wait_for, cancel, release, say};
    uint32_t checks, failures = contract_calls(&host, &checks);
    printf("wine: %u checks, %u do not hold\n", (unsigned) checks, (unsigned) failures);
    return failures;
}

static SC_HANDLE create_service(SC_HANDLE manager, const WCHAR *name, const WCHAR *file)
{
    WCHAR path[MAX_PATH];
    if (GetFullPathNameW(file, MAX_PATH, path, NULL) == 0)
        return NULL;
    return CreateServiceW(manager, name, name, SERVICE_ALL_ACCESS, SERVICE_KERNEL_DRIVER,
                          SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, path, GROUP, NULL, NULL, NULL, NULL);
}

static uint32_t run_driver(SC_HANDLE service)
{
    SERVICE_STATUS status;
    if (!StartServiceW(service, 0, NULL)) {
        printf("wine: the driver is not loaded: %lu\n", GetLastError());
        return 1;
    }
    uint32_t failures = make_calls();
    if (!ControlService(service, SERVICE_CONTROL_STOP, &status)) {
        printf("wine: the driver is not unloaded: %lu\n", GetLastError());
        failures++;
    }
    return failures;
}

int wmain(int count, wchar_t **arguments)
{
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_ALL_ACCESS);
    if (count < 2 || count > 3 || !manager)
        return 2;
    if (count == 3) {
        SC_HANDLE fire = create_service(manager, L"CbpFire", arguments[2]);
        if (!fire || !StartServiceW(fire, 0, NULL))
            return 2;
        DeleteService(fire); /* once it ends, which is with Wine */
    }
    SC_HANDLE service = create_service(manager, count == 3 ? SERVICE_WITH_FIRE : SERVICE, arguments[1]);
    if (!service)
        return 2;
    uint32_t failures = run_driver(service);
    DeleteService(service);
    CloseServiceHandle(service);
    CloseServiceHandle(manager);
    return failures != 0;
}
