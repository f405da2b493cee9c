/* Taking processes that run already under the filter. Nothing is injected into them: the system only begins
 * to send their debug events. */
#include "supervisor.h"

#include <string.h>
#include <tlhelp32.h>

__declspec(dllimport) LONG NTAPI NtDebugActiveProcess(HANDLE process, HANDLE debug_object);
__declspec(dllimport) LONG NTAPI NtSetInformationProcess(HANDLE process, int kind, void *data, ULONG size);

enum { DEBUG_FLAGS = 31, DEBUG_INHERIT = 1 };

#define STATUS_PORT_IS_TAKEN ((LONG) 0xc0000048) /* STATUS_PORT_ALREADY_SET */

static struct facts facts;

static uint64_t file_time_now(void)
{
    FILETIME now;
    GetSystemTimePreciseAsFileTime(&now);
    return (uint64_t) now.dwHighDateTime << 32 | now.dwLowDateTime;
}

static HANDLE open_process(uint32_t pid)
{
    const DWORD access = PROCESS_TERMINATE | PROCESS_SUSPEND_RESUME | PROCESS_CREATE_THREAD |
                         PROCESS_VM_OPERATION | PROCESS_VM_READ | PROCESS_VM_WRITE | PROCESS_SET_INFORMATION |
                         PROCESS_QUERY_INFORMATION | SYNCHRONIZE;
    return pid != self.controller_pid && pid != GetCurrentProcessId() ? OpenProcess(access, FALSE, pid)
                                                                      : NULL;
}

static struct image *image_of(const struct facts *of)
{
    return make_image(of->path.bytes, (uint32_t) of->path.size, of->given.bytes, (uint32_t) of->given.size);
}

static uint32_t enter_process(uint32_t pid, HANDLE handle, uint64_t now)
{
    struct process *process = begin_process(pid, find_process(facts.parent_pid));
    if (process == NULL)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    process->handle = handle;
    process->parent_pid = facts.parent_pid;
    process->start_time = read_start_time(handle);
    process->attached = true;
    process->attached_time = now;
    process->image = image_of(&facts);
    if (process->parent != NULL)
        inherit_rules(process, process->parent);
    return 0;
}

/* Why the system does not let us debug a process. */
static uint32_t refusal_of(HANDLE process, LONG status)
{
    BOOL is_debugged = FALSE;
    if (status == STATUS_PORT_IS_TAKEN || (CheckRemoteDebuggerPresent(process, &is_debugged) && is_debugged))
        return CBP_ERROR_BUSY;
    return CBP_ERROR_ACCESS_DENIED;
}

/* Children of theirs are debugged as well; where the system cannot be told so, they are not seen. */
static uint32_t attach_one(uint32_t pid)
{
    ULONG inherit = DEBUG_INHERIT;
    uint32_t error = CBP_ERROR_ACCESS_DENIED;
    HANDLE handle = open_process(pid);
    if (handle == NULL)
        return GetLastError() == ERROR_INVALID_PARAMETER ? CBP_ERROR_INVALID_PARAMETER
                                                         : CBP_ERROR_ACCESS_DENIED;
    if (!read_facts(handle, &facts))
        goto cleanup;
    LONG status = NtDebugActiveProcess(handle, self.debug_object);
    error = status < 0 ? refusal_of(handle, status) : 0;
    if (error != 0)
        goto cleanup;
    (void) NtSetInformationProcess(handle, DEBUG_FLAGS, &inherit, sizeof inherit);
    error = enter_process(pid, handle, file_time_now());
    if (error != 0)
        (void) DebugActiveProcessStop(pid);
cleanup:
    if (error != 0)
        CloseHandle(handle);
    return error;
}

static bool descends_from(const struct process *process, uint32_t pid)
{
    while (process != NULL && process->pid != pid)
        process = process->parent;
    return process != NULL;
}

/* A parent's id may belong to a younger process by now. */
static bool is_parent(const struct process *parent, uint32_t pid)
{
    HANDLE handle = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, pid);
    uint64_t start_time = handle != NULL ? read_start_time(handle) : 0;
    if (handle != NULL)
        CloseHandle(handle);
    return start_time >= parent->start_time;
}

/* One look at all processes: attaches children of the root's tree that are not debugged yet. Gives how many.
 * One that cannot be had is left alone. */
static uint32_t attach_new_children(uint32_t root_pid)
{
    PROCESSENTRY32W entry = {.dwSize = sizeof entry};
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    uint32_t count = 0;
    for (BOOL more = Process32FirstW(snapshot, &entry); more; more = Process32NextW(snapshot, &entry)) {
        const struct process *parent = find_process(entry.th32ParentProcessID);
        if (find_process(entry.th32ProcessID) == NULL && parent != NULL && descends_from(parent, root_pid) &&
            is_parent(parent, entry.th32ProcessID))
            count += attach_one(entry.th32ProcessID) == 0;
    }
    CloseHandle(snapshot);
    return count;
}

static uint32_t attach_tree(uint32_t pid, bool children)
{
    uint32_t error = find_process(pid) == NULL ? attach_one(pid) : 0;
    while (error == 0 && children && attach_new_children(pid) > 0) {
    }
    return error;
}

uint32_t attach_process(uint32_t pid, uint64_t start_time, bool children)
{
    HANDLE handle = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, pid);
    uint64_t found = handle != NULL ? read_start_time(handle) : 0;
    if (handle != NULL)
        CloseHandle(handle);
    return found != start_time ? CBP_ERROR_INVALID_PARAMETER : attach_tree(pid, children);
}

static enum attachment wish_for(uint32_t pid, struct rule_set *set, uint32_t wanted_rule_id)
{
    HANDLE handle = open_process(pid);
    struct image *image = NULL;
    if (handle != NULL && is_own_user(handle) && read_facts(handle, &facts))
        image = image_of(&facts);
    enum attachment wish = image != NULL ? attachment_for(image, set, wanted_rule_id) : ATTACH_NOTHING;
    release_image(image);
    if (handle != NULL)
        CloseHandle(handle);
    return wish;
}

void attach_matching(struct rule_set *set, uint32_t wanted_rule_id)
{
    PROCESSENTRY32W entry = {.dwSize = sizeof entry};
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    for (BOOL more = Process32FirstW(snapshot, &entry); more; more = Process32NextW(snapshot, &entry)) {
        uint32_t pid = entry.th32ProcessID;
        enum attachment wish =
            find_process(pid) == NULL ? wish_for(pid, set, wanted_rule_id) : ATTACH_NOTHING;
        if (wish != ATTACH_NOTHING)
            (void) attach_tree(pid, wish == ATTACH_TREE);
    }
    CloseHandle(snapshot);
}
