/* Knows what is dangerous about descriptors: other tasks may share them, and they can send signals (O_ASYNC).
 * By default the kernel sends these signals to the caller, but those of a terminal to its whole foreground,
 * which may include the controller or a protected server; F_SETSIG makes it any signal. This can change while
 * a call is being decided, so nothing that may be a terminal may send signals. Knows no rules. */
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "handle_calls.h"
#include "syscalls.h"
#include "tracer.h"

/* Says whether a task may share its descriptors with a thread (even one of the kernel's for it) or with
 * another process. A task that cannot be compared may share them. */
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
    enum syscall_kind kind = syscall_kind(entry->architecture, entry->number);
    uint32_t operation = (uint32_t) entry->arguments[1];
    return kind == SYSCALL_IOCTL ? operation == FIOASYNC
                                 : (kind == SYSCALL_FCNTL || kind == SYSCALL_FCNTL64) && operation == F_SETFL;
}

struct device_look {
    uint32_t tid;
    int fd;
};

/* Looks at the file's type, because a terminal's name can be made up. ABSENT: it exists and is no device. */
static enum knowledge look_for_device(void *block)
{
    struct device_look *look = block;
    struct stat status;
    char path[64];
    snprintf(path, sizeof path, "/proc/%u/fd/%d", look->tid, look->fd);
    return stat(path, &status) == 0 && !S_ISCHR(status.st_mode) ? ABSENT : NOT_KNOWN;
}

bool cbpd_signals_may_reach_others(struct tracer *self, const struct task *task,
                                   const struct syscall_entry *entry)
{
    struct device_look look = {.tid = task->base.tid, .fd = (int) entry->arguments[0]};
    return look_now(self, look_for_device, &look, sizeof look) != ABSENT ||
           cbpd_descriptors_are_shared(self, task);
}
