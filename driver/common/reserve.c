/* Memory for what a helper cannot do without: where malloc has none left, there is a reserve, made with the
 * helper itself. Without any left, callers refuse and count what they cannot do; nobody is left waiting. For
 * the tracer thread only. Knows nothing of what is kept in it. */
#include <stdlib.h>
#include <string.h>

#include "supervisor.h"

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

static void *take_block(size_t size)
{
    for (int i = 0; i < CLASS_COUNT; i++) {
        struct block *block = classes[i].free_blocks;
        if (size > classes[i].size || (block == NULL && classes[i].used == classes[i].count))
            continue;
        if (block != NULL)
            classes[i].free_blocks = block->next;
        else
            block = (void *) (reserve.bytes + classes[i].offset + classes[i].size * classes[i].used++);
        memset(block, 0, size);
        return block;
    }
    return NULL;
}

void *allocate_surely(size_t size)
{
    void *memory = calloc(1, size);
    return memory != NULL ? memory : take_block(size);
}

void free_surely(void *memory)
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
    block->next = classes[class_index].free_blocks;
    classes[class_index].free_blocks = block;
}
