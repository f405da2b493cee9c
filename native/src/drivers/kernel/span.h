/* Reads numbers out of bytes that somebody else has made. Nothing beyond the bytes is read. */
#ifndef CBPI_KERNEL_SPAN_H
#define CBPI_KERNEL_SPAN_H

#include <stddef.h>
#include <stdint.h>

struct cbpi_span {
    const uint8_t *at;
    size_t size;
};

/* Gives the number at that place; 0 where the bytes end before it does. */
static inline uint32_t cbpi_span_16(struct cbpi_span span, size_t offset)
{
    if (offset > span.size || span.size - offset < 2)
        return 0;
    return (uint32_t) span.at[offset] | (uint32_t) span.at[offset + 1] << 8;
}

static inline uint32_t cbpi_span_32(struct cbpi_span span, size_t offset)
{
    if (offset > span.size || span.size - offset < 4)
        return 0;
    return cbpi_span_16(span, offset) | cbpi_span_16(span, offset + 2) << 16;
}

/* Gives a part; an empty one where it does not lie within the whole. */
static inline struct cbpi_span cbpi_span_part(struct cbpi_span whole, size_t offset, size_t size)
{
    if (offset > whole.size || whole.size - offset < size)
        return (struct cbpi_span){whole.at, 0};
    return (struct cbpi_span){whole.at + offset, size};
}

#endif
