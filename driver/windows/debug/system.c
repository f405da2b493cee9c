/* Puts together what events tell of a process, hides the debugger in it, and has the clock of deadlines.
 * Knows no rules and no events. */
#include <string.h>

#include "cbp_wtf8.h"
#include "debugger.h"

/* Source: winternl.h, and Microsoft's phnt-like documentation of NtQueryInformationProcess. */
enum { WOW64_INFORMATION = 26 };
enum { BEING_DEBUGGED_OFFSET = 2 };
enum { THREAD_32_OFFSET_OFFSET = 0x180c, ENVIRONMENT_32_OFFSET = 0x30 }; /* in thread blocks */
enum { LOWEST_ADDRESS = 0x10000 };

static bool put_units(struct text *text, const uint16_t *units, size_t count)
{
    text->size = 0;
    if (!text_reserve(text, 3 * count + 1))
        return false;
    text->size = cbpd_wtf8_encode(units, count, text->bytes);
    return true;
}

static uint16_t units[PATH_UNITS_MAX];

static bool read_text(HANDLE process, uint64_t parameters, enum cbpd_text_place place, struct text *text)
{
    struct cbpd_system_text found;
    text->size = 0;
    return cbpd_find_text(process, parameters, place, &found) && found.size / 2 <= PATH_UNITS_MAX &&
           cbpd_read_memory(process, found.address, units, found.size & ~1u) &&
           put_units(text, units, found.size / 2);
}

/* Reads a file's full name on its volume, which begins with a drive letter, a volume or a device. */
static bool read_file_name(HANDLE file, struct text *path)
{
    static const DWORD kinds[] = {VOLUME_NAME_DOS, VOLUME_NAME_GUID, VOLUME_NAME_NT};
    static const WCHAR prefix[] = {'\\', '\\', '?', '\\'}, share[] = {'U', 'N', 'C', '\\'};
    for (uint32_t i = 0; i < 3; i++) {
        DWORD count = GetFinalPathNameByHandleW(file, (WCHAR *) units, PATH_UNITS_MAX, kinds[i]), skipped = 0;
        if (count == 0 || count >= PATH_UNITS_MAX)
            continue;
        bool is_prefixed = kinds[i] == VOLUME_NAME_DOS && memcmp(units, prefix, sizeof prefix) == 0;
        if (is_prefixed && memcmp(units + 4, share, sizeof share) == 0)
            units[skipped = 6] = '\\'; /* \\?\UNC\host becomes \\host */
        else if (is_prefixed)
            skipped = 4;
        return put_units(path, units + skipped, count - skipped);
    }
    return false;
}

/* Reads the process's own name of its image; its file may have been opened by an abbreviated name. */
static bool read_image_name(HANDLE process, struct text *path)
{
    uint32_t count = cbpd_read_program_path(process, 0, units, PATH_UNITS_MAX);
    if (count > 0) {
        static WCHAR full[PATH_UNITS_MAX];
        DWORD longer = GetLongPathNameW((const WCHAR *) units, full, PATH_UNITS_MAX);
        return longer > 0 && longer < PATH_UNITS_MAX ? put_units(path, (const uint16_t *) full, longer)
                                                     : put_units(path, units, count);
    }
    count = cbpd_read_program_path(process, PROCESS_NAME_NATIVE, units, PATH_UNITS_MAX);
    return count > 0 && put_units(path, units, count);
}

bool cbpd_read_facts(HANDLE process, HANDLE file, struct facts *facts)
{
    struct cbpd_basic_information basic;
    facts->path.size = facts->given.size = facts->command_line.size = 0;
    /* The first use takes all memory that it can ever need: a name without memory would match no rule. */
    facts->is_lacking = !text_reserve(&facts->path, NAME_SIZE_MAX) ||
                        !text_reserve(&facts->given, NAME_SIZE_MAX) ||
                        !text_reserve(&facts->command_line, NAME_SIZE_MAX);
    if (facts->is_lacking)
        return false;
    if (!cbpd_read_basic_information(process, &basic))
        return false;
    facts->parent_pid = basic.parent_pid;
    if ((!file || !read_file_name(file, &facts->path)) && !read_image_name(process, &facts->path))
        facts->path.size = 0;
    uint64_t parameters = cbpd_read_parameters(process, basic.environment_block);
    (void) read_text(process, parameters, CBPD_IMAGE_PATH, &facts->given);
    (void) read_text(process, parameters, CBPD_COMMAND_LINE, &facts->command_line);
    return true;
}

/* Gives a 32-bit program's second environment block, at which it looks itself; 0: there is none. Wine only
 * says that there is one; then the thread's own block leads to it. */
static uint64_t environment_block_32(HANDLE process, const void *thread_block)
{
    uintptr_t found = 0;
    int32_t offset = 0;
    uint32_t block = 0;
    uint64_t thread = (uint64_t) (uintptr_t) thread_block;
    if (NtQueryInformationProcess(process, WOW64_INFORMATION, &found, sizeof found, NULL) < 0 ||
        found >= LOWEST_ADDRESS || found == 0)
        return found;
    if (!cbpd_read_memory(process, thread + THREAD_32_OFFSET_OFFSET, &offset, sizeof offset) ||
        !cbpd_read_memory(process, thread + (uint64_t) (int64_t) offset + ENVIRONMENT_32_OFFSET, &block,
                          sizeof block))
        return 0;
    return block;
}

/* The loader reads this byte to decide whether to check the heap and to stop at a breakpoint.
 * IsDebuggerPresent() answers with it. */
void cbpd_hide_debugger(HANDLE process, const void *thread_block)
{
    struct cbpd_basic_information basic;
    uint64_t block32 = environment_block_32(process, thread_block);
    const unsigned char no = 0;
    if (cbpd_read_basic_information(process, &basic))
        (void) WriteProcessMemory(
            process, (void *) (uintptr_t) (basic.environment_block + BEING_DEBUGGED_OFFSET), &no, 1, NULL);
    if (block32 != 0)
        (void) WriteProcessMemory(process, (void *) (uintptr_t) (block32 + BEING_DEBUGGED_OFFSET), &no, 1,
                                  NULL);
}

HANDLE cbpd_open_process(struct debugger *self, uint32_t pid)
{
    const DWORD access = PROCESS_TERMINATE | PROCESS_SUSPEND_RESUME | PROCESS_CREATE_THREAD |
                         PROCESS_VM_OPERATION | PROCESS_VM_READ | PROCESS_VM_WRITE | PROCESS_SET_INFORMATION |
                         PROCESS_QUERY_INFORMATION | SYNCHRONIZE;
    return pid != self->controller_pid && pid != GetCurrentProcessId() ? OpenProcess(access, FALSE, pid)
                                                                       : NULL;
}

HANDLE cbpd_open_process_to_look(uint32_t pid)
{
    return OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, FALSE, pid);
}

HANDLE cbpd_keep_handle(HANDLE handle)
{
    HANDLE copy = NULL;
    (void) DuplicateHandle(GetCurrentProcess(), handle, GetCurrentProcess(), &copy, 0, FALSE,
                           DUPLICATE_SAME_ACCESS);
    return copy;
}

uint64_t cbpd_raising_function(void)
{
    /* ntdll has one address in all processes. */
    FARPROC function = GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "KiRaiseUserExceptionDispatcher");
    return (uint64_t) (uintptr_t) function;
}

bool cbpd_checks_handles_strictly(HANDLE process)
{
    PROCESS_MITIGATION_STRICT_HANDLE_CHECK_POLICY policy = {0};
    return process &&
           GetProcessMitigationPolicy(process, ProcessStrictHandleCheckPolicy, &policy, sizeof policy) &&
           policy.RaiseExceptionOnInvalidHandleReference != 0;
}

/* Reads the user of a process into memory that the caller has aligned. */
static bool read_user(HANDLE process, TOKEN_USER *user, DWORD size)
{
    HANDLE token;
    if (!OpenProcessToken(process, TOKEN_QUERY, &token))
        return false;
    BOOL done = GetTokenInformation(token, TokenUser, user, size, &size);
    CloseHandle(token);
    return done != 0;
}

bool cbpd_is_own_user(HANDLE process)
{
    union {
        TOKEN_USER user;
        unsigned char space[sizeof(TOKEN_USER) + SECURITY_MAX_SID_SIZE];
    } own, other;
    return read_user(GetCurrentProcess(), &own.user, sizeof own) &&
           read_user(process, &other.user, sizeof other) && EqualSid(own.user.User.Sid, other.user.User.Sid);
}

uint64_t cbpd_now_ns(void)
{
    static LARGE_INTEGER frequency;
    LARGE_INTEGER value;
    if (frequency.QuadPart == 0)
        QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&value);
    uint64_t per_second = (uint64_t) frequency.QuadPart, ticks = (uint64_t) value.QuadPart;
    return ticks / per_second * CBP_NS_PER_S + ticks % per_second * CBP_NS_PER_S / per_second;
}
