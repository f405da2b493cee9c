/* Memory for what a helper cannot do without: where malloc has none left, there is a reserve, made with the
 * helper itself. Without any left, callers refuse and count what they cannot do; nobody is left waiting. Any
 * thread. Knows nothing of what is kept in it.
 *
 * What does not come from here may fail at any time, and each such place fails closed:
 *
 *   text.h            a text says that it lacks memory: an execution that was read with one is refused with
 *                     ENOMEM, rules that were gathered in one refuse everything (legacies.c), a message that
 *                     found no room is lost, and what it could have asked about is refused (post.c)
 *   rule_sets.c, rule_loading.c, a launch in control.c    the request fails
 *   look.c            the execution is refused with ENOMEM
 *   beside.c          small errands come from here; a large one (the image of a running process) is none:
 *                     an attach fails, a process that has lost its creator ends
 *   listing.c         the list is not known: attaches fail, handle operations are refused
 *   handles.c         not all that is reached is known: the operation is refused
 *   guard.c           whom a signal has reached is not known: the call says so with EAGAIN
 *   risk.c            what cannot be read counts as a risk
 *   ids.c             the C library's: fopen fails, and the id is not known
 *   threads           a reader or the watch for risks is missing: there is a risk, or nobody to look beside
 *   qsort             the C library sorts in place where it has no memory for a copy */
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
    size_t used; /* blocks that were ever given out */
    struct block *free_blocks;
    size_t offset; /* of the first block */
} classes[CLASS_COUNT] = {
    {.size = 512, .count = 128, .offset = 0},
    {.size = 2048, .count = 64, .offset = 512 * 128},
    {.size = 16384, .count = 8, .offset = 512 * 128 + 2048 * 64},
};

static union {
    max_align_t alignment;
    unsigned char bytes[512 * 128 + 2048 * 64 + 16384 * 8];
} reserve;

static uint32_t is_locked; /* atomic; for a few instructions at a time */

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
