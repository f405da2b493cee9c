/* Knows of which processes an absolute path starts where it does for the helper: then the helper looks the path
 * up without a visit to their folder in /proc. Knows no events and no rules.
 *
 * A process has the helper's root if it had it when it executed the target of a launch, under the filter, or if
 * its creator had it. From then on a root can only become another one by a call that the filter stops: chroot,
 * pivot_root, setns, or unshare and clone with a namespace of mounts, of every architecture. (clone3 fails
 * there.) A root is shared with other tasks only if they were created with CLONE_FS: descendants of that target,
 * under the filter, too. So the first such call, whoever makes it and before it happens, ends this knowledge for
 * all and for ever. A filtered task that another tracer may get ends it as well.
 *
 * A new call of a later kernel that changes roots has to be added to the filter. A new flag of unshare stops.
 *
 * What is mounted over the root itself is not seen by those who have it, and the helper is one of them. If
 * somebody outside changes the root of all by pivot_root, then the helper's changes, too. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "tracer.h"

/* One folder can be the root of several mounts, with other mounts below it. */
struct root {
    uint64_t device, inode;
    unsigned long mount_id;
};

/* Identifies the root that is open as fd, and closes it. Asks no file system, so it never waits for one. */
static bool identify_root(int fd, struct root *root)
{
    char name[32], text[512];
    struct statx facts;
    if (fd < 0)
        return false;
    snprintf(name, sizeof name, "fdinfo/%d", fd);
    size_t size = cbpd_read_proc_file((uint32_t) getpid(), name, text, sizeof text);
    const char *id = size > 0 ? strstr(text, "mnt_id:\t") : NULL;
    bool is_known = id && statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &facts) == 0;
    close(fd);
    if (!is_known)
        return false;
    *root = (struct root){.device = makedev(facts.stx_dev_major, facts.stx_dev_minor),
                          .inode = facts.stx_ino,
                          .mount_id = strtoul(id + strlen("mnt_id:\t"), NULL, 10)};
    return true;
}

void cbpd_look_at_root(struct tracer *self, struct task *task)
{
    struct root ours, theirs;
    task->process->has_our_root =
        !self->roots_may_differ && (task->process->filter_parts & CBP_LAUNCH_FLAG_EXECUTIONS) != 0 &&
        identify_root(open("/", O_PATH | O_CLOEXEC), &ours) &&
        identify_root(cbpd_open_proc(task->base.tid, "root", O_PATH), &theirs) &&
        ours.device == theirs.device && ours.inode == theirs.inode && ours.mount_id == theirs.mount_id;
}

void cbpd_note_other_root(struct tracer *self)
{
    self->roots_may_differ = true;
}

bool cbpd_has_our_root(const struct tracer *self, const struct process *process)
{
    return process->has_our_root && !self->roots_may_differ;
}
