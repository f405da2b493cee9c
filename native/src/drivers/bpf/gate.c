/* Reads and answers tasks that wait in the gate: see guard_process.h. Speaks FUSE with the kernel, of which
 * only reads of pages and their interruptions come here. One thread at a time reads; any may answer, also
 * beside the guard: whoever swaps the slot's state first has decided. */
#define _GNU_SOURCE
#include "guard_process.h"

#include "cbp_atomic.h"
#include "cbprocess.h"
#include "proc_files.h"

#include <errno.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REQUEST_SIZE_MAX = 16384, STATE_MASK = 255, STATUS_SIZE = 4096 };

union request {
    struct fuse_in_header head;
    unsigned char room[REQUEST_SIZE_MAX];
};

static void answer_page(const struct cbpi_guard *guard, uint64_t request_id)
{
    struct fuse_out_header answer = {.len = sizeof answer, .error = -EIO, .unique = request_id};
    (void) !write(guard->descriptors[CBP_GUARD_FD_GATE], &answer,
                  sizeof answer); /* ENOENT: it was answered */
}

static bool is_waiting(uint64_t state)
{
    return (state & STATE_MASK) == CBP_MACHINE_SLOT_WAITING;
}

/* Takes a task that waits. False: it no longer does, so that nobody is asked. */
static bool take(struct cbpi_guard *guard, const union request *request, struct cbpi_gate_place *place)
{
    struct fuse_read_in read;
    memcpy(&read, request->room + sizeof request->head, sizeof read);
    uint64_t index = read.offset / CBP_MACHINE_SLOT_SIZE;
    if (index < CBP_MACHINE_SLOT_COUNT) {
        struct cbp_machine_slot *slot = &guard->slots[index];
        uint64_t state = cbp_load_u64(&slot->state);
        cbp_store_u64(&slot->request_id, request->head.unique);
        if (is_waiting(state)) {
            *place = (struct cbpi_gate_place){.slot = (uint32_t) index, .state = state};
            return true;
        }
    }
    answer_page(guard, request->head.unique);
    return false;
}

/* Says whether SIGKILL is pending for the task or its process. */
static bool is_being_killed(uint32_t thread_id)
{
    char text[STATUS_SIZE];
    static const char *const labels[] = {"\nSigPnd:\t", "\nShdPnd:\t"};
    if (cbpd_read_proc_file(thread_id, "status", text, sizeof text) == 0)
        return true; /* it is gone */
    for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++) {
        const char *found = strstr(text, labels[i]);
        if (found && (strtoull(found + strlen(labels[i]), NULL, 16) >> (SIGKILL - 1) & 1))
            return true;
    }
    return false;
}

/* A signal came for a waiting task. A killed one waits for its verdict nevertheless, and cannot end; where it
 * would have begun something, nobody needs the verdict. An end goes on being told. */
static void serve_interruption(struct cbpi_guard *guard, const union request *request)
{
    struct fuse_interrupt_in interruption;
    memcpy(&interruption, request->room + sizeof request->head, sizeof interruption);
    for (uint32_t i = 0; i < CBP_MACHINE_SLOT_COUNT; i++) {
        struct cbp_machine_slot *slot = &guard->slots[i];
        struct cbpi_gate_place place = {.slot = i, .state = cbp_load_u64(&slot->state)};
        if (cbp_load_u64(&slot->request_id) != interruption.unique || !is_waiting(place.state))
            continue;
        struct cbp_machine_record record;
        memcpy(&record, slot->body, sizeof record);
        if (slot->stop != CBP_MACHINE_STOP_EXIT && is_being_killed(record.thread_id))
            (void) cbpi_gate_answer(guard, &place, false);
        return;
    }
}

bool cbpi_gate_read(struct cbpi_guard *guard, struct cbpi_gate_place *place)
{
    union request request;
    int fuse = guard->descriptors[CBP_GUARD_FD_GATE];
    for (;;) {
        ssize_t size = fuse < 0 ? -1 : read(fuse, &request, sizeof request);
        if (size < 0 && (errno == EINTR || errno == ENOENT))
            continue; /* ENOENT: its task was killed just now */
        if (size < (ssize_t) sizeof request.head)
            return false;
        switch (request.head.opcode) {
        case FUSE_READ:
            if (take(guard, &request, place))
                return true;
            break;
        case FUSE_INTERRUPT:
            serve_interruption(guard, &request);
            break;
        case FUSE_FORGET:
        case FUSE_BATCH_FORGET:
            break; /* these have no answer */
        default:
            answer_page(guard, request.head.unique);
        }
    }
}

void cbpi_gate_set_deadline(struct cbpi_guard *guard, const struct cbpi_gate_place *place,
                            uint64_t deadline_ns, bool refuses)
{
    struct cbp_machine_slot *slot = &guard->slots[place->slot];
    if (!cbpi_gate_is_open(guard, place))
        return;
    slot->timeout_refuses = refuses;
    cbp_store_u64(&slot->deadline_ns, deadline_ns);
}

uint32_t cbpi_gate_answer(struct cbpi_guard *guard, const struct cbpi_gate_place *place, bool refuses)
{
    struct cbp_machine_slot *slot = &guard->slots[place->slot];
    uint64_t request_id = cbp_load_u64(&slot->request_id), state = place->state;
    uint64_t verdict = refuses ? CBP_MACHINE_SLOT_REFUSED : CBP_MACHINE_SLOT_ALLOWED;
    if (!cbp_compare_swap_u64(&slot->state, &state, (state & ~(uint64_t) STATE_MASK) | verdict))
        return CBP_ERROR_TIMEOUT;
    answer_page(guard, request_id);
    return 0;
}

bool cbpi_gate_is_open(const struct cbpi_guard *guard, const struct cbpi_gate_place *place)
{
    return cbp_load_u64(&guard->slots[place->slot].state) == place->state;
}
