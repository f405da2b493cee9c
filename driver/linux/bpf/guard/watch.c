/* Runs the guard's watcher: a thread that sleeps until the controller ends or, while anything may be held, for
 * a moment. Requests can take long, so they are served by another thread.
 *
 * The watcher has descriptors of its own. An event of fanotify is known by the number that its reader gets,
 * and the controller reads from the same groups. So the watcher has just one number free: one under which the
 * controller never gets an event, because something else of its own stands there. */
#include "guard.h"

#include "cbp_atomic.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { TICK_MS = 50 };
enum { OTHERS_MAX = 4096 /* more descriptors the guard never has */ };

static struct {
    struct holdings held; /* with the watcher's numbers */
    int bell;             /* eventfd, by the main thread's number */
    int own_bell;         /* and by the watcher's */
    int free_number;
    uint32_t holds; /* atomic */
} watch = {.bell = -1};

static bool is_kept(int *const *kept, size_t count, int number)
{
    for (size_t i = 0; i < count; i++)
        if (*kept[i] == number)
            return true;
    return false;
}

/* Leaves exactly one number free below those that the watcher needs. */
static bool arrange_numbers(void)
{
    struct holdings *held = &watch.held;
    const int free_number = watch.free_number;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int *const kept[] = {&held->groups[GROUP_UPPER],
                         &held->groups[GROUP_LOWER],
                         &held->gate.fuse,
                         &held->gate.abort,
                         &held->controller,
                         &watch.own_bell,
                         &null};
    const size_t count = sizeof kept / sizeof kept[0];
    for (size_t i = 0; i < count; i++)
        if (*kept[i] >= 0 && (*kept[i] = fcntl(*kept[i], F_DUPFD_CLOEXEC, free_number + 1)) < 0)
            return false;
    for (int number = 0; number < free_number; number++)
        if (dup2(null, number) < 0)
            return false;
    for (int number = free_number; number < free_number + OTHERS_MAX; number++)
        if (!is_kept(kept, count, number))
            close(number);
    return true;
}

__attribute__((noreturn)) static void leave(const struct holdings *held)
{
    cbpd_release_everything(held, true);
    cbpd_leave_neighbours();
    _exit(0); /* the kernel detaches the programs */
}

/* Somebody has ended the gate's connection: the gate would be open without a word. The guard's end is told. */
static bool is_gate_broken(const struct holdings *held)
{
    struct pollfd device = {.fd = held->gate.fuse};
    return held->gate.fuse >= 0 && poll(&device, 1, 0) > 0 && (device.revents & POLLERR) != 0;
}

static void look_once(struct expiring *expiring)
{
    struct holdings *held = &watch.held;
    bool holds = cbp_load_u32(&watch.holds) != 0 || cbpd_anything_waits(expiring);
    bool reads = holds && cbp_load_u32(&held->shared->needs_reading) != 0;
    struct pollfd waited[] = {{.fd = held->controller, .events = POLLIN},
                              {.fd = watch.own_bell, .events = POLLIN},
                              {.fd = reads ? held->groups[GROUP_UPPER] : -1, .events = POLLIN},
                              {.fd = reads ? held->groups[GROUP_LOWER] : -1, .events = POLLIN}};
    (void) poll(waited, sizeof waited / sizeof waited[0], holds ? TICK_MS : -1);
    if (waited[0].revents != 0 || (holds && is_gate_broken(held)))
        leave(held);
    if (waited[1].revents != 0) {
        uint64_t count;
        (void) !read(watch.own_bell, &count, sizeof count);
    }
    if (holds || waited[1].revents != 0)
        cbpd_expire(expiring, cbpd_guard_time_ns());
}

static void *run(void *unused)
{
    static struct expiring expiring = {.held = &watch.held};
    (void) unused;
    if (unshare(CLONE_FILES) != 0 || !arrange_numbers())
        _exit(1);
    for (;;)
        look_once(&expiring);
    return NULL;
}

uint32_t cbpd_start_watcher(struct guard *self)
{
    pthread_t thread;
    watch.held = self->holdings;
    watch.free_number = self->socket_number;
    watch.bell = watch.own_bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (watch.bell < 0)
        return cbpd_refuse_request_os(self, errno, "cannot make an eventfd");
    int error = pthread_create(&thread, NULL, run, NULL);
    if (error != 0)
        return cbpd_refuse_request_os(self, error, "cannot start the watcher");
    return 0;
}

void cbpd_wake_watcher(bool holds)
{
    const uint64_t one = 1;
    cbp_store_u32(&watch.holds, holds);
    (void) !write(watch.bell, &one, sizeof one);
}
