/* Tests the reader of the BPF programs' ring buffer against memory that this test fills as the kernel would, and
 * its refusal of maps that are no ring buffers. Records of real programs are read by tests/machine/programs. */
#include "ring.h"
#include "support.h"

#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DATA_SIZE = 8192, HEADER_SIZE = 8 };

struct fake {
    struct cbpi_ring ring;
    unsigned char *positions; /* the producer's page and the data, which can be written here */
};

static void *map_shared(int file, size_t size, off_t offset, void *place)
{
    int flags = MAP_SHARED | (place ? MAP_FIXED : 0);
    void *memory = mmap(place, size, PROT_READ | PROT_WRITE, flags, file, offset);
    CHECK(memory != MAP_FAILED);
    return memory;
}

/* Makes the memory of a ring buffer: its data stands twice in a row. */
static void make(struct fake *fake)
{
    size_t page = (size_t) sysconf(_SC_PAGESIZE);
    int file = memfd_create("ring", 0);
    CHECK(file >= 0 && ftruncate(file, (off_t) (2 * page + DATA_SIZE)) == 0);
    memset(fake, 0, sizeof *fake);
    fake->ring.page_size = page;
    fake->ring.data_size = DATA_SIZE;
    fake->ring.consumer = map_shared(file, page, 0, NULL);
    fake->positions = mmap(NULL, page + 2 * DATA_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(fake->positions != MAP_FAILED);
    map_shared(file, page + DATA_SIZE, (off_t) page, fake->positions);
    map_shared(file, DATA_SIZE, (off_t) (2 * page), fake->positions + page + DATA_SIZE);
    fake->ring.producer = fake->positions;
    close(file);
}

static uint64_t consumed(const struct fake *fake)
{
    uint64_t position;
    memcpy(&position, fake->ring.consumer, sizeof position);
    return position;
}

/* Reserves room as the kernel does, and gives the place of the header. */
static unsigned char *reserve(struct fake *fake, uint32_t length)
{
    uint64_t position;
    memcpy(&position, fake->positions, sizeof position);
    unsigned char *header = fake->positions + fake->ring.page_size + (position & (DATA_SIZE - 1));
    uint32_t busy = length | BPF_RINGBUF_BUSY_BIT;
    memcpy(header, &busy, sizeof busy);
    position += (HEADER_SIZE + length + 7u) & ~7u;
    memcpy(fake->positions, &position, sizeof position);
    return header;
}

static void finish(unsigned char *header, uint32_t length, uint32_t bits)
{
    length |= bits;
    memcpy(header, &length, sizeof length);
}

static unsigned char *fill(struct fake *fake, uint32_t length, uint32_t size, uint16_t type,
                           uint32_t thread_id)
{
    struct cbp_machine_record record = {.size = size, .type = type, .thread_id = thread_id};
    unsigned char *header = reserve(fake, length);
    memset(header + HEADER_SIZE, 0, length);
    memcpy(header + HEADER_SIZE, &record, length < sizeof record ? length : sizeof record);
    return header;
}

static void submit(struct fake *fake, uint32_t size, uint16_t type, uint32_t thread_id)
{
    finish(fill(fake, size, size, type, thread_id), size, 0);
}

static uint32_t take(struct fake *fake)
{
    const struct cbp_machine_record *record = cbpi_ring_next(&fake->ring);
    if (!record)
        return 0;
    uint32_t thread_id = record->thread_id;
    cbpi_ring_advance(&fake->ring);
    return thread_id;
}

static void test_records_come_in_order(void)
{
    struct fake fake;
    make(&fake);
    CHECK(!cbpi_ring_next(&fake.ring));
    submit(&fake, sizeof(struct cbp_machine_fork), CBP_MACHINE_FORK, 1);
    submit(&fake, sizeof(struct cbp_machine_exit), CBP_MACHINE_EXIT, 2);
    CHECK(cbpi_ring_next(&fake.ring) == cbpi_ring_next(&fake.ring)); /* until the reader goes on */
    CHECK(consumed(&fake) == 0);
    CHECK(take(&fake) == 1);
    CHECK(consumed(&fake) == HEADER_SIZE + sizeof(struct cbp_machine_fork));
    CHECK(take(&fake) == 2);
    CHECK(take(&fake) == 0);
    cbpi_ring_close(&fake.ring);
}

/* A record that is not complete holds back those behind it. */
static void test_a_busy_record_holds_back(void)
{
    struct fake fake;
    uint32_t size = sizeof(struct cbp_machine_exit);
    make(&fake);
    unsigned char *first = fill(&fake, size, size, CBP_MACHINE_EXIT, 1);
    submit(&fake, size, CBP_MACHINE_EXIT, 2);
    CHECK(take(&fake) == 0);
    finish(first, size, 0);
    CHECK(take(&fake) == 1 && take(&fake) == 2 && take(&fake) == 0);
    cbpi_ring_close(&fake.ring);
}

static void test_a_discarded_record_is_passed_over(void)
{
    struct fake fake;
    uint32_t size = sizeof(struct cbp_machine_exit);
    make(&fake);
    finish(fill(&fake, size, size, CBP_MACHINE_EXIT, 1), size, BPF_RINGBUF_DISCARD_BIT);
    finish(reserve(&fake, 8), 8, BPF_RINGBUF_DISCARD_BIT);
    CHECK(take(&fake) == 0);
    CHECK(consumed(&fake) == HEADER_SIZE + size + 16); /* the room is the kernel's again */
    submit(&fake, size, CBP_MACHINE_EXIT, 3);
    CHECK(take(&fake) == 3);
    CHECK(fake.ring.malformed_count == 0);
    cbpi_ring_close(&fake.ring);
}

/* Records are whole where the data begins again, also at the end of the numbers' first round. */
static void test_data_that_wraps(void)
{
    struct fake fake;
    uint32_t size = 200;
    make(&fake);
    for (uint32_t i = 1; i <= 500; i++) {
        unsigned char *header = fill(&fake, size, size, CBP_MACHINE_EXEC, i);
        memset(header + HEADER_SIZE + sizeof(struct cbp_machine_exec), (int) (i % 251),
               size - sizeof(struct cbp_machine_exec));
        finish(header, size, 0);
        const struct cbp_machine_record *record = cbpi_ring_next(&fake.ring);
        CHECK(record && record->thread_id == i);
        const unsigned char *bytes = (const unsigned char *) record;
        for (uint32_t at = sizeof(struct cbp_machine_exec); at < size; at++)
            CHECK(bytes[at] == i % 251);
        cbpi_ring_advance(&fake.ring);
    }
    CHECK(consumed(&fake) == 500 * (HEADER_SIZE + size));
    cbpi_ring_close(&fake.ring);
}

static void test_malformed_records_are_counted(void)
{
    struct fake fake;
    uint32_t fork_size = sizeof(struct cbp_machine_fork);
    make(&fake);
    finish(fill(&fake, 8, 8, CBP_MACHINE_FORK, 1), 8, 0);                             /* no whole record */
    finish(fill(&fake, fork_size, fork_size - 8, CBP_MACHINE_FORK, 2), fork_size, 0); /* another size */
    submit(&fake, fork_size - 8, CBP_MACHINE_FORK, 3); /* too short for its type */
    submit(&fake, fork_size, 0, 4);
    submit(&fake, fork_size, CBP_MACHINE_HANDLE + 1, 5);
    submit(&fake, fork_size, CBP_MACHINE_FORK, 6);
    CHECK(take(&fake) == 6);
    CHECK(fake.ring.malformed_count == 5);
    cbpi_ring_close(&fake.ring);
}

static int make_map(uint32_t type, uint32_t key_size, uint32_t value_size, uint32_t count)
{
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.map_type = type;
    attributes.key_size = key_size;
    attributes.value_size = value_size;
    attributes.max_entries = count;
    return (int) syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes);
}

/* Runs only where BPF maps can be made. */
static void test_opening(void)
{
    struct cbpi_ring ring = {.page_size = 0};
    CHECK_CODE(CBP_ERROR_INVALID_DATA, cbpi_ring_open(&ring, -1));
    int map = make_map(BPF_MAP_TYPE_ARRAY, 4, 8, 1);
    if (map < 0)
        return;
    CHECK_CODE(CBP_ERROR_INVALID_DATA, cbpi_ring_open(&ring, map));
    CHECK(!ring.producer && !ring.consumer);
    close(map);
    map = make_map(BPF_MAP_TYPE_RINGBUF, 0, 0, 65536);
    CHECK(map >= 0);
    CHECK_OK(cbpi_ring_open(&ring, map));
    CHECK(ring.data_size == 65536);
    CHECK(!cbpi_ring_next(&ring));
    close(map);
    CHECK(!cbpi_ring_next(&ring)); /* the memory stays */
    cbpi_ring_close(&ring);
    CHECK(!ring.producer);
}

int main(void)
{
    test_records_come_in_order();
    test_a_busy_record_holds_back();
    test_a_discarded_record_is_passed_over();
    test_data_that_wraps();
    test_malformed_records_are_counted();
    test_opening();
    return 0;
}
