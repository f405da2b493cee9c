/* Says for whom a thread runs that makes callbacks: the documentation has them run in the thread that creates a
 * process or thread, that ends, or that asks for a handle. Here it is a thread of winedevice.exe. Knows no
 * callback. */
#include "fire.h"

static uint32_t slot;
static bool has_slot;
static HANDLE(NTAPI *wine_process_id)(void);
static HANDLE(NTAPI *wine_thread_id)(void);

void fire_originator_set(uint32_t pid, uint32_t tid)
{
    if (!has_slot) {
        slot = TlsAlloc();
        has_slot = true;
    }
    TlsSetValue(slot, (void *) ((uint64_t) pid << 32 | tid));
}

static uint64_t originator(void)
{
    return has_slot ? (uint64_t) TlsGetValue(slot) : 0;
}

bool fire_has_originator(void)
{
    return originator() != 0;
}

uint32_t fire_current_pid(void)
{
    uint64_t ids = originator();
    return ids ? (uint32_t) (ids >> 32) : HandleToULong(wine_process_id());
}

uint32_t fire_current_tid(void)
{
    uint64_t ids = originator();
    return ids ? (uint32_t) ids : HandleToULong(wine_thread_id());
}

static HANDLE NTAPI current_process_id(void)
{
    return ULongToHandle(fire_current_pid());
}

static HANDLE NTAPI current_thread_id(void)
{
    return ULongToHandle(fire_current_tid());
}

static const struct fire_export exports[] = {
    {"PsGetCurrentProcessId", current_process_id, (void **) &wine_process_id},
    {"PsGetCurrentThreadId", current_thread_id, (void **) &wine_thread_id},
};

const struct fire_exports fire_originator_exports = {exports, RTL_NUMBER_OF(exports)};
