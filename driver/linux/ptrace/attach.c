/* Takes running processes under the filter with all their threads and descendants, however fast they create
 * new ones. Nothing is stopped for it. Runs in the tracer thread only, which serves other tasks between two
 * processes. Every walk has an end, whatever is born and dies meanwhile.
 *
 * What a traced thread creates is traced from its first instruction on. So an untraced thread or descendant
 * can only come from an untraced one, and repeated looks until nothing is new find all of them. */
#include <string.h>
#include <unistd.h>

#include "tracer.h"

/* Most walks end in the first slice: then no other task runs on before the rule is in force. */
enum { WALK_LIMIT_MS = 5000, FIRST_SLICE_MS = 250, SLICE_MS = 5 };
enum { THREAD_PASSES_MAX = 100 };
enum { WISHING_LIMIT_MS = 1000 /* of a whole walk */, WISHING_PAUSE_US = 2000 };

static struct {
    uint64_t end_ns, slice_end_ns;
    uint64_t wishing_end_ns; /* 0: no other helper has been asked yet */
    uint32_t number;         /* the walk's; the processes that it starts from have it */
    bool is_given_up;
} walk;

/* ---- Walking through /proc ---- */

void cbpd_begin_attaching(void)
{
    uint64_t now = cbpd_now_ns();
    walk.number++;
    walk.end_ns = now + WALK_LIMIT_MS * CBP_NS_PER_MS;
    walk.slice_end_ns = now + FIRST_SLICE_MS * CBP_NS_PER_MS;
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

/* Says whether to walk on; call it between two processes, while no pointer to a task or a process is kept,
 * since any may end meanwhile. False: there is no time left, or the controller has ended. */
static bool walk_goes_on(struct tracer *self)
{
    uint64_t now = cbpd_now_ns();
    if (now < walk.slice_end_ns || walk.is_given_up)
        return !walk.is_given_up;
    walk.is_given_up = !self->serve_in_between(self) || now >= walk.end_ns;
    walk.slice_end_ns = cbpd_now_ns() + SLICE_MS * CBP_NS_PER_MS;
    return !walk.is_given_up;
}

/* ---- One process ---- */

/* Gives the error for a thread that could not be seized, or 0 if it is traced already or has ended. */
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

/* Looks once at the threads of a process and traces those that are not traced. *found counts them. */
static uint32_t seize_new_threads(struct tracer *self, struct process *process, uint32_t *found)
{
    struct id_list list;
    enum knowledge knowledge = cbpd_list_ids(self, process->base.pid, &list);
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

/* Seizes threads until none is new. CLONE_UNTRACED makes new ones, so the number of passes is limited. */
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

/* Lets a process go on as it was that cannot be attached to as a whole. */
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
        process->base.creator_tenure = UINT32_MAX; /* its creator was not seen */
        process->base.start_time = cbpd_read_start_time(self, pid);
        process->parent_pid = facts.parent_pid;
        process->tree = creator_of(process) ? creator_of(process)->tree : pid;
        process->creator_pid = process->creator_tid = facts.parent_pid;
        process->user_id = facts.user_id;
    } else if (!process->base.attached) {
        return 0; /* it was started under the filter */
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

/* Asks another controller's helper to detach a process that it keeps only because the process sleeps. Call it
 * while no pointer to a task or a process is kept. False: there is no such helper, or asking is of no use. */
static bool wish_for(struct tracer *self, uint32_t pid)
{
    uint32_t helper = cbpd_other_helper_of(self, pid);
    if (helper != 0 && walk.wishing_end_ns == 0)
        walk.wishing_end_ns = cbpd_now_ns() + WISHING_LIMIT_MS * CBP_NS_PER_MS;
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

/* Says whether this walk is for the descendants of the process or of an ancestor. */
static bool is_of_walk(const struct process *process)
{
    while (process && process->walk_number != walk.number)
        process = creator_of(process);
    return process;
}

/* Looks once at all processes and attaches to new children in the walk's trees. *count counts them. A child
 * that cannot be attached to is skipped, unless memory is lacking: its program may be set-user-ID. */
static uint32_t attach_new_children(struct tracer *self, uint32_t *count)
{
    struct id_list list;
    uint32_t error = 0;
    if (cbpd_list_ids(self, ALL_PROCESSES, &list) != KNOWN)
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

/* Attaches to the descendants in the walk's trees. CBP_ERROR_BUSY: they cannot be known. */
static uint32_t attach_descendants(struct tracer *self)
{
    uint32_t error = 0;
    for (uint32_t count = 1; error == 0 && count > 0;) {
        count = 0;
        error = attach_new_children(self, &count);
    }
    return error;
}

/* This walk is for the descendants of that process. */
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

/* Says whether the image is part of the system's manager or the bus between its services. To hold one of them
 * is to hold the machine, and most likely the helper itself. */
static bool is_of_system(const struct cbpd_image *image)
{
    static const char *const beginnings[] = {"/usr/lib/systemd/", "/lib/systemd/", "/usr/lib/elogind/",
                                             "/usr/bin/dbus-daemon", "/usr/bin/dbus-broker"};
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++)
        if (strncmp(cbpd_executable_of(image)->path, beginnings[i], strlen(beginnings[i])) == 0)
            return true;
    return false;
}

/* Reads from the rule set what it wants of a process. False: no memory. */
static bool read_wish(struct tracer *self, uint32_t pid, struct cbpd_rule_set *set, uint32_t wanted_rule_id,
                      enum cbpd_attachment *wish)
{
    struct cbpd_image *image = cbpd_image_of_running(self, pid);
    *wish =
        image && !is_of_system(image) ? cbpd_attachment_for(image, set, wanted_rule_id) : CBPD_ATTACH_NOTHING;
    cbpd_release_image(&self->helper.policy, image);
    return image;
}

/* Says whether the controller descends from the process; every process descends from process 1. A rule by
 * name never stops the terminal, the login or the machine, nor another helper, which may wait for this one:
 * that takes a rule by id. */
static bool carries_us(struct tracer *self, uint32_t pid)
{
    enum { GENERATIONS_MAX = 4096 }; /* a chain of ids that are used again may have no end */
    struct status_facts facts;
    uint32_t above = self->controller_pid;
    for (int i = 0; i < GENERATIONS_MAX && above > 1 && above != pid; i++)
        above = cbpd_read_status(self, above, &facts) ? facts.parent_pid : 0;
    return pid == 1 || above == pid;
}

/* Attaches first to processes that match, then to the descendants of all of them. CBP_ERROR_TIMEOUT: time was
 * too short to look at all, so that a matching process may be left out. */
uint32_t cbpd_attach_matching(struct cbpd_helper *helper, struct cbpd_rule_set *set, uint32_t wanted_rule_id)
{
    struct tracer *self = tracer_of(helper);
    struct id_list list;
    bool has_trees = false;
    uint32_t error = 0;
    self->is_attaching = true;
    if (cbpd_list_ids(self, ALL_PROCESSES, &list) != KNOWN)
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
