/* Descriptors that shall send signals (O_ASYNC). The kernel sends them to the caller if nobody else has been
 * said to get them, but of a terminal to all that are in its foreground: to the controller, or to a protected
 * server, and by F_SETSIG any signal. That changes while a call is decided about, so that no terminal may
 * send signals, nor what may be one by the time of the call. Knows no rules. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "beside.h"
#include "handle_calls.h"
#include "syscalls.h"
#include "tracer.h"

bool cbpd_asks_for_signals(const struct syscall_entry *entry)
{
    switch (syscall_kind(entry->architecture, entry->number)) {
    case SYSCALL_FCNTL:
    case SYSCALL_FCNTL64:
        return (uint32_t) entry->arguments[1] == F_SETFL;
    case SYSCALL_IOCTL:
        return (uint32_t) entry->arguments[1] == FIOASYNC;
    default:
        return false;
    }
}

struct device_look {
    uint32_t tid;
    int fd;
    bool is_other; /* it is there, and no device */
};

/* By what it is, because a terminal's name can be made up. */
static void look_for_device(void *block)
{
    struct device_look *look = block;
    struct stat status;
    char path[64];
    snprintf(path, sizeof path, "/proc/%u/fd/%d", look->tid, look->fd);
    look->is_other = stat(path, &status) == 0 && !S_ISCHR(status.st_mode);
}

bool cbpd_signals_may_reach_others(struct tracer *self, const struct task *task,
                                   const struct syscall_entry *entry)
{
    struct device_look look = {.tid = task->base.tid, .fd = (int) entry->arguments[0]};
    return !cbpd_look_now(self, look_for_device, &look, sizeof look) || !look.is_other ||
           cbpd_descriptors_are_shared(self, task);
}
