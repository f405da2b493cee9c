/* Reads and answers executions that wait in fanotify: see guard_process.h. One thread at a time reads; any may
 * answer, also beside the guard: whoever swaps the entry's state first has decided. */
#define _GNU_SOURCE
#include "guard_process.h"

#include "cbp_atomic.h"
#include "cbp_time.h"
#include "cbprocess.h"
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/fanotify.h>
#include <sys/resource.h>
#include <unistd.h>

/* So many numbers must be free before events are read: the kernel refuses an execution whose file it cannot
 * open for its reader, and other threads of this process take numbers meanwhile. */
#define ROOM_KNOWN_NS CBP_NS_PER_MS
enum { HEAD_ROOM = 2 * CBPI_FILE_EVENTS_MAX, EXPIRING_LIMIT_MS = 1000, EXPIRING_STEP_MS = 1 };

static const int group_descriptors[] = {CBP_GUARD_FD_UPPER, CBP_GUARD_FD_LOWER};

static bool probe_head_room(int any)
{
    int copies[HEAD_ROOM], count = 0;
    while (count < HEAD_ROOM) {
        copies[count] = fcntl(any, F_DUPFD_CLOEXEC, 0);
        if (copies[count] < 0)
            break;
        count++;
    }
    for (int i = 0; i < count; i++)
        close(copies[i]);
    return count == HEAD_ROOM;
}

static uint64_t descriptor_limit(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : 0;
}

/* Looks only now and then, because it takes more system calls than all the rest, and when the limit has changed:
 * numbers that were free a moment ago are taken by a program that opens hundreds of files within a millisecond, and
 * no other. */
static bool has_head_room(struct cbpi_guard *guard)
{
    uint64_t now_ns = cbpi_now_ns(), limit = descriptor_limit();
    bool lacks = cbp_load_u32(&guard->shared->needs_reading) != 0;
    if (!lacks && now_ns < guard->room_known_ns && limit == guard->descriptor_limit)
        return true;
    bool has_room = probe_head_room(guard->descriptors[CBP_GUARD_FD_UPPER]);
    if (lacks == has_room)
        cbp_store_u32(&guard->shared->needs_reading, !has_room);
    guard->room_known_ns = has_room ? now_ns + ROOM_KNOWN_NS : 0;
    guard->descriptor_limit = limit;
    guard->busy_number = limit < INT_MAX ? (int) limit / 2 : INT_MAX;
    return has_room;
}

static void respond(const struct cbpi_guard *guard, uint32_t group, int descriptor, bool refuses)
{
    struct fanotify_response response = {.fd = descriptor, .response = refuses ? FAN_DENY : FAN_ALLOW};
    (void) !write(guard->descriptors[group_descriptors[group]], &response, sizeof response);
}

/* Finds a free entry; only the reader takes one, so it stays free. */
static bool find_free(struct cbp_machine_shared *shared, uint32_t *held)
{
    uint32_t first = (uint32_t) (cbp_load_u64(&shared->read_count) % CBP_MACHINE_HELD_COUNT);
    for (uint32_t i = 0; i < CBP_MACHINE_HELD_COUNT; i++) {
        uint32_t index = (first + i) % CBP_MACHINE_HELD_COUNT;
        if (cbp_load_u32(&shared->held[index].state) == CBP_MACHINE_HELD_FREE) {
            *held = index;
            return true;
        }
    }
    return false;
}

/* Reads events of a group, and gives the size of all of them; 0: there is none. */
static size_t read_group(struct cbpi_guard *guard, uint32_t group, struct fanotify_event_metadata *events)
{
    int descriptor = guard->descriptors[group_descriptors[group]];
    ssize_t size;
    do {
        size = descriptor < 0 ? -1 : read(descriptor, events, CBPI_FILE_EVENTS_MAX * sizeof *events);
    } while (size < 0 && descriptor >= 0 && errno == EINTR);
    if (size < 0 && descriptor >= 0 && (errno == EMFILE || errno == ENFILE))
        cbp_store_u32(&guard->shared->needs_reading, 1);
    return size < 0 ? 0 : (size_t) size;
}

/* Writes the event down for the guard, which answers it if this process cannot. */
static bool take(struct cbpi_guard *guard, uint32_t group, const struct fanotify_event_metadata *metadata,
                 uint64_t deadline_ns, struct cbpi_file_event *event)
{
    struct cbp_machine_shared *shared = guard->shared;
    uint32_t held;
    if (!find_free(shared, &held)) {
        respond(guard, group, metadata->fd, false);
        close(metadata->fd);
        (void) cbp_add_u64(&shared->let_go, 1);
        (void) cbp_add_u64(&shared->read_count, 1);
        return false;
    }
    struct cbp_machine_held *entry = &shared->held[held];
    entry->descriptor = metadata->fd;
    entry->group = group;
    entry->timeout_refuses = 0;
    cbp_store_u64(&entry->deadline_ns, deadline_ns);
    cbp_store_u32(&entry->state, CBP_MACHINE_HELD_OPEN);
    (void) cbp_add_u64(&shared->read_count, 1); /* the guard looks at the table when this has changed */
    *event = (struct cbpi_file_event){
        .held = held, .descriptor = metadata->fd, .thread_id = (uint32_t) metadata->pid};
    return true;
}

uint32_t cbpi_held_files_read(struct cbpi_guard *guard, uint32_t group, uint64_t deadline_ns,
                              struct cbpi_file_event *events, bool *is_empty)
{
    struct fanotify_event_metadata read_events[CBPI_FILE_EVENTS_MAX];
    uint32_t count = 0;
    *is_empty = true;
    if (guard->descriptors[CBP_GUARD_FD_UPPER] < 0 || !has_head_room(guard))
        return 0;
    size_t read_count = read_group(guard, group, read_events) / sizeof read_events[0];
    *is_empty = read_count < CBPI_FILE_EVENTS_MAX;
    for (size_t i = 0; i < read_count; i++) {
        if (read_events[i].fd < 0)
            continue;
        if (read_events[i].fd > guard->busy_number) {
            guard->room_known_ns = 0;
            *is_empty = false; /* the kernel may have stopped for want of descriptors */
        }
        count += take(guard, group, &read_events[i], deadline_ns, &events[count]);
    }
    return count;
}

void cbpi_held_file_set_deadline(struct cbpi_guard *guard, uint32_t held, uint64_t deadline_ns, bool refuses)
{
    guard->shared->held[held].timeout_refuses = refuses;
    cbp_store_u64(&guard->shared->held[held].deadline_ns, deadline_ns);
}

/* Waits until the guard, which has swapped the state, has written its response as well: before that the
 * descriptor must not be closed, because another event would get its number. */
static void wait_for_guard(const struct cbpi_guard *guard, const struct cbp_machine_held *entry)
{
    for (int waited_ms = 0; waited_ms < EXPIRING_LIMIT_MS; waited_ms += EXPIRING_STEP_MS) {
        struct pollfd end = {.fd = guard->process, .events = POLLIN};
        if (cbp_load_u32(&entry->state) != CBP_MACHINE_HELD_EXPIRING || poll(&end, 1, EXPIRING_STEP_MS) > 0)
            return;
    }
}

uint32_t cbpi_held_file_answer(struct cbpi_guard *guard, uint32_t held, bool refuses)
{
    struct cbp_machine_held *entry = &guard->shared->held[held];
    uint32_t open = CBP_MACHINE_HELD_OPEN;
    int descriptor = entry->descriptor;
    bool in_time = cbp_compare_swap_u32(&entry->state, &open, CBP_MACHINE_HELD_ANSWERED);
    if (in_time)
        respond(guard, entry->group, descriptor, refuses);
    else
        wait_for_guard(guard, entry);
    cbp_store_u32(&entry->state, CBP_MACHINE_HELD_FREE);
    close(descriptor);
    return in_time ? 0 : CBP_ERROR_TIMEOUT;
}

bool cbpi_held_file_is_open(const struct cbpi_guard *guard, uint32_t held)
{
    return cbp_load_u32(&guard->shared->held[held].state) == CBP_MACHINE_HELD_OPEN;
}
