/* Offers arrays that grow. */
#ifndef CBPI_MEMORY_H
#define CBPI_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/* Makes room for so many items in an array of *capacity items (NULL and 0 at first). Gives the array, which
 * may have moved; or NULL without memory, upon which the array is as it was. */
void *cbpi_grow(void *items, size_t item_size, uint64_t needed, uint64_t *capacity);

#endif
