/* Puts world.dll's functions in the place of system calls, when a process loads it. Knows none of them. */
#include "world.h"

#include <string.h>

/* A system call of ntdll.dll is a routine of 32 bytes that refers to nothing near it: a copy works anywhere. */
enum { ROUTINE_SIZE = 32, JUMP_SIZE = 12 };

static bool is_routine(const uint8_t *code)
{
    static const uint8_t begin[] = {0x4c, 0x8b, 0xd1, 0xb8}; /* mov r10, rcx; mov eax, number */
    return code && memcmp(code, begin, sizeof begin) == 0;
}

/* mov rax, function; jmp rax */
static void write_jump(uint8_t *code, const void *function)
{
    static const uint8_t move[] = {0x48, 0xb8}, jump[] = {0xff, 0xe0};
    memcpy(code, move, sizeof move);
    memcpy(code + 2, &function, sizeof function);
    memcpy(code + 10, jump, sizeof jump);
}

static bool replace(const struct world_call *call, uint8_t *copy)
{
    uint8_t *code = (uint8_t *) (uintptr_t) GetProcAddress(GetModuleHandleW(L"ntdll.dll"), call->name);
    DWORD previous;
    if (!is_routine(code) || !VirtualProtect(code, JUMP_SIZE, PAGE_EXECUTE_READWRITE, &previous))
        return false;
    memcpy(copy, code, ROUTINE_SIZE);
    *call->system = copy;
    write_jump(code, call->ours);
    return VirtualProtect(code, JUMP_SIZE, previous, &previous);
}

BOOL WINAPI DllMain(HINSTANCE module, DWORD reason, void *reserved)
{
    (void) reserved;
    if (reason != DLL_PROCESS_ATTACH)
        return TRUE;
    uint8_t *copies = VirtualAlloc(NULL, 4096, MEM_COMMIT | MEM_RESERVE, PAGE_EXECUTE_READWRITE);
    if (!copies || !world_open())
        return FALSE;
    DisableThreadLibraryCalls(module);
    world_remember_path(module);
    for (uint32_t i = 0; i < world_call_count; i++)
        if (!replace(&world_calls[i], copies + i * ROUTINE_SIZE))
            return FALSE;
    return TRUE;
}
