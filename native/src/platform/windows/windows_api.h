/* Includes the system's header, once, with what this library needs of it and nothing more; and offers what
 * several files do with texts and processes of the system. */
#ifndef CBPI_WINDOWS_API_H
#define CBPI_WINDOWS_API_H

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include "cbp_wtf8.h"

#include <stdbool.h>

#define CBPI_PATH_UNITS_MAX 32768u

__declspec(dllimport) LONG NTAPI
    NtQueryInformationProcess(HANDLE process, int kind, void *data, ULONG size, ULONG *written);

/* Structures of 64-bit processes keep a text like this. */
struct cbpi_system_text {
    USHORT size; /* in bytes */
    USHORT capacity;
    WCHAR *units;
};

/* Gives the text as UTF-16 with a NUL, in memory that the caller frees. CBP_ERROR_NOT_ENOUGH_MEMORY,
 * CBP_ERROR_INVALID_PARAMETER if it is not UTF-8. */
uint32_t cbpi_wide_text(const char *text, WCHAR **wide);

/* Gives count units of a text by the buffer rules of cbpi_copy_text(). */
uint32_t cbpi_copy_wide_text(const WCHAR *units, size_t count, char *buffer, uint64_t size, uint64_t *needed);

/* Gives the start time in the unit of cbp_event.start_time. */
bool cbpi_start_time_of(HANDLE process, uint64_t *start_time);

bool cbpi_read_memory(HANDLE process, const void *address, void *data, size_t size);

/* Finds where a process keeps its command line. */
bool cbpi_find_command_line(HANDLE process, struct cbpi_system_text *found);

#endif
