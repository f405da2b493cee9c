/* Implements memory.h. */
#include "memory.h"

#include <stdlib.h>

#define SPARE_COUNT 64u

void *cbpi_grow(void *items, size_t item_size, uint64_t needed, uint64_t *capacity)
{
    if (items && needed <= *capacity)
        return items;
    uint64_t wanted = needed + needed / 2 + SPARE_COUNT;
    void *grown = realloc(items, (size_t) wanted * item_size);
    if (grown)
        *capacity = wanted;
    return grown;
}
