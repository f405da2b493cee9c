/* Translates between the ids of a task's own namespaces, which that task uses, and those of the helper's,
 * which are also the controller's. Knows /proc; no stops and no rules.
 *
 * Any process may read how many levels a task's namespace lies below the helper's. Which namespace it is,
 * /proc hides for a task that is not dumpable: two such tasks of one depth may be in one namespace or two. */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/nsfs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tracer.h"

/* Gives a process's namespace, read through a task that lives: the first thread may have ended. */
static uint64_t namespace_of(struct tracer *self, const struct task *task)
{
    struct process *process = task->process;
    if (process->pid_namespace == 0)
        process->pid_namespace = cbpd_read_pid_namespace(self, task->base.tid);
    return process->pid_namespace;
}

static uint64_t own_namespace(struct tracer *self)
{
    static uint64_t inode;
    if (inode == 0)
        inode = cbpd_read_pid_namespace(self, (uint32_t) getpid());
    return inode;
}

static bool is_surely_in_ours(struct tracer *self, const struct task *task)
{
    uint64_t inode = namespace_of(self, task);
    return inode != 0 && inode == own_namespace(self);
}

bool cbpd_open_view(struct tracer *self, struct task *task, struct id_view *view)
{
    struct status_facts facts;
    *view = (struct id_view){.process = task->process};
    if (is_surely_in_ours(self, task))
        return true;
    if (!cbpd_read_status(self, task->base.tid, &facts))
        return false;
    view->is_foreign = facts.depth > 1;
    view->inode = namespace_of(self, task);
    view->level = facts.depth - 1;
    return true;
}

struct inside_look {
    uint32_t tid, levels;
    uint64_t inode;
};

/* Says whether a task, so many levels below a namespace, is inside of it. */
static enum knowledge look_inside(void *block)
{
    const struct inside_look *look = block;
    struct stat status;
    int fd = cbpd_open_proc(look->tid, "ns/pid", O_RDONLY);
    if (fd < 0)
        return cbpd_is_there(look->tid) ? NOT_KNOWN : ABSENT;
    for (uint32_t left = look->levels; fd >= 0 && left > 0; left--) {
        int parent = ioctl(fd, NS_GET_PARENT);
        close(fd);
        fd = parent;
    }
    if (fd < 0)
        return NOT_KNOWN;
    bool is_read = fstat(fd, &status) == 0;
    close(fd);
    return !is_read ? NOT_KNOWN : status.st_ino == look->inode ? KNOWN : ABSENT;
}

enum knowledge cbpd_is_visible(struct tracer *self, const struct id_view *view, uint32_t tid,
                               const struct status_facts *facts)
{
    if (!view->is_foreign || facts->group == view->process->base.pid)
        return KNOWN;
    if (facts->depth <= view->level)
        return ABSENT;
    struct inside_look look = {.tid = tid, .levels = facts->depth - 1 - view->level, .inode = view->inode};
    return view->inode != 0 ? look_now(self, look_inside, &look, sizeof look) : NOT_KNOWN;
}

enum knowledge cbpd_seen_as(struct tracer *self, const struct id_view *view, uint32_t tid, uint32_t *id)
{
    struct status_facts facts;
    *id = tid;
    if (!view->is_foreign)
        return KNOWN;
    if (!cbpd_read_status(self, tid, &facts))
        return cbpd_is_there(tid) ? NOT_KNOWN : ABSENT;
    enum knowledge visible = cbpd_is_visible(self, view, tid, &facts);
    *id = visible == KNOWN ? facts.ids[view->level] : 0;
    return visible;
}

/* Says whether a task has that id in the view. */
static enum knowledge is_known_as(struct tracer *self, const struct id_view *view, uint32_t tid, uint32_t id)
{
    struct status_facts facts;
    if (!cbpd_read_status(self, tid, &facts))
        return cbpd_is_there(tid) ? NOT_KNOWN : ABSENT;
    if (facts.depth <= view->level || facts.ids[view->level] != id)
        return ABSENT;
    return cbpd_is_visible(self, view, tid, &facts);
}

/* Looks among untraced processes, because a tree can enter a namespace that is older than itself. */
static enum knowledge find_outside(struct tracer *self, const struct id_view *view, uint32_t id,
                                   uint32_t *tid)
{
    enum knowledge found = ABSENT;
    struct id_list list;
    if (cbpd_list_ids(self, ALL_PROCESSES, &list) != KNOWN)
        return NOT_KNOWN;
    for (uint32_t i = 0; i < list.count && found != KNOWN; i++)
        if (!find_process(&self->helper, list.ids[i]) && is_known_as(self, view, list.ids[i], id) == KNOWN) {
            *tid = list.ids[i];
            found = KNOWN;
        }
    cbpd_free_id_list(&list);
    return found;
}

enum knowledge cbpd_known_as(struct tracer *self, const struct id_view *view, uint32_t id, uint32_t *tid)
{
    enum knowledge found = ABSENT;
    *tid = id;
    if (!view->is_foreign)
        return KNOWN;
    for (const struct task *task = first_task(&self->helper); task && found != KNOWN;
         task = next_task(task)) {
        if (task->process && is_surely_in_ours(self, task))
            continue;
        enum knowledge is_it = is_known_as(self, view, task->base.tid, id);
        if (is_it == ABSENT)
            continue;
        found = is_it;
        *tid = task->base.tid;
    }
    return found != ABSENT ? found : find_outside(self, view, id, tid);
}

struct user_look {
    uint32_t tid, user_id, our_id;
};

/* Translates a user's id. Each line of the map is a range: first id there, first id here, length. */
static enum knowledge look_for_user(void *block)
{
    struct user_look *look = block;
    char path[64];
    uint32_t there, here, count;
    enum knowledge found = ABSENT;
    snprintf(path, sizeof path, "/proc/%u/uid_map", look->tid);
    FILE *map = fopen(path, "re");
    if (!map)
        return NOT_KNOWN;
    while (fscanf(map, "%" SCNu32 " %" SCNu32 " %" SCNu32, &there, &here, &count) == 3)
        if (look->user_id >= there && look->user_id - there < count) {
            look->our_id = here + (look->user_id - there);
            found = KNOWN;
        }
    fclose(map);
    return found;
}

enum knowledge cbpd_user_known_as(struct tracer *self, uint32_t tid, uint32_t user_id, uint32_t *our_id)
{
    struct user_look look = {.tid = tid, .user_id = user_id};
    enum knowledge knowledge = look_now(self, look_for_user, &look, sizeof look);
    *our_id = look.our_id;
    return knowledge;
}
