/* Implements platform.h on Windows: clock, locks, threads, the library's own folder. Processes are in
 * process_windows.c. */
#include "platform.h"

#include "errors.h"
#include "os_error.h"
#include "windows_api.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct cbpi_mutex) == sizeof(SRWLOCK), "a mutex holds an SRWLOCK");
_Static_assert(sizeof(struct cbpi_condition) == sizeof(CONDITION_VARIABLE),
               "a condition holds a CONDITION_VARIABLE");

uint64_t cbpi_now_ns(void)
{
    static LONGLONG frequency; /* the same from boot to shutdown: to ask twice at once does no harm */
    LARGE_INTEGER value;
    LONGLONG per_second = frequency;
    if (per_second == 0) {
        QueryPerformanceFrequency(&value);
        frequency = per_second = value.QuadPart;
    }
    QueryPerformanceCounter(&value);
    uint64_t seconds = (uint64_t) (value.QuadPart / per_second);
    uint64_t rest = (uint64_t) (value.QuadPart % per_second);
    return seconds * CBP_NS_PER_S + rest * CBP_NS_PER_S / (uint64_t) per_second;
}

uint64_t cbpi_wall_ns(void)
{
    return cbpd_wall_ns();
}

static SRWLOCK *lock_of(struct cbpi_mutex *mutex)
{
    return (SRWLOCK *) (void *) &mutex->lock;
}

static CONDITION_VARIABLE *variable_of(struct cbpi_condition *condition)
{
    return (CONDITION_VARIABLE *) (void *) &condition->variable;
}

void cbpi_mutex_init(struct cbpi_mutex *mutex)
{
    InitializeSRWLock(lock_of(mutex));
}

void cbpi_mutex_destroy(struct cbpi_mutex *mutex)
{
    (void) mutex; /* nothing is kept anywhere else */
}

void cbpi_mutex_lock(struct cbpi_mutex *mutex)
{
    AcquireSRWLockExclusive(lock_of(mutex));
}

void cbpi_mutex_unlock(struct cbpi_mutex *mutex)
{
    ReleaseSRWLockExclusive(lock_of(mutex));
}

bool cbpi_mutex_try_lock(struct cbpi_mutex *mutex)
{
    return TryAcquireSRWLockExclusive(lock_of(mutex)) != 0;
}

void cbpi_condition_init(struct cbpi_condition *condition)
{
    InitializeConditionVariable(variable_of(condition));
}

void cbpi_condition_destroy(struct cbpi_condition *condition)
{
    (void) condition;
}

void cbpi_condition_broadcast(struct cbpi_condition *condition)
{
    WakeAllConditionVariable(variable_of(condition));
}

void cbpi_condition_signal(struct cbpi_condition *condition)
{
    WakeConditionVariable(variable_of(condition));
}

void cbpi_condition_wait_until(struct cbpi_condition *condition, struct cbpi_mutex *mutex,
                               uint64_t deadline_ns)
{
    uint64_t now_ns = cbpi_now_ns();
    uint64_t left_ms = deadline_ns > now_ns ? (deadline_ns - now_ns + CBP_NS_PER_MS - 1) / CBP_NS_PER_MS : 0;
    DWORD wait_ms = left_ms < INFINITE ? (DWORD) left_ms : INFINITE - 1;
    SleepConditionVariableSRW(variable_of(condition), lock_of(mutex), wait_ms, 0);
}

static DWORD WINAPI thread_entry(void *argument)
{
    struct cbpi_thread *thread = argument;
    thread->body(thread->argument);
    return 0;
}

uint32_t cbpi_thread_start(struct cbpi_thread *thread, void (*body)(void *), void *argument,
                           uint64_t stack_size)
{
    thread->body = body;
    thread->argument = argument;
    thread->handle = CreateThread(NULL, (SIZE_T) stack_size, thread_entry, thread,
                                  STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    return thread->handle ? 0 : cbpi_fail_os(GetLastError(), "cannot start a thread");
}

void cbpi_thread_join(struct cbpi_thread *thread)
{
    WaitForSingleObject(thread->handle, INFINITE);
    CloseHandle(thread->handle);
    thread->handle = NULL;
}

uint32_t cbpi_processor_count(void)
{
    DWORD count = GetActiveProcessorCount(ALL_PROCESSOR_GROUPS);
    return count > 0 ? count : 1;
}

uint32_t cbpi_thread_id(void)
{
    return GetCurrentThreadId();
}

uint32_t cbpi_process_hide(void)
{
    return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "HideController is not possible on Windows");
}

uint32_t cbpi_process_id(void)
{
    return GetCurrentProcessId();
}

uint32_t cbpi_fail_limit(uint32_t code, const char *what)
{
    return cbpi_fail(code, "%s: %s", what, cbp_error_message(code));
}

uint64_t cbpi_process_generation(void)
{
    return 1; /* no process of this system is a fork */
}

void cbpi_on_fork_child(void (*hook)(void))
{
    (void) hook;
}

/* Gives the module that this very function lies in: the DLL, or a program that the core is linked into. */
static HMODULE own_module(void)
{
    HMODULE module = NULL;
    GetModuleHandleExW(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
                       (LPCWSTR) (uintptr_t) &own_module, &module);
    return module;
}

static bool is_file(const char *path)
{
    WCHAR *wide;
    if (cbpi_wide_text(path, &wide) != 0)
        return false;
    DWORD attributes = GetFileAttributesW(wide);
    free(wide);
    return attributes != INVALID_FILE_ATTRIBUTES && !(attributes & FILE_ATTRIBUTE_DIRECTORY);
}

/* Gives the folder of the library, with its backslash. */
static uint32_t find_folder(char *buffer, uint64_t size)
{
    WCHAR *library = malloc(CBPI_PATH_UNITS_MAX * sizeof *library);
    if (!library)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    DWORD count = GetModuleFileNameW(own_module(), library, CBPI_PATH_UNITS_MAX);
    while (count > 0 && library[count - 1] != '\\')
        count--;
    uint32_t error =
        count > 1 ? cbpi_copy_wide_text(library, count, buffer, size, NULL) : CBP_ERROR_FILE_NOT_FOUND;
    free(library);
    return error;
}

uint32_t cbpi_helper_path(const char *program, char *buffer, uint64_t size)
{
    uint32_t error = find_folder(buffer, size);
    if (error != 0)
        return cbpi_fail(error, "cannot find the folder of the library");
    size_t used = strlen(buffer), program_size = strlen(program);
    if (used + program_size + 1 > size)
        return cbpi_fail(CBP_ERROR_FILE_NOT_FOUND, "the path of the library's folder is too long");
    memcpy(buffer + used, program, program_size + 1);
    if (!is_file(buffer))
        return cbpi_fail(CBP_ERROR_FS_DRIVER_REQUIRED, "the program %s is missing from the package", program);
    return 0;
}

const char *cbpi_platform_name(void)
{
#if defined(_M_ARM64) || defined(__aarch64__)
    return "Windows ARM64";
#else
    return "Windows AMD64";
#endif
}
