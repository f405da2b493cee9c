/* Reads what Windows knows of processes, for the core and the helper, any thread. Knows no rules and no
 * events. Windows is 64-bit wherever this runs; a 32-bit program, too, has a 64-bit process environment block
 * with its texts. */
#ifndef CBPD_PROCESS_FACTS_H
#define CBPD_PROCESS_FACTS_H

#define WIN32_LEAN_AND_MEAN
#define NOMINMAX
#include <windows.h>

#include <stdbool.h>
#include <stdint.h>

/* ntdll has this function. */
__declspec(dllimport) LONG NTAPI
    NtQueryInformationProcess(HANDLE process, int kind, void *data, ULONG size, ULONG *written);

struct cbpd_basic_information {
    uint64_t environment_block; /* its address in the process */
    uint32_t parent_pid;
};

bool cbpd_read_basic_information(HANDLE process, struct cbpd_basic_information *basic);

/* Reads all of so many bytes of a process's memory. */
bool cbpd_read_memory(HANDLE process, uint64_t address, void *data, size_t size);

/* Gives the address of the parameters that a process was started with. 0: not known. */
uint64_t cbpd_read_parameters(HANDLE process, uint64_t environment_block);

/* Processes keep a text like this: a UNICODE_STRING. */
struct cbpd_system_text {
    uint16_t size; /* in bytes */
    uint16_t capacity;
    uint32_t padding;
    uint64_t address; /* of UTF-16 */
};

/* A text stands at this place in the parameters. */
enum cbpd_text_place { CBPD_IMAGE_PATH = 0x60, CBPD_COMMAND_LINE = 0x70 };

bool cbpd_find_text(HANDLE process, uint64_t parameters, enum cbpd_text_place place,
                    struct cbpd_system_text *found);
bool cbpd_find_command_line(HANDLE process, struct cbpd_system_text *found);

/* Reads a command line into units, which have the alignment of a struct cbpd_system_text. Gives how many there
 * are; 0: not known. process (NULL: none) may be asked for limited information. */
size_t cbpd_read_command_line(HANDLE process, uint32_t pid, uint16_t *units, size_t capacity);

/* Reads the path of the program that a process executes, in a form of QueryFullProcessImageNameW. Gives how
 * many units it has; 0: not known. */
uint32_t cbpd_read_program_path(HANDLE process, DWORD form, uint16_t *units, uint32_t capacity);

/* Give the start time in the unit of cbp_event.start_time. 0: not known. */
uint64_t cbpd_read_start_time(HANDLE process);
uint64_t cbpd_read_thread_start_time(HANDLE thread);

uint64_t cbpd_file_time_now(void); /* in that unit, too */
uint64_t cbpd_wall_ns(void);       /* since 1970 */

#endif
