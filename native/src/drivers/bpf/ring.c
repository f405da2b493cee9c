/* Implements ring.h. The kernel's side reserves room at the producer's position and clears the busy bit of a
 * record when it is complete, so that records become readable in the order of their reservation. */
#include "ring.h"

#include "cbp_atomic.h"
#include "errors.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A record has this in front of it. Source: Linux, kernel/bpf/ringbuf.c, struct bpf_ringbuf_hdr. */
struct record_header {
    uint32_t length; /* with the bits BPF_RINGBUF_BUSY_BIT and BPF_RINGBUF_DISCARD_BIT */
    uint32_t page_offset;
};

enum { RECORD_ALIGNMENT = 8 };

static const size_t record_sizes[] = {
    [CBP_MACHINE_FORK] = sizeof(struct cbp_machine_fork),
    [CBP_MACHINE_EXEC] = sizeof(struct cbp_machine_exec),
    [CBP_MACHINE_ARGUMENTS] = sizeof(struct cbp_machine_arguments),
    [CBP_MACHINE_EXIT] = sizeof(struct cbp_machine_exit),
    [CBP_MACHINE_HANDLE] = sizeof(struct cbp_machine_handle),
};

static uint32_t read_map_info(int map_descriptor, struct bpf_map_info *info)
{
    memset(info, 0, sizeof *info);
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.info.bpf_fd = (uint32_t) map_descriptor;
    attributes.info.info_len = sizeof *info;
    attributes.info.info = (uint64_t) (uintptr_t) info;
    if (syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attributes, sizeof attributes) != 0)
        return cbpi_fail(CBP_ERROR_INVALID_DATA, "the ring buffer of BPF programs cannot be looked at: %s",
                         strerror(errno));
    if (info->type != BPF_MAP_TYPE_RINGBUF)
        return cbpi_fail(CBP_ERROR_INVALID_DATA, "a BPF map of type %u is no ring buffer", info->type);
    return 0;
}

uint32_t cbpi_ring_open(struct cbpi_ring *ring, int map_descriptor)
{
    struct bpf_map_info info;
    uint32_t code = read_map_info(map_descriptor, &info);
    if (code != 0)
        return code;
    struct cbpi_ring made = {.page_size = (size_t) sysconf(_SC_PAGESIZE), .data_size = info.max_entries};
    made.consumer = mmap(NULL, made.page_size, PROT_READ | PROT_WRITE, MAP_SHARED, map_descriptor, 0);
    if (made.consumer == MAP_FAILED)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "the ring buffer cannot be mapped: %s",
                         strerror(errno));
    made.producer = mmap(NULL, made.page_size + 2 * made.data_size, PROT_READ, MAP_SHARED, map_descriptor,
                         (off_t) made.page_size);
    if (made.producer == MAP_FAILED) {
        code = cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "the ring buffer's data cannot be mapped: %s",
                         strerror(errno));
        (void) munmap(made.consumer, made.page_size);
        return code;
    }
    made.position = cbp_load_u64((const uint64_t *) (const void *) made.consumer);
    *ring = made;
    return 0;
}

void cbpi_ring_close(struct cbpi_ring *ring)
{
    if (ring->consumer)
        (void) munmap(ring->consumer, ring->page_size);
    if (ring->producer)
        (void) munmap(ring->producer, ring->page_size + 2 * ring->data_size);
    memset(ring, 0, sizeof *ring);
}

static const struct record_header *header_at(const struct cbpi_ring *ring)
{
    size_t offset = (size_t) (ring->position & (ring->data_size - 1));
    return (const struct record_header *) (const void *) (ring->producer + ring->page_size + offset);
}

static bool is_well_formed(const struct cbp_machine_record *record, uint32_t length)
{
    return length >= sizeof *record && record->size == length &&
           record->type < sizeof record_sizes / sizeof record_sizes[0] && record_sizes[record->type] != 0 &&
           length >= record_sizes[record->type];
}

/* Gives the room of the record at the position back to the kernel. */
void cbpi_ring_advance(struct cbpi_ring *ring)
{
    uint32_t length = cbp_load_relaxed_u32(&header_at(ring)->length) & ~(uint32_t) BPF_RINGBUF_DISCARD_BIT;
    uint64_t size = sizeof(struct record_header) + (uint64_t) length;
    ring->position += (size + RECORD_ALIGNMENT - 1) & ~(uint64_t) (RECORD_ALIGNMENT - 1);
    cbp_store_u64((uint64_t *) (void *) ring->consumer, ring->position);
}

const struct cbp_machine_record *cbpi_ring_next(struct cbpi_ring *ring)
{
    while (ring->position < cbp_load_u64((const uint64_t *) (const void *) ring->producer)) {
        const struct record_header *header = header_at(ring);
        uint32_t length = cbp_load_u32(&header->length);
        if (length & BPF_RINGBUF_BUSY_BIT)
            return NULL;
        const struct cbp_machine_record *record = (const void *) (header + 1);
        if (!(length & BPF_RINGBUF_DISCARD_BIT)) {
            if (is_well_formed(record, length))
                return record;
            ring->malformed_count++;
        }
        cbpi_ring_advance(ring);
    }
    return NULL;
}
