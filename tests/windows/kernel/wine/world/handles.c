/* Says what a handle is of, whatever rights it has. Knows no operation. */
#include "world.h"

#include <string.h>

#define QUERY_LIMITED 0x1000u  /* of a process */
#define QUERY_LIMITED_T 0x800u /* of a thread */

enum { BASIC_INFORMATION = 0, TYPE_INFORMATION = 2 };

struct basic { /* OBJECT_BASIC_INFORMATION */
    ULONG attributes, access;
    ULONG rest[12];
};

static bool is_named(const UNICODE_STRING *name, const WCHAR *wanted)
{
    size_t size = wcslen(wanted) * sizeof *wanted;
    return name->Length == size && memcmp(name->Buffer, wanted, size) == 0;
}

enum object world_object_of(HANDLE handle)
{
    uint64_t buffer[64];
    const UNICODE_STRING *name = (const UNICODE_STRING *) buffer;
    ULONG size;
    if (handle == SELF)
        return A_PROCESS;
    if (handle == THIS_THREAD)
        return A_THREAD;
    if (NtQueryObject(handle, (OBJECT_INFORMATION_CLASS) TYPE_INFORMATION, buffer, sizeof buffer, &size))
        return OTHER_OBJECT;
    return is_named(name, L"Process") ? A_PROCESS : is_named(name, L"Thread") ? A_THREAD : OTHER_OBJECT;
}

uint32_t world_granted_access(HANDLE handle)
{
    struct basic basic = {0};
    ULONG size;
    if (NtQueryObject(handle, (OBJECT_INFORMATION_CLASS) BASIC_INFORMATION, &basic, sizeof basic, &size))
        return 0;
    return basic.access;
}

/* Wine gives a copy of a handle more rights than the handle has, where the object itself allows them. */
static HANDLE copy_for(HANDLE handle, ACCESS_MASK access)
{
    HANDLE copy = NULL;
    return world_duplicate(SELF, handle, SELF, &copy, access, 0, 0) ? NULL : copy;
}

uint32_t world_process_of(HANDLE process)
{
    PROCESS_BASIC_INFORMATION facts = {0};
    HANDLE copy = copy_for(process, QUERY_LIMITED);
    if (!copy)
        return 0;
    NTSTATUS status = NtQueryInformationProcess(copy, ProcessBasicInformation, &facts, sizeof facts, NULL);
    CloseHandle(copy);
    return status ? 0 : (uint32_t) facts.UniqueProcessId;
}

uint32_t world_thread_of(HANDLE thread, uint32_t *pid)
{
    struct thread_facts facts = {0};
    HANDLE copy = copy_for(thread, QUERY_LIMITED_T);
    if (!copy)
        return 0;
    NTSTATUS status = NtQueryInformationThread(copy, (THREADINFOCLASS) 0, &facts, sizeof facts, NULL);
    CloseHandle(copy);
    *pid = (uint32_t) facts.process;
    return status ? 0 : (uint32_t) facts.thread;
}
