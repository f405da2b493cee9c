/* Walks over all processes (platform.h). Facts that another user's process does not show stay empty, as in
 * the system's own tools. */
#include "platform.h"

#include "errors.h"
#include "memory.h"
#include "os_error.h"
#include "windows_api.h"

#include <stdlib.h>
#include <string.h>
#include <tlhelp32.h>

/* This memory is for one process at a time. */
struct scratch {
    uint16_t units[CBPI_PATH_UNITS_MAX + 32];
    char name[3 * CBPI_PATH_UNITS_MAX];
    char arguments[3 * CBPI_PATH_UNITS_MAX + 1];
};

static size_t name_of(HANDLE process, const PROCESSENTRY32W *entry, struct scratch *scratch, uint32_t *flags)
{
    uint32_t count = process ? cbpd_read_program_path(process, 0, scratch->units, CBPI_PATH_UNITS_MAX) : 0;
    if (count > 0)
        return cbpd_wtf8_encode(scratch->units, count, scratch->name);
    *flags |= CBP_SNAPSHOT_FLAG_SHORT_NAME;
    count = (uint32_t) wcsnlen(entry->szExeFile, MAX_PATH);
    memcpy(scratch->units, entry->szExeFile, count * sizeof scratch->units[0]);
    return cbpd_wtf8_encode(scratch->units, count, scratch->name);
}

/* Gives the command line, with its NUL. */
static size_t arguments_of(HANDLE process, uint32_t process_id, struct scratch *scratch)
{
    size_t count = cbpd_read_command_line(process, process_id, scratch->units,
                                          sizeof scratch->units / sizeof scratch->units[0]);
    if (count == 0)
        return 0;
    size_t size = cbpd_wtf8_encode(scratch->units, count, scratch->arguments);
    scratch->arguments[size] = '\0';
    return size + 1;
}

typedef uint32_t (*visitor)(void *context, const struct cbpi_process_facts *facts);

static uint32_t visit_one(const PROCESSENTRY32W *entry, uint32_t with_arguments, struct scratch *scratch,
                          visitor visit, void *context)
{
    HANDLE process = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, entry->th32ProcessID);
    struct cbpi_process_facts facts = {.process_id = entry->th32ProcessID,
                                       .parent_process_id = entry->th32ParentProcessID,
                                       .thread_count = entry->cntThreads,
                                       .name = scratch->name,
                                       .arguments = scratch->arguments};
    if (process)
        facts.start_time = cbpd_read_start_time(process);
    facts.name_size = name_of(process, entry, scratch, &facts.flags);
    facts.arguments_size = with_arguments ? arguments_of(process, facts.process_id, scratch) : 0;
    if (process)
        CloseHandle(process);
    return visit(context, &facts);
}

static int by_id(const void *left, const void *right)
{
    DWORD one = ((const PROCESSENTRY32W *) left)->th32ProcessID;
    DWORD other = ((const PROCESSENTRY32W *) right)->th32ProcessID;
    return one < other ? -1 : one > other;
}

static uint32_t list_processes(PROCESSENTRY32W **entries, size_t *count)
{
    PROCESSENTRY32W *list = NULL, entry = {.dwSize = sizeof entry};
    size_t used = 0;
    uint64_t capacity = 0;
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
    if (snapshot == INVALID_HANDLE_VALUE)
        return cbpi_fail_os(GetLastError(), "the processes cannot be listed");
    for (BOOL more = Process32FirstW(snapshot, &entry); more; more = Process32NextW(snapshot, &entry)) {
        PROCESSENTRY32W *grown = cbpi_grow(list, sizeof *grown, used + 1, &capacity);
        if (!grown) {
            free(list);
            CloseHandle(snapshot);
            return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a list of the processes");
        }
        list = grown;
        list[used++] = entry;
    }
    CloseHandle(snapshot);
    *entries = list;
    *count = used;
    return 0;
}

uint32_t cbpi_processes_visit(uint32_t with_arguments, visitor visit, void *context)
{
    PROCESSENTRY32W *entries = NULL;
    size_t count = 0;
    uint32_t error = list_processes(&entries, &count);
    struct scratch *scratch = malloc(sizeof *scratch);
    if (error == 0 && !scratch)
        error = cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a list of the processes");
    if (count > 0)
        qsort(entries, count, sizeof *entries, by_id);
    for (size_t i = 0; error == 0 && i < count; i++)
        if (entries[i].th32ProcessID != 0) /* the idle time of the processors */
            error = visit_one(&entries[i], with_arguments, scratch, visit, context);
    free(scratch);
    free(entries);
    return error;
}
