/* Finds routines of the kernel at run time and calls them. Knows nothing of cbprocess but its memory's tag and
 * its error codes. */
#include "system.h"

#include "cbp_constants.h"

/* As the pool's tools show it: "Cbpr". */
#define POOL_TAG 0x72706243ul

/* POOL_FLAG_NON_PAGED. Memory of this pool is all 0, and no code runs in it. */
#define POOL_FLAGS UINT64_C(0x40)

/* FileNormalizedNameInformation, which begins with the size of the name that follows. */
#define NORMALIZED_NAME 48

/* PsCreateProcessNotifySubsystems. */
#define NOTIFY_OF_SUBSYSTEMS 0

typedef PVOID(NTAPI *allocate_pool)(ULONG64 flags, SIZE_T size, ULONG tag);
typedef NTSTATUS(NTAPI *set_process_routine)(ULONG kind, PVOID routine, BOOLEAN remove);
typedef NTSTATUS(NTAPI *query_system)(ULONG information_class, PVOID buffer, ULONG size, PULONG needed);
typedef NTSTATUS(NTAPI *query_file)(HANDLE file, PIO_STATUS_BLOCK status, PVOID buffer, ULONG size,
                                    ULONG information_class);
typedef LARGE_INTEGER(NTAPI *query_counter)(PLARGE_INTEGER frequency);
typedef VOID(NTAPI *query_time)(PLARGE_INTEGER time);

/* Written by cbpd_system_find() alone, before anything else of the driver runs. */
static struct {
    allocate_pool allocate_pool;             /* Windows 10 2004 */
    set_process_routine set_process_routine; /* Windows 10 1703; NULL: the one for Win32 processes alone */
    query_system query_system;               /* not in every header */
    query_file query_file;                   /* NULL: abbreviated names stay as they are */
    query_counter query_counter;             /* moved from the HAL to the kernel with Windows 10 2004 */
    query_time query_time;                   /* an inline function of some headers reads fixed addresses */
} found;

static void *find(const WCHAR *name)
{
    UNICODE_STRING text;
    RtlInitUnicodeString(&text, name);
    return MmGetSystemRoutineAddress(&text);
}

bool cbpd_system_find(void)
{
    found.allocate_pool = (allocate_pool) (ULONG_PTR) find(L"ExAllocatePool2");
    found.set_process_routine = (set_process_routine) (ULONG_PTR) find(L"PsSetCreateProcessNotifyRoutineEx2");
    found.query_system = (query_system) (ULONG_PTR) find(L"ZwQuerySystemInformation");
    found.query_file = (query_file) (ULONG_PTR) find(L"ZwQueryInformationFile");
    found.query_counter = (query_counter) (ULONG_PTR) find(L"KeQueryPerformanceCounter");
    found.query_time = (query_time) (ULONG_PTR) find(L"KeQuerySystemTimePrecise");
    return found.query_system && found.query_counter && found.query_time;
}

void *cbpd_system_allocate(size_t size)
{
    if (found.allocate_pool)
        return found.allocate_pool(POOL_FLAGS, size, POOL_TAG);
#if defined(_MSC_VER)
#pragma warning(suppress : 4996) /* deprecated, and all that versions before 2004 have */
#endif
    void *memory = ExAllocatePoolWithTag(NonPagedPoolNx, size, POOL_TAG);
    if (memory)
        memset(memory, 0, size);
    return memory;
}

void cbpd_system_free(void *memory)
{
    ExFreePoolWithTag(memory, POOL_TAG);
}

uint64_t cbpd_system_ticks(uint64_t *per_second)
{
    LARGE_INTEGER frequency, ticks = found.query_counter(&frequency);
    *per_second = (uint64_t) frequency.QuadPart;
    return (uint64_t) ticks.QuadPart;
}

uint64_t cbpd_system_time(void)
{
    LARGE_INTEGER time;
    found.query_time(&time);
    return (uint64_t) time.QuadPart;
}

NTSTATUS cbpd_system_notify_processes(PCREATE_PROCESS_NOTIFY_ROUTINE_EX routine, BOOLEAN remove)
{
    if (found.set_process_routine)
        return found.set_process_routine(NOTIFY_OF_SUBSYSTEMS, (PVOID) (ULONG_PTR) routine, remove);
    return PsSetCreateProcessNotifyRoutineEx(routine, remove);
}

NTSTATUS cbpd_system_information(ULONG information_class, void *buffer, ULONG size, ULONG *needed)
{
    return found.query_system(information_class, buffer, size, needed);
}

/* name has room for the size in front of it. */
static NTSTATUS read_name(HANDLE handle, WCHAR *name, ULONG size, ULONG *name_size)
{
    IO_STATUS_BLOCK io;
    NTSTATUS status = found.query_file(handle, &io, name, size, NORMALIZED_NAME);
    if (!NT_SUCCESS(status))
        return status;
    memcpy(name_size, name, sizeof *name_size);
    if (*name_size > size - sizeof *name_size)
        return STATUS_BUFFER_OVERFLOW;
    memmove(name, (const char *) name + sizeof *name_size, *name_size);
    return STATUS_SUCCESS;
}

NTSTATUS cbpd_system_file_name(PFILE_OBJECT file, WCHAR *name, ULONG size, ULONG *name_size)
{
    HANDLE handle;
    if (!file || !found.query_file)
        return STATUS_NOT_SUPPORTED;
    NTSTATUS status = ObOpenObjectByPointer(file, OBJ_KERNEL_HANDLE, NULL, 0, NULL, KernelMode, &handle);
    if (!NT_SUCCESS(status))
        return status;
    status = read_name(handle, name, size, name_size);
    (void) ZwClose(handle);
    return status;
}

uint32_t cbpd_error_of(NTSTATUS status)
{
    static const struct {
        NTSTATUS status;
        uint32_t error;
    } rows[] = {
        {STATUS_ACCESS_DENIED, CBP_ERROR_ACCESS_DENIED},
        {STATUS_INSUFFICIENT_RESOURCES, CBP_ERROR_NOT_ENOUGH_MEMORY},
        {STATUS_NO_MEMORY, CBP_ERROR_NOT_ENOUGH_MEMORY},
        {STATUS_FLT_INSTANCE_ALTITUDE_COLLISION, CBP_ERROR_ALREADY_EXISTS},
        {STATUS_INVALID_PARAMETER, CBP_ERROR_INVALID_PARAMETER},
    };
    if (NT_SUCCESS(status))
        return 0;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].status == status)
            return rows[i].error;
    return CBP_ERROR_GEN_FAILURE;
}
