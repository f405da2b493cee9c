/* Has functions of newer kernels that Wine lacks, and counts the memory of the driver under test. Knows no
 * callback. Each function's documentation: learn.microsoft.com, "Windows driver API", under its name. */
#include "fire.h"

#include <string.h>

#define POOL_FLAG_NON_PAGED_ UINT64_C(0x40)
#define POOL_FLAGS_KNOWN UINT64_C(0x4ff)

static uint32_t blocks; /* with the tag that is counted */

/* The tag of cbprocess.sys as the pool's tools show it. */
static const ULONG counted_tag = 'rpbC';

static void *(NTAPI *wine_allocate)(POOL_TYPE type, SIZE_T size, ULONG tag);
static void(NTAPI *wine_free)(void *memory, ULONG tag);

static void count(ULONG tag, LONG by)
{
    if (tag != counted_tag)
        return;
    fire_lock();
    blocks += (uint32_t) by;
    fire_unlock();
}

static void *NTAPI allocate(POOL_TYPE type, SIZE_T size, ULONG tag)
{
    if (tag == counted_tag && type != 512) /* NonPagedPoolNx */
        fire_violation("ExAllocatePoolWithTag: memory that no code runs in is of NonPagedPoolNx");
    void *memory = wine_allocate(type, size, tag);
    if (memory)
        count(tag, 1);
    return memory;
}

/* The memory is all 0. A tag of 0, no size and flags that are unknown are errors. */
static void *NTAPI allocate_2(uint64_t flags, SIZE_T size, ULONG tag)
{
    if (tag == 0 || size == 0 || !(flags & POOL_FLAG_NON_PAGED_) || flags & ~POOL_FLAGS_KNOWN) {
        fire_violation("ExAllocatePool2: it has a tag, a size and known flags");
        return NULL;
    }
    void *memory = wine_allocate(NonPagedPool, size, tag);
    if (!memory)
        return NULL;
    memset(memory, 0, size);
    count(tag, 1);
    return memory;
}

static void NTAPI free_memory(void *memory, ULONG tag)
{
    count(tag, -1);
    wine_free(memory, tag);
}

static void NTAPI query_time_precise(LARGE_INTEGER *time)
{
    GetSystemTimePreciseAsFileTime(time);
}

/* Programs have called, but for threads of winedevice.exe itself, which stand for the system's. */
static KPROCESSOR_MODE NTAPI previous_mode(void)
{
    return fire_has_originator() || fire_current_pid() != GetCurrentProcessId() ? UserMode : KernelMode;
}

/* ---- Run-down protection: bit 0 says that no more is given; above it is the number of those that have it ---- */

enum { RUNS_DOWN = 1, ONE_HOLDER = 2 };

static void NTAPI initialize_rundown(EX_RUNDOWN_REF *reference)
{
    reference->Count = 0;
}

static BOOLEAN NTAPI acquire_rundown(EX_RUNDOWN_REF *reference)
{
    fire_lock();
    bool gives = !(reference->Count & RUNS_DOWN);
    reference->Count += gives ? ONE_HOLDER : 0;
    fire_unlock();
    return gives;
}

static void NTAPI release_rundown(EX_RUNDOWN_REF *reference)
{
    fire_lock();
    bool has = reference->Count >= ONE_HOLDER;
    reference->Count -= has ? ONE_HOLDER : 0;
    fire_unlock();
    if (!has)
        fire_violation("ExReleaseRundownProtection: only a caller that has acquired it releases it");
}

static void NTAPI wait_for_rundown(EX_RUNDOWN_REF *reference)
{
    fire_lock();
    reference->Count |= RUNS_DOWN;
    while (reference->Count >= ONE_HOLDER) {
        fire_unlock();
        Sleep(1);
        fire_lock();
    }
    fire_unlock();
}

void fire_stand_ins_describe(struct fire_state *state)
{
    fire_lock();
    state->blocks = blocks;
    fire_unlock();
}

static const struct fire_export exports[] = {
    {"ExAllocatePoolWithTag", allocate, (void **) &wine_allocate},
    {"ExAllocatePool2", allocate_2, NULL},
    {"ExFreePoolWithTag", free_memory, (void **) &wine_free},
    {"ExAcquireRundownProtection", acquire_rundown, NULL},
    {"ExInitializeRundownProtection", initialize_rundown, NULL},
    {"ExReInitializeRundownProtection", initialize_rundown, NULL},
    {"ExReleaseRundownProtection", release_rundown, NULL},
    {"ExWaitForRundownProtectionRelease", wait_for_rundown, NULL},
    {"ExGetPreviousMode", previous_mode, NULL},
    {"KeQuerySystemTimePrecise", query_time_precise, NULL},
};

const struct fire_exports fire_stand_in_exports = {exports, RTL_NUMBER_OF(exports)};
