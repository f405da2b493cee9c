/* Reads the ring buffer in which the BPF programs tell what happens. One thread at a time. Knows the layout of
 * BPF_MAP_TYPE_RINGBUF (Linux: kernel/bpf/ringbuf.c), and nothing of what records mean. */
#ifndef CBPI_RING_H
#define CBPI_RING_H

#include "cbp_machine.h"

#include <stdbool.h>
#include <stddef.h>

struct cbpi_ring {
    unsigned char *consumer; /* its page, which is written */
    unsigned char *producer; /* its page, and the data behind it, mapped twice in a row */
    size_t page_size, data_size;
    uint64_t position;
    uint64_t malformed_count; /* records that were dropped because their size or type is impossible */
};

/* Maps the ring buffer. Gives 0 or a Win32 error code with a sentence. */
uint32_t cbpi_ring_open(struct cbpi_ring *ring, int map_descriptor);
void cbpi_ring_close(struct cbpi_ring *ring);

/* Gives the next record, valid until cbpi_ring_advance(), which has to follow. NULL: there is none yet. */
const struct cbp_machine_record *cbpi_ring_next(struct cbpi_ring *ring);
void cbpi_ring_advance(struct cbpi_ring *ring);

#endif
