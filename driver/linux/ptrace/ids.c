/* The ids that a task uses are those of its own namespaces; everybody else's here are those of ours, which
 * are the controller's. This file translates. Knows /proc, nothing of stops or rules. */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/nsfs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "supervisor.h"

static uint64_t namespace_of(struct process *process)
{
    if (process->pid_namespace == 0)
        process->pid_namespace = read_pid_namespace(process->pid);
    return process->pid_namespace;
}

static uint64_t own_namespace(void)
{
    static uint64_t inode;
    if (inode == 0)
        inode = read_pid_namespace((uint32_t) getpid());
    return inode;
}

/* A namespace that is not known (its process has gone, or /proc is not to be had) counts as ours. */
bool is_in_foreign_namespace(struct process *process)
{
    uint64_t inode = namespace_of(process);
    return inode != 0 && own_namespace() != 0 && inode != own_namespace();
}

/* Whether a task, that many levels below a namespace, is inside of it. */
static bool is_inside(uint32_t tid, uint32_t levels, uint64_t inode)
{
    char path[64];
    struct stat status;
    snprintf(path, sizeof path, "/proc/%u/ns/pid", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (; fd >= 0 && levels > 0; levels--) {
        int parent = ioctl(fd, NS_GET_PARENT);
        close(fd);
        fd = parent;
    }
    bool inside = fd >= 0 && fstat(fd, &status) == 0 && status.st_ino == inode;
    if (fd >= 0)
        close(fd);
    return inside;
}

bool open_view(struct task *task, struct id_view *view)
{
    struct status_facts facts;
    view->inode = 0;
    view->level = 0;
    if (!is_in_foreign_namespace(task->process))
        return true;
    if (!read_status(task->tid, &facts) || facts.depth == 0)
        return false;
    view->inode = namespace_of(task->process);
    view->level = facts.depth - 1;
    return true;
}

bool is_visible(const struct id_view *view, uint32_t tid, const struct status_facts *facts)
{
    return view->inode == 0 ||
           (facts->depth > view->level && is_inside(tid, facts->depth - 1 - view->level, view->inode));
}

uint32_t seen_as(const struct id_view *view, uint32_t tid)
{
    struct status_facts facts;
    if (view->inode == 0)
        return tid;
    return read_status(tid, &facts) && is_visible(view, tid, &facts) ? facts.ids[view->level] : 0;
}

/* In a namespace of its own a tree has only tasks that we trace: whoever is in it descends from a task in it.
 */
uint32_t known_as(const struct id_view *view, uint32_t id)
{
    if (view->inode == 0)
        return id;
    for (const struct task *task = self.tasks; task != NULL; task = task->next) {
        struct status_facts facts;
        if (task->process != NULL && is_in_foreign_namespace(task->process) &&
            read_status(task->tid, &facts) && facts.depth > view->level && facts.ids[view->level] == id &&
            is_visible(view, task->tid, &facts))
            return task->tid;
    }
    return 0;
}

/* Each line of the map is a range: its first id there, its first id here, its length. */
uint32_t user_known_as(uint32_t tid, uint32_t user_id)
{
    char path[64];
    uint32_t there, here, count, found = UINT32_MAX;
    snprintf(path, sizeof path, "/proc/%u/uid_map", tid);
    FILE *map = fopen(path, "re");
    while (map != NULL && fscanf(map, "%" SCNu32 " %" SCNu32 " %" SCNu32, &there, &here, &count) == 3)
        if (user_id >= there && user_id - there < count)
            found = here + (user_id - there);
    if (map != NULL)
        fclose(map);
    return found;
}
