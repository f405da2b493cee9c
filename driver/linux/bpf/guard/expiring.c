/* Lets go of operations whose time is over: those that the controller has read and not answered by their
 * deadline, those that it has not read at all, and everything while it is silent. The controller may answer at
 * any moment meanwhile, so each operation is taken by compare-and-swap first. */
#include "guard.h"

#include "cbp_atomic.h"

#include <linux/fuse.h>
#include <string.h>
#include <sys/fanotify.h>
#include <unistd.h>

enum { REQUEST_STEP = 2, GUESS_COUNT = 4096, REQUEST_SIZE_MAX = 16384 };
/* The core decides first about operations that it has read, and the guard after that. */
#define GRACE_NS (UINT64_C(250) * CBP_NS_PER_MS)

static bool is_silent(const struct cbp_machine_shared *shared, uint64_t now_ns)
{
    uint64_t silence_ns = cbp_load_u32(&shared->silence_ms) * CBP_NS_PER_MS;
    uint64_t beat_ns = cbp_load_u64(&shared->heartbeat_ns);
    return silence_ns > 0 && beat_ns > 0 && now_ns > beat_ns && now_ns - beat_ns > silence_ns;
}

static void expire_file(const struct holdings *held, struct cbp_machine_held *file, bool refuses)
{
    uint32_t open = CBP_MACHINE_HELD_OPEN;
    int number = file->descriptor;
    uint32_t group = file->group;
    if (group >= GROUP_COUNT || !cbp_compare_swap_u32(&file->state, &open, CBP_MACHINE_HELD_EXPIRING))
        return;
    cbpd_let_number_go(held->groups[group], number, refuses);
    cbp_store_u32(&file->state, CBP_MACHINE_HELD_EXPIRED);
    (void) cbp_add_u64(&held->shared->timed_out, 1);
}

static void expire_files(struct expiring *self, uint64_t now_ns, bool silent)
{
    const struct holdings *held = self->held;
    self->any_file = false;
    for (uint32_t i = 0; i < CBP_MACHINE_HELD_COUNT; i++) {
        struct cbp_machine_held *file = &held->shared->held[i];
        uint32_t state = cbp_load_u32(&file->state);
        if (state == CBP_MACHINE_HELD_FREE)
            continue;
        self->any_file = true;
        uint64_t deadline_ns = cbp_load_u64(&file->deadline_ns);
        if (state == CBP_MACHINE_HELD_OPEN && (silent || (deadline_ns != 0 && now_ns >= deadline_ns)))
            expire_file(held, file, !silent && file->timeout_refuses != 0);
        else if (state == CBP_MACHINE_HELD_ANSWERED && silent && file->group < GROUP_COUNT)
            cbpd_let_number_go(held->groups[file->group], file->descriptor,
                               false); /* if it was not written */
    }
}

/* Says whether the task in the slot has waited long enough. One that nobody has looked at has no deadline. */
static bool is_late(const struct holdings *held, const struct cbp_machine_slot *slot, uint64_t now_ns)
{
    uint64_t deadline_ns = cbp_load_u64(&slot->deadline_ns);
    uint64_t timeout_ns = cbp_load_u32(&held->shared->timeout_ms) * CBP_NS_PER_MS;
    if (deadline_ns != UINT64_MAX)
        return deadline_ns != 0 && now_ns >= deadline_ns;
    return timeout_ns > 0 && now_ns > slot->entered_ns && now_ns - slot->entered_ns > timeout_ns + GRACE_NS;
}

static void expire_slot(const struct holdings *held, struct cbp_machine_slot *slot, uint64_t state,
                        bool refuses)
{
    uint64_t request_id = cbp_load_u64(&slot->request_id);
    uint64_t verdict = refuses ? CBP_MACHINE_SLOT_REFUSED : CBP_MACHINE_SLOT_ALLOWED;
    if (request_id == 0 || !cbp_compare_swap_u64(&slot->state, &state, (state & ~UINT64_C(255)) | verdict))
        return;
    cbpd_answer_page(held->gate.fuse, request_id);
    (void) cbp_add_u64(&held->shared->timed_out, 1);
}

/* Reads requests that the controller has not read, and lets their tasks go. */
static void drain_gate(const struct holdings *held)
{
    static union {
        struct fuse_in_header head;
        unsigned char room[REQUEST_SIZE_MAX];
    } request;
    while (read(held->gate.fuse, &request, sizeof request) >= (ssize_t) sizeof request.head) {
        if (request.head.opcode == FUSE_INTERRUPT || request.head.opcode == FUSE_FORGET ||
            request.head.opcode == FUSE_BATCH_FORGET)
            continue; /* these have no answer */
        cbpd_answer_page(held->gate.fuse, request.head.unique);
        if (request.head.opcode == FUSE_READ)
            (void) cbp_add_u64(&held->shared->let_go, 1);
    }
}

/* Answers requests whose numbers nobody has written down: the controller stopped between two instructions. The
 * kernel counts them. */
static void guess_requests(const struct holdings *held, uint64_t last_request_id)
{
    for (uint64_t i = 1; i <= GUESS_COUNT; i++)
        cbpd_answer_page(held->gate.fuse, last_request_id + i * REQUEST_STEP);
}

static void expire_slots(struct expiring *self, uint64_t now_ns, bool silent)
{
    const struct holdings *held = self->held;
    bool any_unread = false;
    self->any_task = false;
    for (uint32_t i = 0; i < CBP_MACHINE_SLOT_COUNT; i++) {
        struct cbp_machine_slot *slot = &held->slots[i];
        uint64_t state = cbp_load_u64(&slot->state);
        uint64_t request_id = cbp_load_u64(&slot->request_id);
        uint32_t kind = (uint32_t) (state & 255);
        if (kind == CBP_MACHINE_SLOT_FREE)
            continue;
        self->any_task = true;
        if (request_id > self->last_request_id)
            self->last_request_id = request_id;
        if (kind != CBP_MACHINE_SLOT_WAITING) {
            if (silent && request_id != 0)
                cbpd_answer_page(held->gate.fuse, request_id); /* if that was not written */
        } else if (silent || is_late(held, slot, now_ns)) {
            expire_slot(held, slot, state, !silent && slot->timeout_refuses != 0);
            any_unread |= request_id == 0;
        }
    }
    if (!any_unread)
        return;
    drain_gate(held);
    guess_requests(held, self->last_request_id);
}

/* Reads executions in place of a controller that does not, and allows them. */
static void read_unread(struct expiring *self, uint64_t now_ns, bool silent, uint64_t read_count)
{
    struct cbp_machine_shared *shared = self->held->shared;
    struct pollfd groups[GROUP_COUNT];
    uint64_t timeout_ns = cbp_load_u32(&shared->timeout_ms) * CBP_NS_PER_MS;
    bool helps = silent || cbp_load_u32(&shared->needs_reading) != 0;
    for (int i = 0; i < GROUP_COUNT; i++)
        groups[i] = (struct pollfd){.fd = self->held->groups[i], .events = POLLIN};
    int ready = poll(groups, GROUP_COUNT, 0);
    self->any_unread = ready > 0;
    if (ready < 0)
        return;
    for (int i = 0; i < GROUP_COUNT; i++) {
        if ((groups[i].revents & POLLIN) == 0)
            self->stuck_since_ns[i] = 0;
        else if (self->stuck_since_ns[i] == 0 || read_count != self->seen_read_count)
            self->stuck_since_ns[i] = now_ns;
        bool stuck =
            self->stuck_since_ns[i] != 0 && timeout_ns > 0 && now_ns - self->stuck_since_ns[i] >= timeout_ns;
        if ((groups[i].revents & POLLIN) && (helps || stuck))
            (void) cbp_add_u64(&shared->let_go, cbpd_drain_group(self->held->groups[i]));
    }
    self->seen_read_count = read_count;
}

bool cbpd_anything_waits(const struct expiring *self)
{
    return self->any_file || self->any_unread || self->any_task;
}

void cbpd_expire(struct expiring *self, uint64_t now_ns)
{
    const struct holdings *held = self->held;
    bool silent = is_silent(held->shared, now_ns);
    if (held->groups[GROUP_UPPER] >= 0) {
        /* The count is read before the table, and raised after an entry was filled, so none is passed over. */
        uint64_t read_count = cbp_load_u64(&held->shared->read_count);
        if (self->any_file || silent || read_count != self->seen_read_count)
            expire_files(self, now_ns, silent);
        read_unread(self, now_ns, silent, read_count);
        /* It may have stopped after it had read an event, before it wrote that down. */
        if (silent && !self->was_silent)
            cbpd_let_all_numbers_go(held);
    }
    if (held->gate.fuse >= 0 && held->slots)
        expire_slots(self, now_ns, silent);
    self->was_silent = silent;
}
