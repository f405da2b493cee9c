/* Brings world.dll into a new process. Knows nothing of what it does there. */
#include "world.h"

static WCHAR own_path[MAX_PATH];

void world_remember_path(HMODULE module)
{
    (void) GetModuleFileNameW(module, own_path, MAX_PATH);
}

/* Wine loads its libraries at one address in all processes, and runs what is queued for a thread after the
 * libraries of the program are there and before the program begins. */
bool world_enter(HANDLE process, HANDLE thread)
{
    void *load = (void *) (uintptr_t) GetProcAddress(GetModuleHandleW(L"kernel32.dll"), "LoadLibraryW");
    void *path = VirtualAllocEx(process, NULL, sizeof own_path, MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE);
    return path && WriteProcessMemory(process, path, own_path, sizeof own_path, NULL) &&
           NtQueueApcThread(thread, load, path, NULL, NULL) == 0;
}
