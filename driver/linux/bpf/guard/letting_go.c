/* Lets held operations go on: all of them at once, or those that are named. Both processes of the guard call
 * this at any time, so it makes system calls only and takes no lock. It must work while another process still
 * has copies of the same descriptors: a group is not released then, and its events wait for a response. */
#include "guard.h"

#include "cbp_atomic.h"

#include <errno.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/fanotify.h>
#include <unistd.h>

/* A task that has passed the mark when it went may still bring an event. */
enum { QUIET_MS = 5, ROUNDS_MAX = 50, NUMBERS_MAX = 1 << 16 };

void cbpd_let_number_go(int group, int number, bool refuses)
{
    struct fanotify_response response = {.fd = number, .response = refuses ? FAN_DENY : FAN_ALLOW};
    if (group >= 0)
        (void) !write(group, &response, sizeof response); /* ENOENT: somebody has answered */
}

void cbpd_answer_page(int fuse, uint64_t request_id)
{
    struct fuse_out_header answer = {.len = sizeof answer, .error = -EIO, .unique = request_id};
    if (fuse >= 0)
        (void) !write(fuse, &answer, sizeof answer); /* ENOENT: somebody has answered */
}

uint32_t cbpd_drain_group(int group)
{
    struct fanotify_event_metadata event;
    uint32_t count = 0;
    while (group >= 0 && read(group, &event, sizeof event) == (ssize_t) sizeof event) {
        if (event.fd < 0)
            continue;
        cbpd_let_number_go(group, event.fd, false);
        close(event.fd);
        count++;
    }
    return count;
}

/* A number is the lowest that was free, so one above these means as many open files. */
void cbpd_let_all_numbers_go(const struct holdings *held)
{
    for (int number = 0; number < NUMBERS_MAX; number++)
        for (int i = 0; i < GROUP_COUNT; i++)
            cbpd_let_number_go(held->groups[i], number, false);
}

static void let_files_go(const struct holdings *held, bool all_numbers)
{
    const struct cbp_machine_shared *shared = held->shared;
    for (int i = 0; i < GROUP_COUNT; i++)
        cbpd_flush_marks(held->groups[i]);
    for (uint32_t i = 0; i < CBP_MACHINE_HELD_COUNT; i++)
        if (cbp_load_u32(&shared->held[i].state) != CBP_MACHINE_HELD_FREE &&
            shared->held[i].group < GROUP_COUNT)
            cbpd_let_number_go(held->groups[shared->held[i].group], shared->held[i].descriptor, false);
    for (int round = 0; round < ROUNDS_MAX; round++) {
        struct pollfd groups[GROUP_COUNT];
        for (int i = 0; i < GROUP_COUNT; i++) {
            (void) cbpd_drain_group(held->groups[i]);
            groups[i] = (struct pollfd){.fd = held->groups[i], .events = POLLIN};
        }
        if (poll(groups, GROUP_COUNT, QUIET_MS) <= 0)
            break;
    }
    /* The controller may have read an event, and ended before it wrote that down. */
    if (all_numbers)
        cbpd_let_all_numbers_go(held);
}

void cbpd_release_everything(const struct holdings *held, bool controller_is_gone)
{
    if (held->settings) {
        cbp_store_u32(&held->settings->is_on, 0);
        cbp_store_u32(&held->settings->gate_process_id, 0);
    }
    if (held->gate.abort >= 0)
        (void) !write(held->gate.abort, "1", 1);
    if (held->groups[GROUP_UPPER] >= 0)
        let_files_go(held, controller_is_gone);
}
