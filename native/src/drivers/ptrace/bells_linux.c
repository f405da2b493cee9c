/* The bells of channel_client.h as futexes on the channel's own words. Not private ones: the words are in
 * memory that two processes share. */
#define _GNU_SOURCE
#include "channel_client.h"
#include "ptrace_link.h"

#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int cbpi_bell_wait(struct cbpi_link *link, uint32_t session_id, uint32_t value, uint64_t timeout_ns)
{
    struct timespec timeout = {.tv_sec = (time_t) (timeout_ns / 1000000000u),
                               .tv_nsec = (long) (timeout_ns % 1000000000u)};
    const uint32_t *word = &link->channel->sessions[session_id].bell;
    return syscall(SYS_futex, word, FUTEX_WAIT, value, timeout_ns == UINT64_MAX ? NULL : &timeout, NULL, 0) ==
           0;
}

static void wake(const uint32_t *word, uint32_t count)
{
    syscall(SYS_futex, word, FUTEX_WAKE, count < INT_MAX ? (int) count : INT_MAX, NULL, NULL, 0);
}

void cbpi_bell_wake(struct cbpi_link *link, uint32_t session_id, uint32_t count)
{
    wake(&link->channel->sessions[session_id].bell, count);
}

void cbpi_bell_wake_driver(struct cbpi_link *link)
{
    wake(&link->channel->answer_bell, 1);
}
