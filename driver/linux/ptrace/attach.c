/* Takes running processes under the filter: all their threads, and their descendants, however fast they
 * create new ones meanwhile. Nothing is stopped for it. Runs in the tracer thread only, which serves
 * everybody else between two processes; and every walk has an end, whatever is born and dies in it.
 *
 * Whatever a traced thread creates is traced from its first instruction on. So threads that are not traced
 * yet can only come from threads that are not either, and looking again until there is nothing new ends with
 * all of them; for descendants likewise. */
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "beside.h"
#include "reading.h"
#include "tracer.h"

/* Most walks are over within the first slice: then nobody gets on before the rule is in force. */
enum { WALK_LIMIT_MS = 5000, FIRST_SLICE_MS = 250, SLICE_MS = 5 };
enum { THREAD_PASSES_MAX = 100, NS_PER_MS = 1000000 };
enum { WISHING_LIMIT_MS = 1000 /* of a whole walk */, WISHING_PAUSE_US = 2000 };

static struct {
    uint64_t end_ns, slice_end_ns;
    uint64_t wishing_end_ns; /* 0: no other helper was asked yet */
    uint32_t number;         /* of this walk: what it goes on from carries it */
    bool is_given_up;
} walk;

/* ---- Walking through /proc ---- */

void cbpd_begin_attaching(void)
{
    uint64_t now = cbpd_now_ns();
    walk.number++;
    walk.end_ns = now + (uint64_t) WALK_LIMIT_MS * NS_PER_MS;
    walk.slice_end_ns = now + (uint64_t) FIRST_SLICE_MS * NS_PER_MS;
    walk.wishing_end_ns = 0;
    walk.is_given_up = false;
}

void cbpd_end_attaching(struct tracer *self)
{
    bool was_on = self->is_attaching;
    self->is_attaching = false;
    if (was_on)
        cbpd_let_released_go(&self->helper);
}

/* To be asked between two processes, when nothing points to a task or a process: any may go meanwhile. False:
 * there is no time left, or nobody to walk for. */
static bool walk_goes_on(struct tracer *self)
{
    uint64_t now = cbpd_now_ns();
    if (now < walk.slice_end_ns || walk.is_given_up)
        return !walk.is_given_up;
    walk.is_given_up = !self->serve_in_between(self) || now >= walk.end_ns;
    walk.slice_end_ns = cbpd_now_ns() + (uint64_t) SLICE_MS * NS_PER_MS;
    return !walk.is_given_up;
}

/* ---- One process ---- */

/* Why a thread could not be had. One that we trace already, or that has ended, is no reason. */
static uint32_t reason_of_failure(struct tracer *self, uint32_t tid, uint32_t error)
{
    struct status_facts facts;
    if (error != CBP_ERROR_ACCESS_DENIED)
        return error == CBP_ERROR_INVALID_PARAMETER ? 0 : error;
    if (!cbpd_read_status(self, tid, &facts) || facts.state == 'Z' || facts.state == 'X' ||
        facts.tracer_pid == (uint32_t) getpid())
        return 0;
    return facts.tracer_pid != 0 ? CBP_ERROR_BUSY : CBP_ERROR_ACCESS_DENIED;
}

/* One look at the threads of a process: traces those that are not. *found counts them. */
static uint32_t seize_new_threads(struct tracer *self, struct process *process, uint32_t *found)
{
    struct id_list list;
    enum knowledge knowledge = cbpd_list_threads(self, process->base.pid, &list);
    if (knowledge != KNOWN)
        return knowledge == ABSENT ? CBP_ERROR_INVALID_PARAMETER : CBP_ERROR_BUSY;
    uint32_t error = 0;
    for (uint32_t i = 0; i < list.count && error == 0; i++) {
        if (find_task(&self->helper, list.ids[i]))
            continue;
        uint32_t failure = cbpd_seize_thread(self, list.ids[i], process);
        *found += failure == 0;
        error = failure != 0 ? reason_of_failure(self, list.ids[i], failure) : 0;
    }
    cbpd_free_id_list(&list);
    return error;
}

/* A thread that is made with CLONE_UNTRACED by one that is traced is new as well, so there is an end to it.
 */
static uint32_t seize_threads(struct tracer *self, struct process *process)
{
    uint32_t found = 1;
    for (int pass = 0; pass < THREAD_PASSES_MAX && found > 0; pass++) {
        found = 0;
        uint32_t error = seize_new_threads(self, process, &found);
        if (error != 0)
            return error;
    }
    return process->thread_count > 0 ? 0 : CBP_ERROR_INVALID_PARAMETER;
}

/* A process that cannot be had, or not whole, goes on as it was. */
static uint32_t give_up(struct tracer *self, struct process *process, bool is_new, uint32_t error)
{
    if (is_new && process->base.reference_count == 0)
        cbpd_forget_empty_process(self, process);
    else if (is_new)
        cbpd_set_let_go(self, process, true);
    return error;
}

static bool is_never_attached(struct tracer *self, uint32_t pid)
{
    return pid == self->controller_pid || pid == (uint32_t) getpid();
}

static uint32_t attach_one(struct tracer *self, uint32_t pid)
{
    struct status_facts facts;
    if (is_never_attached(self, pid))
        return 0;
    struct process *process = cbpd_find_whole_process(self, pid);
    bool is_new = !process, was_let_go = !is_new && process->base.standing.is_let_go;
    if (is_new) {
        if (!cbpd_read_status(self, pid, &facts) || facts.group != pid)
            return CBP_ERROR_INVALID_PARAMETER;
        struct process *parent = find_process(&self->helper, facts.parent_pid);
        process = process_of(cbpd_add_process(&self->helper.policy, pid, parent ? &parent->base : NULL));
        if (!process)
            return CBP_ERROR_NOT_ENOUGH_MEMORY;
        process->base.attached = process->base.executed = true;
        process->base.creator_tenure = UINT32_MAX; /* who has created it, and as what, nobody has seen */
        process->base.start_time = cbpd_read_start_time(self, pid);
        process->parent_pid = facts.parent_pid;
        process->tree = creator_of(process) ? creator_of(process)->tree : pid;
        process->creator_pid = process->creator_tid = facts.parent_pid;
        process->user_id = facts.user_id;
    } else if (!process->base.attached) {
        return 0; /* started under the filter */
    }
    cbpd_set_let_go(self, process, false);
    uint32_t error = seize_threads(self, process);
    if (error != 0)
        return give_up(self, process, is_new || was_let_go, error);
    if (is_new) {
        process->base.image = cbpd_image_of_running(self, pid);
        if (!process->base.image)
            return give_up(self, process, true, CBP_ERROR_NOT_ENOUGH_MEMORY);
        if (creator_of(process))
            cbpd_inherit_rules(&self->helper.policy, &process->base, process->base.parent);
    }
    return 0;
}

/* Another controller's helper may have it only because it sleeps, and lets go of it if it is asked. To be
 * called when nothing points to a task or a process. False: there is nobody to ask, or no use in it. */
static bool wish_for(struct tracer *self, uint32_t pid)
{
    uint32_t helper = cbpd_other_helper_of(self, pid);
    if (helper != 0 && walk.wishing_end_ns == 0)
        walk.wishing_end_ns = cbpd_now_ns() + (uint64_t) WISHING_LIMIT_MS * NS_PER_MS;
    bool is_had = helper != 0;
    while (is_had && cbpd_now_ns() < walk.wishing_end_ns && walk_goes_on(self)) {
        cbpd_wish_for_tasks_of(helper);
        usleep(WISHING_PAUSE_US);
        is_had = cbpd_other_helper_of(self, pid) == helper;
    }
    return helper != 0 && !is_had;
}

static uint32_t attach_if_let(struct tracer *self, uint32_t pid)
{
    uint32_t error = attach_one(self, pid);
    while (error == CBP_ERROR_BUSY && wish_for(self, pid))
        error = attach_one(self, pid);
    return error;
}

static bool is_of_another_tracer(const struct status_facts *facts)
{
    return facts->tracer_pid != 0 && facts->tracer_pid != (uint32_t) getpid() &&
           !cbpd_is_other_helper(facts->tracer_pid);
}

static bool is_attached(struct tracer *self, uint32_t pid)
{
    const struct process *process = find_process(&self->helper, pid);
    return process && !process->base.standing.is_let_go;
}

/* ---- Trees and names ---- */

/* Whether the process or who created it, and so on, is one whose descendants this walk is for. */
static bool is_of_walk(const struct process *process)
{
    while (process && process->walk_number != walk.number)
        process = creator_of(process);
    return process;
}

/* One look at all processes: attaches children of the walk's trees that are not traced yet. *count counts
 * them. A child that cannot be had is left alone, but for want of memory: it may be a set-user-ID program's,
 * or another tracer's. */
static uint32_t attach_new_children(struct tracer *self, uint32_t *count)
{
    struct id_list list;
    uint32_t error = 0;
    if (!cbpd_list_processes(self, &list))
        return CBP_ERROR_BUSY;
    for (uint32_t i = 0; i < list.count && error == 0 && walk_goes_on(self); i++) {
        struct status_facts facts;
        uint32_t pid = list.ids[i];
        if (is_never_attached(self, pid) || is_attached(self, pid) || !cbpd_read_status(self, pid, &facts) ||
            !is_of_walk(find_process(&self->helper, facts.parent_pid)) || is_of_another_tracer(&facts))
            continue;
        uint32_t failure = attach_if_let(self, pid);
        *count += failure == 0;
        error = failure == CBP_ERROR_NOT_ENOUGH_MEMORY ? failure : 0;
    }
    cbpd_free_id_list(&list);
    return error;
}

/* Those of the walk's trees. CBP_ERROR_BUSY: it cannot be known who they are. */
static uint32_t attach_descendants(struct tracer *self)
{
    uint32_t error = 0;
    for (uint32_t count = 1; error == 0 && count > 0;) {
        count = 0;
        error = attach_new_children(self, &count);
    }
    return error;
}

/* The process is one whose descendants the walk is for. */
static void walk_from(struct tracer *self, uint32_t pid)
{
    struct process *process = find_process(&self->helper, pid);
    if (process)
        process->walk_number = walk.number;
}

uint32_t cbpd_attach_process(struct cbpd_helper *helper, uint32_t pid, uint64_t start_time, bool children)
{
    struct tracer *self = tracer_of(helper);
    self->is_attaching = true;
    if (!walk_goes_on(self))
        return CBP_ERROR_TIMEOUT;
    if (cbpd_read_start_time(self, pid) != start_time)
        return CBP_ERROR_INVALID_PARAMETER;
    uint32_t error = attach_if_let(self, pid);
    if (error == 0 && children) {
        walk_from(self, pid);
        error = attach_descendants(self);
    }
    return error;
}

/* The system's manager with what belongs to it, and the bus between its services: whoever holds one of them
 * holds the machine, and most likely himself. */
static bool is_of_system(const struct cbpd_image *image)
{
    static const char *const beginnings[] = {"/usr/lib/systemd/", "/lib/systemd/", "/usr/lib/elogind/",
                                             "/usr/bin/dbus-daemon", "/usr/bin/dbus-broker"};
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++)
        if (strncmp(image->path, beginnings[i], strlen(beginnings[i])) == 0)
            return true;
    return false;
}

/* False without memory. */
static bool read_wish(struct tracer *self, uint32_t pid, struct cbpd_rule_set *set, uint32_t wanted_rule_id,
                      enum cbpd_attachment *wish)
{
    struct cbpd_image *image = cbpd_image_of_running(self, pid);
    *wish =
        image && !is_of_system(image) ? cbpd_attachment_for(image, set, wanted_rule_id) : CBPD_ATTACH_NOTHING;
    cbpd_release_image(&self->helper.policy, image);
    return image;
}

/* Whether the controller descends from it, as everybody does from process 1: a name, which may match anybody,
 * never means one of those, nor a helper, which may wait for us. To be stopped with the terminal, the login
 * or the machine takes an id. */
static bool carries_us(struct tracer *self, uint32_t pid)
{
    enum { GENERATIONS_MAX = 4096 }; /* ids are used again: what is read one by one may have no end */
    struct status_facts facts;
    uint32_t above = self->controller_pid;
    for (int i = 0; i < GENERATIONS_MAX && above > 1 && above != pid; i++)
        above = cbpd_read_status(self, above, &facts) ? facts.parent_pid : 0;
    return pid == 1 || above == pid;
}

/* Those that match first, then the descendants of all of them together. CBP_ERROR_TIMEOUT: not all could be
 * looked at in time, so that one that matches may be left out. */
uint32_t cbpd_attach_matching(struct cbpd_helper *helper, struct cbpd_rule_set *set, uint32_t wanted_rule_id)
{
    struct tracer *self = tracer_of(helper);
    struct id_list list;
    bool has_trees = false;
    uint32_t error = 0;
    self->is_attaching = true;
    if (!cbpd_list_processes(self, &list))
        return CBP_ERROR_BUSY;
    for (uint32_t i = 0; i < list.count && error == 0 && walk_goes_on(self); i++) {
        struct status_facts facts;
        enum cbpd_attachment wish;
        uint32_t pid = list.ids[i];
        if (is_attached(self, pid) || !cbpd_read_status(self, pid, &facts) ||
            facts.user_id != cbpd_own_user(false))
            continue;
        uint32_t failure =
            read_wish(self, pid, set, wanted_rule_id, &wish) ? 0 : (uint32_t) CBP_ERROR_NOT_ENOUGH_MEMORY;
        if (failure == 0 && wish != CBPD_ATTACH_NOTHING &&
            (carries_us(self, pid) || cbpd_is_other_helper(pid)))
            continue;
        if (failure == 0 && wish != CBPD_ATTACH_NOTHING)
            failure = attach_if_let(self, pid);
        error = failure == CBP_ERROR_NOT_ENOUGH_MEMORY ? failure : 0;
        if (failure != 0 || wish != CBPD_ATTACH_TREE)
            continue;
        walk_from(self, pid);
        has_trees = true;
    }
    cbpd_free_id_list(&list);
    if (error == 0 && walk.is_given_up)
        return CBP_ERROR_TIMEOUT;
    return error == 0 && has_trees ? attach_descendants(self) : error;
}
