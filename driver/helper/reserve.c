/* Gives a helper the memory that it cannot do without: a reserve, made with the helper itself, steps in where
 * malloc has none left. When it is used up, too, callers refuse and count what they cannot do; no task is
 * left waiting. Any thread. Knows nothing of what is kept in it.
 *
 * Other memory may fail at any time, and each place that uses it fails closed:
 *
 *   text.h            a text says that it lacks memory: an execution that was read with one is refused with
 *                     ENOMEM, rules that were gathered in one refuse everything (legacies.c), a message that
 *                     found no room is lost, and what it could have asked about is refused (telling.c)
 *   rule_sets.c, rule_loading.c, a launch in launches.c    the request fails
 *   look.c            the execution is refused with ENOMEM
 *   beside.c          small jobs come from here, a large one (the image of a running process) does not: an
 *                     attach fails, a process that has lost its creator ends
 *   listing.c         the list is not known: attaches fail, handle operations are refused
 *   handles.c         not all targets are known: the operation is refused
 *   guard.c           the targets of a signal are not known: the call fails with EAGAIN
 *   risk.c            a risk is assumed where a file cannot be read
 *   ids.c             the C library's memory: fopen fails, and the id is not known
 *   threads           a missing reader means that no look is made beside; a missing watch is a risk
 *   qsort             the C library sorts in place if it has no memory for a copy */
#include <stdlib.h>
#include <string.h>

#include "cbp_atomic.h"
#include "helper.h"

enum { CLASS_COUNT = 3 };

struct block {
    struct block *next;
};

static struct {
    const size_t size, count;
    size_t used; /* blocks given out at least once */
    struct block *free_blocks;
    size_t offset; /* where its first block lies */
} classes[CLASS_COUNT] = {
    {.size = 512, .count = 128, .offset = 0},
    {.size = 2048, .count = 64, .offset = 512 * 128},
    {.size = 16384, .count = 8, .offset = 512 * 128 + 2048 * 64},
};

static union {
    max_align_t alignment;
    unsigned char bytes[512 * 128 + 2048 * 64 + 16384 * 8];
} reserve;

static uint32_t is_locked; /* atomic; held for a few instructions at a time */

static void lock_reserve(void)
{
    for (uint32_t expected = 0; !cbp_compare_swap_u32(&is_locked, &expected, 1); expected = 0)
        continue;
}

static void unlock_reserve(void)
{
    cbp_store_u32(&is_locked, 0);
}

static void *take_block(size_t size)
{
    for (int i = 0; i < CLASS_COUNT; i++) {
        struct block *block = classes[i].free_blocks;
        if (size > classes[i].size || (!block && classes[i].used == classes[i].count))
            continue;
        if (block)
            classes[i].free_blocks = block->next;
        else
            block = (void *) (reserve.bytes + classes[i].offset + classes[i].size * classes[i].used++);
        return block;
    }
    return NULL;
}

void *cbpd_allocate_surely(size_t size)
{
    void *memory = calloc(1, size);
    if (memory)
        return memory;
    lock_reserve();
    memory = take_block(size);
    unlock_reserve();
    return memory ? memset(memory, 0, size) : NULL;
}

void cbpd_free_surely(void *memory)
{
    uintptr_t at = (uintptr_t) memory - (uintptr_t) reserve.bytes;
    struct block *block = memory;
    if ((uintptr_t) memory < (uintptr_t) reserve.bytes || at >= sizeof reserve.bytes) {
        free(memory);
        return;
    }
    int class_index = CLASS_COUNT - 1;
    while (at < classes[class_index].offset)
        class_index--;
    lock_reserve();
    block->next = classes[class_index].free_blocks;
    classes[class_index].free_blocks = block;
    unlock_reserve();
}

void *cbpd_allocate(size_t size, bool surely)
{
    return surely ? cbpd_allocate_surely(size) : calloc(1, size);
}
