/* Is the pool: memory of the driver with tags. Each block is one of malloc(), so that a sanitizer sees what
 * lies beyond it and what was freed. */
#include <pthread.h>
#include <stdlib.h>

#include "shim.h"

enum { BUCKETS = 1024, STRIPES = 64, GARBAGE = 0xbd, SYSTEM_TAG = 0x656f4c53 };

struct block {
    struct block *next;
    void *memory;
    size_t size;
    uint32_t tag;
    bool is_paged;
};

/* Blocks have different locks, so that the shim hides no race of the driver. */
static struct block *blocks[BUCKETS];
static pthread_mutex_t locks[STRIPES];
static size_t block_count; /* atomic */

__attribute__((constructor)) static void init_locks(void)
{
    for (size_t i = 0; i < STRIPES; i++)
        pthread_mutex_init(&locks[i], NULL);
}

static size_t bucket_of(const void *memory)
{
    return ((uintptr_t) memory >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 54;
}

static void change_count(size_t more)
{
    __atomic_fetch_add(&block_count, more, __ATOMIC_RELAXED);
}

static void *give(size_t size, uint32_t tag, bool is_paged, int content)
{
    struct block *block = malloc(sizeof *block);
    void *memory = malloc(size);
    if (!block || !memory)
        abort();
    memset(memory, content, size);
    *block = (struct block){.memory = memory, .size = size, .tag = tag, .is_paged = is_paged};
    size_t bucket = bucket_of(memory);
    pthread_mutex_lock(&locks[bucket % STRIPES]);
    block->next = blocks[bucket];
    blocks[bucket] = block;
    pthread_mutex_unlock(&locks[bucket % STRIPES]);
    change_count(1);
    return memory;
}

static void check_request(const char *function, size_t size, uint32_t tag, bool is_paged)
{
    /* Documented: up to DISPATCH_LEVEL for nonpaged pool, up to APC_LEVEL for paged pool. */
    shim_irql_at_most(function, is_paged ? APC_LEVEL : DISPATCH_LEVEL);
    if (size == 0)
        shim_breach("pool-size", "%s is asked for no bytes", function);
    if (tag == 0)
        shim_breach("pool-tag", "%s is asked for memory without a tag", function);
}

/* Documented: new code uses NonPagedPoolNx, because NonPagedPool can be executed, which HVCI forbids. The
 * content is whatever it was. */
PVOID ExAllocatePoolWithTag(POOL_TYPE type, SIZE_T size, ULONG tag)
{
    check_request("ExAllocatePoolWithTag", size, tag, type == PagedPool);
    if (type != PagedPool && type != NonPagedPoolNx)
        shim_breach("pool-executable", "pool of type %d can be executed", (int) type);
    return shim_is_to_fail(SHIM_FAULT_POOL) ? NULL : give(size, tag, type == PagedPool, GARBAGE);
}

/* Documented: exactly one kind of pool is named, and the memory is all 0 without POOL_FLAG_UNINITIALIZED. */
PVOID ExAllocatePool2(POOL_FLAGS flags, SIZE_T size, ULONG tag)
{
    bool is_paged = (flags & POOL_FLAG_PAGED) != 0;
    check_request("ExAllocatePool2", size, tag, is_paged);
    if ((flags & POOL_FLAG_NON_PAGED_EXECUTE) != 0)
        shim_breach("pool-executable", "pool with the flags %llx can be executed",
                    (unsigned long long) flags);
    if (is_paged == ((flags & POOL_FLAG_NON_PAGED) != 0))
        shim_breach("pool-kind", "the flags %llx name no kind of pool, or two", (unsigned long long) flags);
    if (shim_is_to_fail(SHIM_FAULT_POOL))
        return NULL;
    return give(size, tag, is_paged, (flags & POOL_FLAG_UNINITIALIZED) != 0 ? GARBAGE : 0);
}

/* Documented: the memory came from the pool and is freed once, with the tag that it was allocated with; up to
 * DISPATCH_LEVEL for nonpaged pool, up to APC_LEVEL for paged pool. */
void ExFreePoolWithTag(PVOID memory, ULONG tag)
{
    size_t bucket = bucket_of(memory);
    pthread_mutex_lock(&locks[bucket % STRIPES]);
    struct block **at = &blocks[bucket];
    while (*at && (*at)->memory != memory)
        at = &(*at)->next;
    struct block *block = *at;
    if (block)
        *at = block->next;
    pthread_mutex_unlock(&locks[bucket % STRIPES]);
    if (!block)
        shim_breach("pool-free", "%p is no memory of the pool, or was freed before", memory);
    shim_irql_at_most("ExFreePoolWithTag", block->is_paged ? APC_LEVEL : DISPATCH_LEVEL);
    if (tag != 0 && tag != block->tag)
        shim_breach("pool-tag", "memory with the tag %x is freed with the tag %x", block->tag, tag);
    change_count((size_t) -1);
    memset(memory, 0xdd, block->size);
    free(memory);
    free(block);
}

void ExFreePool(PVOID memory)
{
    ExFreePoolWithTag(memory, 0);
}

void *shim_pool_system(size_t size)
{
    return give(size, SYSTEM_TAG, true, 0);
}

size_t shim_pool_blocks(void)
{
    return __atomic_load_n(&block_count, __ATOMIC_RELAXED);
}

/* Documented (Driver Verifier, pool tracking): a driver frees all of its pool before it is unloaded. */
void shim_pool_check(void)
{
    for (size_t i = 0; i < BUCKETS; i++)
        if (blocks[i])
            shim_breach("pool-leak", "%zu blocks are left, one of %zu bytes with the tag %x",
                        shim_pool_blocks(), blocks[i]->size, blocks[i]->tag);
}
