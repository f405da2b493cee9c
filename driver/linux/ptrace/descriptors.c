/* What is dangerous about descriptors: others may share them, and they can send signals (O_ASYNC). The kernel sends them to the caller if nobody else has been
 * said to get them, but of a terminal to all that are in its foreground: to the controller, or to a protected
 * server, and by F_SETSIG any signal. That changes while a call is decided about, so that no terminal may
 * send signals, nor what may be one by the time of the call. Knows no rules. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "beside.h"
#include "handle_calls.h"
#include "syscalls.h"
#include "tracer.h"

/* Whether a task's descriptors may be another's as well: a thread's (the kernel's for it, too), or another
 * process's. Whoever cannot be compared may share them. */
bool cbpd_descriptors_are_shared(struct tracer *self, const struct task *task)
{
    if (cbpd_count_threads(self, task->process->base.pid) != 1)
        return true;
    for (const struct task *other = first_task(&self->helper); other; other = next_task(other)) {
        if (other == task)
            continue;
        long order = syscall(SYS_kcmp, (pid_t) task->base.tid, (pid_t) other->base.tid, KCMP_FILES, 0, 0);
        if (order == 0 || (order < 0 && errno != ESRCH))
            return true;
    }
    return false;
}

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
    return !cbpd_look_now(served_tree(self), look_for_device, &look, sizeof look) || !look.is_other ||
           cbpd_descriptors_are_shared(self, task);
}
