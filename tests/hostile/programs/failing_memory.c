/* Preloaded into the helper, and active only there: lets allocations fail. FAIL_AT=N is the first that
 * does (from 1 on; 0: none), FAIL_COUNT how many do. At the end of the process it is written to FAIL_LOG how
 * many there were, and how many of them failed. With AT_RISK=1 the helper cannot watch for what might
 * keep it waiting, so that it believes there is something. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static bool is_active, is_at_risk;
static unsigned long first, last;
static atomic_ulong called, failed;

static unsigned long number(const char *name)
{
    const char *text = getenv(name);
    return text != NULL ? strtoul(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void begin(void)
{
    first = number("FAIL_AT");
    last = first + number("FAIL_COUNT");
    is_at_risk = number("AT_RISK") != 0;
    is_active = strcmp(program_invocation_short_name, "cbprocess-ptrace") == 0;
}

__attribute__((destructor)) static void end(void)
{
    char text[64];
    const char *log = getenv("FAIL_LOG");
    int file = is_active && log != NULL ? open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
    int size = snprintf(text, sizeof text, "%lu %lu", (unsigned long) called, (unsigned long) failed);
    if (file >= 0)
        (void) !write(file, text, (size_t) size);
}

static bool fails(void)
{
    if (!is_active)
        return false;
    unsigned long call = atomic_fetch_add(&called, 1) + 1;
    bool failing = first != 0 && call >= first && call < last;
    if (failing) {
        atomic_fetch_add(&failed, 1);
        errno = ENOMEM;
    }
    return failing;
}

int inotify_init1(int flags)
{
    if (is_active && is_at_risk) {
        errno = EMFILE;
        return -1;
    }
    return (int) syscall(SYS_inotify_init1, flags);
}

void *malloc(size_t size)
{
    return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    return fails() ? NULL : __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : __libc_memalign(alignment, size);
}
