/* Wakes the sleeping tracer: an answer, a child's stop and a ready reader move the bell. Knows no tasks. */
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cbp_atomic.h"
#include "tracer.h"

/* The bell is set once. A signal handler and other threads use it, too. */
static struct cbp_channel *bell_channel;

static void move_bell(int signal)
{
    (void) signal;
    cbp_add_u32(&bell_channel->answer_bell, 1);
}

void cbpd_wake_tracer(void)
{
    cbp_add_u32(&bell_channel->answer_bell, 1);
    if (cbp_load_u32(&bell_channel->driver_sleeping) != 0)
        syscall(SYS_futex, &bell_channel->answer_bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* SIGCHLD costs a run of the handler, so it is listened to only during a sleep on the bell. */
void cbpd_listen_for_children(bool on)
{
    static bool listening;
    if (listening == on)
        return;
    listening = on;
    struct sigaction action = {.sa_handler = on ? move_bell : SIG_DFL, .sa_flags = on ? 0 : SA_NOCLDSTOP};
    sigaction(SIGCHLD, &action, NULL);
}

void cbpd_sleep_on_bell(uint32_t value, uint64_t until_ns)
{
    struct timespec timeout = {0, 0};
    uint64_t now = cbpd_now_ns();
    uint64_t wait_ns = until_ns > now ? until_ns - now : 0;
    timeout.tv_sec = (time_t) (wait_ns / CBP_NS_PER_S);
    timeout.tv_nsec = (long) (wait_ns % CBP_NS_PER_S);
    if (until_ns != 0 && wait_ns == 0)
        return;
    cbp_store_u32(&bell_channel->driver_sleeping, 1);
    syscall(SYS_futex, &bell_channel->answer_bell, FUTEX_WAIT, value, until_ns != 0 ? &timeout : NULL, NULL,
            0);
    cbp_store_u32(&bell_channel->driver_sleeping, 0);
}

void cbpd_set_bell(struct cbp_channel *channel)
{
    bell_channel = channel;
}

uint32_t cbpd_bell_value(void)
{
    return cbp_load_u32(&bell_channel->answer_bell);
}
