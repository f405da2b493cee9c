/* Preloaded into the supervisor, and active only there: lets allocations fail. FAIL_AT=N is the first that
 * does (from 1 on; 0: none), FAIL_COUNT how many do. At the end of the process their number is written to
 * FAIL_LOG. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static bool is_active;
static unsigned long first, last;
static atomic_ulong called;

static unsigned long number(const char *name)
{
    const char *text = getenv(name);
    return text != NULL ? strtoul(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void begin(void)
{
    first = number("FAIL_AT");
    last = first + number("FAIL_COUNT");
    is_active = strcmp(program_invocation_short_name, "cbprocess-supervisor") == 0;
}

__attribute__((destructor)) static void end(void)
{
    char text[32];
    const char *log = getenv("FAIL_LOG");
    int file = is_active && log != NULL ? open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
    int size = snprintf(text, sizeof text, "%lu", (unsigned long) called);
    if (file >= 0)
        (void) !write(file, text, (size_t) size);
}

static bool fails(void)
{
    if (!is_active)
        return false;
    unsigned long call = atomic_fetch_add(&called, 1) + 1;
    bool failing = first != 0 && call >= first && call < last;
    if (failing)
        errno = ENOMEM;
    return failing;
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
