/* Implements process_facts.h. Source: winternl.h, and Microsoft's phnt-like documentation of
 * NtQueryInformationProcess. */
#include "process_facts.h"

#include <string.h>

enum { BASIC_INFORMATION = 0, COMMAND_LINE_INFORMATION = 60, PARAMETERS_OFFSET = 0x20 };

bool cbpd_read_basic_information(HANDLE process, struct cbpd_basic_information *basic)
{
    struct {
        uintptr_t exit_status, environment_block, affinity, priority, pid, parent_pid;
    } found;
    if (NtQueryInformationProcess(process, BASIC_INFORMATION, &found, sizeof found, NULL) < 0)
        return false;
    basic->environment_block = found.environment_block;
    basic->parent_pid = (uint32_t) found.parent_pid;
    return true;
}

bool cbpd_read_memory(HANDLE process, uint64_t address, void *data, size_t size)
{
    SIZE_T got = 0;
    return ReadProcessMemory(process, (const void *) (uintptr_t) address, data, size, &got) && got == size;
}

uint64_t cbpd_read_parameters(HANDLE process, uint64_t environment_block)
{
    uint64_t address;
    return cbpd_read_memory(process, environment_block + PARAMETERS_OFFSET, &address, sizeof address)
               ? address
               : 0;
}

bool cbpd_find_text(HANDLE process, uint64_t parameters, enum cbpd_text_place place,
                    struct cbpd_system_text *found)
{
    return parameters != 0 && cbpd_read_memory(process, parameters + (uint64_t) place, found, sizeof *found);
}

bool cbpd_find_command_line(HANDLE process, struct cbpd_system_text *found)
{
    struct cbpd_basic_information basic;
    return cbpd_read_basic_information(process, &basic) &&
           cbpd_find_text(process, cbpd_read_parameters(process, basic.environment_block), CBPD_COMMAND_LINE,
                          found);
}

static size_t read_command_line_in_memory(uint32_t pid, uint16_t *units, size_t capacity)
{
    struct cbpd_system_text found;
    size_t count = 0;
    HANDLE process = OpenProcess(PROCESS_QUERY_INFORMATION | PROCESS_VM_READ, FALSE, pid);
    if (!process)
        return 0;
    if (cbpd_find_command_line(process, &found) && found.size / 2u <= capacity &&
        cbpd_read_memory(process, found.address, units, found.size))
        count = found.size / 2u;
    CloseHandle(process);
    return count;
}

/* Reads it from the process's own memory where the system does not give it out (before Windows 8.1, Wine). */
size_t cbpd_read_command_line(HANDLE process, uint32_t pid, uint16_t *units, size_t capacity)
{
    ULONG written = 0;
    const struct cbpd_system_text *found = (const void *) units;
    if (!process || NtQueryInformationProcess(process, COMMAND_LINE_INFORMATION, units,
                                              (ULONG) (capacity * sizeof *units), &written) < 0)
        return read_command_line_in_memory(pid, units, capacity);
    size_t count = found->size / 2u;
    memmove(units, (const void *) (uintptr_t) found->address, count * sizeof *units);
    return count;
}

uint32_t cbpd_read_program_path(HANDLE process, DWORD form, uint16_t *units, uint32_t capacity)
{
    DWORD count = capacity;
    return QueryFullProcessImageNameW(process, form, (WCHAR *) units, &count) ? count : 0;
}

static uint64_t number_of(FILETIME time)
{
    return (uint64_t) time.dwHighDateTime << 32 | time.dwLowDateTime;
}

uint64_t cbpd_read_start_time(HANDLE process)
{
    FILETIME created, ended, kernel, user;
    return GetProcessTimes(process, &created, &ended, &kernel, &user) ? number_of(created) : 0;
}

uint64_t cbpd_read_thread_start_time(HANDLE thread)
{
    FILETIME created, ended, kernel, user;
    return GetThreadTimes(thread, &created, &ended, &kernel, &user) ? number_of(created) : 0;
}

uint64_t cbpd_file_time_now(void)
{
    FILETIME now;
    GetSystemTimePreciseAsFileTime(&now);
    return number_of(now);
}

uint64_t cbpd_wall_ns(void)
{
    const uint64_t from_1601_to_1970 = UINT64_C(116444736000000000); /* in units of 100 ns */
    return (cbpd_file_time_now() - from_1601_to_1970) * 100;
}
