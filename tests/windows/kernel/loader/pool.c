/* Is the kernel's pool, as Driver Verifier's special pool: a block has pages of its own with a page behind it
 * that cannot be touched, and its pages cannot be touched after it is freed. For speed a scenario may let a
 * share of the blocks, or all, have red zones and a filling of freed memory instead.
 *
 * Each block knows its tag and who allocated it. Must not know what is in it. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "loader.h"

enum {
    PAGE = 4096,
    SLOT_PAGES = 4, /* the last one is the guard */
    SLOT_SIZE = SLOT_PAGES * PAGE,
    SLOT_COUNT = 1 << 17,
    SPECIAL_SIZE_MAX = (SLOT_PAGES - 1) * PAGE,
    ALIGNMENT = 16,
    RED_ZONE = 16,
    QUARANTINE = 4096, /* plain blocks that are freed last */
    LEAKS_SHOWN = 8
};
enum { FILL_NEW = 0xcd, FILL_FREED = 0xdd, FILL_EDGE = 0xfd };
enum { NonPagedPool = 0, PagedPool = 1, NonPagedPoolNx = 512 };
#define POOL_FLAG_UNINITIALIZED UINT64_C(0x2)
#define POOL_FLAG_NON_PAGED UINT64_C(0x40)
#define POOL_FLAG_NON_PAGED_EXECUTE UINT64_C(0x80)
#define POOL_FLAG_PAGED UINT64_C(0x100)
#define BLOCK_MAGIC UINT64_C(0x6b636f6c62706f6f)

enum state { STATE_NONE, STATE_USED, STATE_FREED };

/* A block is described outside of its memory if it is special, and before it if it is plain. */
struct block {
    uint64_t magic;
    struct block *next, *previous; /* of those in use */
    uint8_t *data;
    size_t size;
    uint32_t tag;
    uint8_t state;
    bool is_paged, is_driver_s;
    const void *caller;
    uint8_t red_zone[RED_ZONE]; /* from here on to a plain block's memory */
} __attribute__((aligned(ALIGNMENT)));

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block head = {.next = &head, .previous = &head};
static uint8_t *arena;
static struct block *slots;
static uint32_t cursor;
static struct block *quarantine[QUARANTINE];
static unsigned long freed_count;
static unsigned special_share = 256;
static unsigned long allocation_count, fail_number;
static bool fails_later;

void pool_special(unsigned share)
{
    special_share = share;
}

void pool_fail_at(unsigned long number, bool and_all_later)
{
    fail_number = number;
    fails_later = and_all_later;
    allocation_count = 0;
}

unsigned long pool_allocation_count(void)
{
    return __atomic_load_n(&allocation_count, __ATOMIC_RELAXED);
}

static char *tag_text(uint32_t tag, char *text)
{
    for (int i = 0; i < 4; i++) {
        char letter = (char) (tag >> 8 * i);
        text[i] = letter >= ' ' && letter <= '~' ? letter : '?';
    }
    text[4] = 0;
    return text;
}

static uint64_t offset_of(const void *caller)
{
    return image_contains(caller) ? (uint64_t) ((const uint8_t *) caller - image_current()->base) : 0;
}

/* ---- Special blocks ---- */

static void open_arena(void)
{
    size_t size = (size_t) SLOT_SIZE * SLOT_COUNT;
    arena = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    slots = calloc(SLOT_COUNT, sizeof *slots);
    if (arena == MAP_FAILED || !slots)
        wrong("no room for the pool's pages");
}

/* Takes the slot that was freed longest ago. The caller has the lock. */
static struct block *take_slot(void)
{
    if (!arena)
        open_arena();
    for (uint32_t tries = 0; tries < SLOT_COUNT; tries++) {
        struct block *slot = &slots[cursor];
        cursor = (cursor + 1) % SLOT_COUNT;
        if (slot->state != STATE_USED)
            return slot;
    }
    return NULL;
}

static uint8_t *slot_start(const struct block *slot)
{
    return arena + (size_t) (slot - slots) * SLOT_SIZE;
}

static size_t pages_of(size_t size)
{
    return (size + PAGE - 1) / PAGE * PAGE;
}

/* Places the block at the end of its pages, so that the byte behind it is in the guard. */
static void map_slot(struct block *slot, size_t size)
{
    uint8_t *end = slot_start(slot) + SPECIAL_SIZE_MAX;
    uint8_t *start = end - pages_of(size);
    slot->data = end - (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    mprotect(start, pages_of(size), PROT_READ | PROT_WRITE);
    memset(start, FILL_EDGE, pages_of(size));
}

static void unmap_slot(struct block *slot)
{
    uint8_t *start = slot_start(slot);
    mprotect(start, SLOT_SIZE, PROT_NONE);
    madvise(start, SLOT_SIZE, MADV_DONTNEED);
}

static struct block *slot_of(const void *address)
{
    const uint8_t *at = address;
    if (!arena || at < arena || at >= arena + (size_t) SLOT_SIZE * SLOT_COUNT)
        return NULL;
    return &slots[(size_t) (at - arena) / SLOT_SIZE];
}

bool pool_is_freed(const void *memory)
{
    const struct block *slot = slot_of(memory);
    return slot && slot->state == STATE_FREED;
}

const char *pool_explain(const void *address, char *text, size_t size)
{
    const struct block *slot = slot_of(address);
    char tag[5];
    if (!slot)
        return NULL;
    long distance = (long) ((const uint8_t *) address - slot->data);
    snprintf(text, size, "%s pool, tag %s, at byte %ld of %zu, allocated at driver+0x%llx",
             slot->state == STATE_FREED ? "freed" : "beyond", tag_text(slot->tag, tag), distance, slot->size,
             (unsigned long long) offset_of(slot->caller));
    if (slot->state == STATE_FREED)
        return slot->tag == POOL_TAG_IRP ? "completed_request" : "freed_pool";
    return "pool_overrun";
}

/* ---- Plain blocks ---- */

static struct block *make_plain(size_t size)
{
    struct block *block = malloc(sizeof *block + size + ALIGNMENT + RED_ZONE);
    if (!block)
        wrong("the machine has no memory");
    memset(block, 0, sizeof *block);
    block->data = (uint8_t *) (block + 1);
    memset(block->red_zone, FILL_EDGE, (size_t) (block->data - block->red_zone));
    memset(block->data + size, FILL_EDGE, RED_ZONE);
    return block;
}

/* Nothing may have been written since the block was freed. */
static void check_untouched(const struct block *block)
{
    for (size_t i = 0; i < block->size; i++)
        if (block->data[i] != FILL_FREED)
            violation("freed_pool", "byte %zu of %zu was written after the block was freed", i, block->size);
}

static void free_plain(struct block *block)
{
    if (!block)
        return;
    check_untouched(block);
    block->magic = 0;
    free(block);
}

/* Keeps the block for a while, and gives back the one that was freed longest ago. */
static void retire_plain(struct block *block)
{
    pthread_mutex_lock(&lock);
    struct block *oldest = quarantine[freed_count % QUARANTINE];
    quarantine[freed_count++ % QUARANTINE] = block;
    pthread_mutex_unlock(&lock);
    free_plain(oldest);
}

static struct block *block_of(const void *memory, const char *function)
{
    struct block *block = slot_of(memory);
    if (!block) {
        block = (struct block *) (uintptr_t) memory - 1;
        if (block->magic != BLOCK_MAGIC)
            violation("no_pool", "%s of %p, which is no block of pool", function, memory);
    }
    if (block->state == STATE_FREED)
        violation("double_free", "%s of %p, which is freed already", function, memory);
    if (block->data != memory)
        violation("no_pool", "%s of %p, which is inside of a block", function, memory);
    return block;
}

bool pool_is_freed_block(const void *memory)
{
    const struct block *block = slot_of(memory);
    if (!block)
        block = (const struct block *) memory - 1;
    return block->magic == BLOCK_MAGIC && block->state == STATE_FREED;
}

/* ---- Both ---- */

static bool is_special(size_t size)
{
    static __thread uint32_t random = 12345;
    random = random * 1664525u + 1013904223u;
    return size <= SPECIAL_SIZE_MAX && random >> 24 < special_share;
}

static void *allocate(size_t size, uint32_t tag, bool is_paged, bool is_driver_s, const void *caller)
{
    bool special = is_special(size);
    struct block *block = special ? NULL : make_plain(size);
    pthread_mutex_lock(&lock);
    if (special)
        block = take_slot();
    if (!block)
        wrong("the pool has no slot left");
    block->magic = BLOCK_MAGIC;
    block->size = size;
    block->tag = tag;
    block->state = STATE_USED;
    block->is_paged = is_paged;
    block->is_driver_s = is_driver_s;
    block->caller = caller;
    block->next = &head;
    block->previous = head.previous;
    block->previous->next = head.previous = block;
    pthread_mutex_unlock(&lock);
    if (special)
        map_slot(block, size);
    memset(block->data, FILL_NEW, size);
    return block->data;
}

static void check_edges(const struct block *block)
{
    const uint8_t *end = block->data + block->size;
    bool is_plain = !slot_of(block->data);
    size_t behind = is_plain ? RED_ZONE : (ALIGNMENT - block->size % ALIGNMENT) % ALIGNMENT;
    const uint8_t *start =
        is_plain ? block->red_zone : (const uint8_t *) ((uintptr_t) block->data / PAGE * PAGE);
    for (size_t i = 0; i < behind; i++)
        if (end[i] != FILL_EDGE)
            violation("pool_overrun", "byte %zu behind a block of %zu bytes was written", i, block->size);
    for (; start < block->data; start++)
        if (*start != FILL_EDGE)
            violation("pool_overrun", "byte %ld before a block of %zu bytes was written",
                      (long) (block->data - start), block->size);
}

static void release(struct block *block)
{
    check_edges(block);
    bool is_plain = !slot_of(block->data);
    if (is_plain)
        memset(block->data, FILL_FREED, block->size);
    else
        unmap_slot(block);
    pthread_mutex_lock(&lock);
    block->state = STATE_FREED;
    block->next->previous = block->previous;
    block->previous->next = block->next;
    pthread_mutex_unlock(&lock);
    if (is_plain)
        retire_plain(block);
}

void *pool_take(size_t size, uint32_t tag, bool is_driver_s)
{
    return allocate(size, tag, false, is_driver_s, NULL);
}

void pool_give_back(void *memory)
{
    release(block_of(memory, "the kernel's release"));
}

void pool_check_leaks(void)
{
    char text[400] = "", tag[5];
    unsigned count = 0;
    pthread_mutex_lock(&lock);
    for (const struct block *block = head.next; block != &head; block = block->next)
        if (block->is_driver_s && ++count <= LEAKS_SHOWN)
            snprintf(text + strlen(text), sizeof text - strlen(text), " %s:%zu(driver+0x%llx)",
                     tag_text(block->tag, tag), block->size, (unsigned long long) offset_of(block->caller));
    pthread_mutex_unlock(&lock);
    if (count > 0)
        violation("pool_leak", "%u blocks are left after unload:%s", count, text);
    for (unsigned i = 0; i < QUARANTINE; i++) {
        free_plain(quarantine[i]);
        quarantine[i] = NULL;
    }
}

/* Says whether this allocation of the driver fails, as it may at any time (return values of both routines). */
static bool fails_now(void)
{
    unsigned long number = __atomic_add_fetch(&allocation_count, 1, __ATOMIC_RELAXED);
    return fail_number != 0 && (number == fail_number || (fails_later && number > fail_number));
}

static void check_request(const char *function, size_t size, uint32_t tag, bool is_paged)
{
    if (size == 0 || tag == 0)
        violation("pool_request", "%s of %zu bytes with tag %u", function, size, tag);
    level_at_most(is_paged ? APC_LEVEL : DISPATCH_LEVEL, function);
}

/* ExAllocatePoolWithTag. Documentation, Remarks: nonpaged pool at most at DISPATCH_LEVEL, paged pool at most
 * at APC_LEVEL; size and tag are not 0. Memory that code can run in (NonPagedPool) is for no driver that
 * claims to be compatible with memory integrity. The content is not initialised. */
static NTAPI void *ExAllocatePoolWithTag(int type, SIZE_T size, ULONG tag)
{
    if (type != PagedPool && type != NonPagedPoolNx)
        violation("executable_pool", "ExAllocatePoolWithTag of pool type %d", type);
    check_request("ExAllocatePoolWithTag", size, tag, type == PagedPool);
    return fails_now() ? NULL : allocate(size, tag, type == PagedPool, true, __builtin_return_address(0));
}

/* ExAllocatePool2. Documentation, Parameters: exactly one kind of pool; Remarks: memory is all 0 unless it is
 * asked for uninitialised; levels as above. */
static NTAPI void *ExAllocatePool2(uint64_t flags, SIZE_T size, ULONG tag)
{
    bool is_paged = (flags & POOL_FLAG_PAGED) != 0;
    if ((flags & POOL_FLAG_NON_PAGED_EXECUTE) != 0 || ((flags & POOL_FLAG_NON_PAGED) != 0) == is_paged)
        violation("executable_pool", "ExAllocatePool2 with flags 0x%llx", (unsigned long long) flags);
    check_request("ExAllocatePool2", size, tag, is_paged);
    if (fails_now())
        return NULL;
    void *memory = allocate(size, tag, is_paged, true, __builtin_return_address(0));
    return flags & POOL_FLAG_UNINITIALIZED ? memory : memset(memory, 0, size);
}

/* ExFreePoolWithTag. Documentation, Remarks: with the tag of the allocation (0: any); paged memory at most at
 * APC_LEVEL, other memory at most at DISPATCH_LEVEL; once. */
static NTAPI void ExFreePoolWithTag(void *memory, ULONG tag)
{
    struct block *block = block_of(memory, "ExFreePoolWithTag");
    level_at_most(block->is_paged ? APC_LEVEL : DISPATCH_LEVEL, "ExFreePoolWithTag");
    if (!block->is_driver_s)
        violation("no_pool", "ExFreePoolWithTag of memory of the kernel's own");
    if (tag != 0 && tag != block->tag)
        violation("wrong_tag", "ExFreePoolWithTag with tag 0x%x of a block with tag 0x%x", tag, block->tag);
    release(block);
}

static NTAPI void ExFreePool(void *memory)
{
    ExFreePoolWithTag(memory, 0);
}

const struct export pool_exports[] = {EXPORT(ExAllocatePoolWithTag),
                                      EXPORT(ExAllocatePool2),
                                      EXPORT(ExFreePoolWithTag),
                                      EXPORT(ExFreePool),
                                      {NULL, NULL}};
