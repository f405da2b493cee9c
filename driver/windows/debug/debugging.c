/* Calls the system's debugger, and does nothing else: the scripted debugger of the tests replaces it
 * (tests/windows/scripted). Knows no processes of the helper and no rules. */
#include "debugger.h"

#include <tlhelp32.h>

__declspec(dllimport) LONG NTAPI NtDebugActiveProcess(HANDLE process, HANDLE debug_object);
__declspec(dllimport) LONG NTAPI NtSetInformationProcess(HANDLE process, int kind, void *data, ULONG size);

typedef LONG(NTAPI *compare_objects)(HANDLE first, HANDLE second);

enum { DEBUG_OBJECT_HANDLE = 30, DEBUG_FLAGS = 31, DEBUG_INHERIT = 1 };

#define STATUS_PORT_NOT_SET ((LONG) 0xc0000353)

bool cbpd_next_debug_event(DEBUG_EVENT *event)
{
    return WaitForDebugEvent(event, 0) != 0;
}

void cbpd_resume_event(uint32_t pid, uint32_t tid, DWORD how)
{
    (void) ContinueDebugEvent(pid, tid, how);
}

bool cbpd_start_debugging(struct debugger *self, HANDLE process)
{
    ULONG inherit = DEBUG_INHERIT;
    if (NtDebugActiveProcess(process, self->debug_object) < 0)
        return false;
    /* If the system cannot be told to debug children, too, a look at all processes finds them (strays.c). */
    (void) NtSetInformationProcess(process, DEBUG_FLAGS, &inherit, sizeof inherit);
    return true;
}

void cbpd_stop_debugging(uint32_t pid)
{
    (void) DebugActiveProcessStop(pid);
}

void cbpd_end_by_force(HANDLE process, UINT status)
{
    (void) TerminateProcess(process, status);
}

enum debugged_by cbpd_who_debugs(struct debugger *self, HANDLE process)
{
    HANDLE object = NULL;
    LONG status = NtQueryInformationProcess(process, DEBUG_OBJECT_HANDLE, &object, sizeof object, NULL);
    if (status < 0 || !object)
        return status == STATUS_PORT_NOT_SET || status >= 0 ? DEBUGGER_NOBODY : DEBUGGER_UNKNOWN;
    FARPROC compare = GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "NtCompareObjects");
    enum debugged_by found = DEBUGGER_UNKNOWN;
    if (compare)
        found = ((compare_objects) (void *) compare)(object, self->debug_object) == 0 ? DEBUGGER_OURSELVES
                                                                                      : DEBUGGER_ANOTHER;
    CloseHandle(object);
    return found;
}

bool cbpd_next_listed_process(struct listing *listing, uint32_t *pid, uint32_t *parent_pid)
{
    PROCESSENTRY32W entry = {.dwSize = sizeof entry};
    bool is_first = !listing->snapshot;
    if (is_first)
        listing->snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    listing->has_failed = listing->snapshot == INVALID_HANDLE_VALUE;
    if (listing->has_failed)
        return false;
    BOOL more =
        is_first ? Process32FirstW(listing->snapshot, &entry) : Process32NextW(listing->snapshot, &entry);
    if (!more)
        CloseHandle(listing->snapshot);
    *pid = entry.th32ProcessID;
    *parent_pid = entry.th32ParentProcessID;
    return more != 0;
}
