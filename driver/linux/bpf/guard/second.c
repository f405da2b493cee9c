/* Runs the guard's second process. It has the gate's pages mapped, and a read of one holds its memory's lock
 * for as long as a task waits, so it must never change its memory: once it is set up it makes no call but
 * poll and those of letting_go.c. It watches the first process, and lets everything go when that is gone. */
#include "guard.h"

#include "cbp_atomic.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

enum { FIRST_LIMIT_MS = 1000 }; /* for the first process to notice the controller's death */

#define PAGES_SIZE ((size_t) CBP_MACHINE_SLOT_COUNT * CBP_MACHINE_SLOT_SIZE)

static void close_from(int first, int last)
{
    if (first > last || syscall(SYS_close_range, first, last, 0) == 0)
        return;
    for (int number = first; number <= last && number < 1 << 16; number++)
        close(number);
}

/* Closes all descriptors but these, which no other process of the guard may keep from being released. */
static void keep_only(const int *kept, size_t count)
{
    int next = 0;
    for (;;) {
        int lowest = INT_MAX;
        for (size_t i = 0; i < count; i++)
            if (kept[i] >= next && kept[i] < lowest)
                lowest = kept[i];
        close_from(next, lowest == INT_MAX ? INT_MAX : lowest - 1);
        if (lowest == INT_MAX)
            return;
        next = lowest + 1;
    }
}

static bool has_ended(int process, int timeout_ms)
{
    struct pollfd end = {.fd = process, .events = POLLIN};
    return poll(&end, 1, timeout_ms) > 0;
}

static void wait_for_ends(const struct holdings *held, int first)
{
    for (;;) {
        struct pollfd ends[] = {{.fd = first, .events = POLLIN}, {.fd = held->controller, .events = POLLIN}};
        if (poll(ends, 2, -1) <= 0)
            continue;
        if (ends[0].revents == 0 && !has_ended(first, FIRST_LIMIT_MS))
            (void) syscall(SYS_pidfd_send_signal, first, SIGKILL, NULL, 0); /* it is stopped, or stuck */
        cbpd_release_everything(held, true);
        (void) has_ended(first, FIRST_LIMIT_MS);
        cbpd_leave_neighbours(); /* its entry is a dead one's now */
        return;
    }
}

__attribute__((noreturn)) static void run_second(const struct holdings *held, int first)
{
    const int kept[] = {held->groups[GROUP_UPPER], held->groups[GROUP_LOWER], held->gate.abort,
                        held->controller, first};
    keep_only(kept, sizeof kept / sizeof kept[0]);
    wait_for_ends(held, first);
    _exit(0);
}

uint32_t cbpd_start_second(struct guard *self)
{
    struct holdings *held = &self->holdings;
    void *pages = MAP_FAILED;
    int first = (int) syscall(SYS_pidfd_open, getpid(), 0);
    if (first < 0)
        return cbpd_refuse_request_os(self, errno, "cannot watch the guard");
    if (held->gate.file >= 0) {
        pages = mmap(NULL, PAGES_SIZE, PROT_READ, MAP_SHARED, held->gate.file, 0);
        if (pages == MAP_FAILED) {
            int error = errno;
            close(first);
            return cbpd_refuse_request_os(self, error, "cannot map the gate");
        }
        (void) madvise(pages, PAGES_SIZE, MADV_RANDOM);
    }
    pid_t second = fork();
    if (second == 0)
        run_second(held, first);
    int error = errno;
    close(first);
    if (pages != MAP_FAILED)
        munmap(pages, PAGES_SIZE);
    if (second < 0)
        return cbpd_refuse_request_os(self, error, "cannot start the gate's process");
    self->second = (int) syscall(SYS_pidfd_open, second, 0);
    self->second_process_id = (uint32_t) second;
    cbp_store_u64(&held->settings->gate_address, pages == MAP_FAILED ? 0 : (uint64_t) (uintptr_t) pages);
    cbpd_publish_second(self);
    return 0;
}

void cbpd_end_second(struct guard *self)
{
    if (self->second < 0)
        return;
    (void) syscall(SYS_pidfd_send_signal, self->second, SIGKILL, NULL, 0);
    (void) has_ended(self->second, FIRST_LIMIT_MS);
    close(self->second);
    self->second = -1;
}
