/* Gives nonpaged memory, and counts it, so that unload can tell a leak. */
#include "cbp_atomic.h"
#include "kernel.h"

static uint64_t block_count;

void *cbpd_pool_allocate(size_t size)
{
    void *memory = cbpd_system_allocate(size > 0 ? size : 1);
    if (memory)
        cbp_add_u64(&block_count, 1);
    return memory;
}

void cbpd_pool_free(void *memory)
{
    if (!memory)
        return;
    cbp_subtract_u64(&block_count, 1);
    cbpd_system_free(memory);
}

uint64_t cbpd_pool_count(void)
{
    return cbp_load_u64(&block_count);
}
