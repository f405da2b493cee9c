/* Keeps the machine's processes in the books. Asks the system nothing. Callers hold the books. */
#include "kernel.h"

static struct cbpd_kernel_process *own_record(struct cbpd_process *base)
{
    return (struct cbpd_kernel_process *) (void *) base;
}

struct cbpd_kernel_process *cbpd_process_of(struct cbpd_policy *policy, uint32_t pid)
{
    return own_record(cbpd_find_process(policy, pid));
}

static struct cbpd_image *image_of(const struct cbpd_policy *policy, const struct cbpd_facts *facts)
{
    struct cbpd_image_file file = {.path = facts->path ? facts->path : "",
                                   .path_size = facts->path ? facts->path_size : 0,
                                   .given = facts->given,
                                   .given_size = facts->given_size};
    if (!facts->given) {
        file.given = file.path;
        file.given_size = file.path_size;
    }
    return cbpd_make_image(policy, &file, 1, facts->is_vague);
}

struct cbpd_kernel_process *cbpd_process_begin(struct cbpd_policy *policy, const struct cbpd_facts *facts,
                                               struct cbpd_kernel_process *creator)
{
    struct cbpd_kernel_process *earlier = cbpd_process_of(policy, facts->pid);
    struct cbpd_process *parent = creator && creator != earlier ? &creator->base : NULL;
    struct cbpd_image *image = image_of(policy, facts);
    struct cbpd_process *base = image ? cbpd_add_process(policy, facts->pid, parent) : NULL;
    if (earlier) /* its id has been given out again */
        cbpd_process_end(policy, earlier);
    if (!base) { /* no rule by name would apply to a process without its name */
        cbpd_release_image(policy, image);
        return NULL;
    }
    base->reference_count = 1;
    base->executed = true;
    base->start_time = facts->start_time;
    base->image = image;
    own_record(base)->parent_pid = facts->parent_pid;
    if (parent) {
        base->creator_tenure = parent->tenure;
        cbpd_inherit_rules(policy, base, parent);
        cbpd_forget_old_ancestors(policy, parent);
    }
    return own_record(base);
}

void cbpd_process_end(struct cbpd_policy *policy, struct cbpd_kernel_process *process)
{
    cbpd_end_process(policy, &process->base);
    cbpd_release_process(policy, &process->base);
}

void cbpd_processes_forget(struct cbpd_policy *policy)
{
    while (policy->processes)
        cbpd_process_end(policy, own_record(policy->processes));
}
