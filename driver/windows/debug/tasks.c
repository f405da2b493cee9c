/* Adds and removes tasks and processes. Knows no events and no sessions. */
#include "cbp_atomic.h"
#include "debugger.h"

struct task *cbpd_add_task(struct debugger *self, uint32_t tid, struct process *process)
{
    struct task *task = task_of(cbpd_make_task(&self->helper, tid));
    if (!task)
        return NULL;
    task->process = process;
    process->base.reference_count++;
    return task;
}

void cbpd_remove_task(struct debugger *self, struct task *task)
{
    (void) cbpd_drop_held(&task->base);
    cbpd_release_process(&self->helper.policy, &task->process->base);
    cbpd_free_task(&self->helper, &task->base);
}

/* Makes an image. Without a known name it is vague: rules that forbid apply. */
struct cbpd_image *cbpd_image_of(struct debugger *self, const struct facts *of)
{
    const struct cbpd_image_file file = {.path = of->path.bytes,
                                         .path_size = (uint32_t) of->path.size,
                                         .given = of->given.bytes,
                                         .given_size = (uint32_t) of->given.size};
    return cbpd_make_image(&self->helper.policy, &file, 1, of->path.size == 0);
}

struct process *cbpd_begin_process(struct debugger *self, uint32_t pid, uint64_t start_time,
                                   struct process *parent, const struct facts *of)
{
    struct cbpd_policy *policy = &self->helper.policy;
    struct cbpd_image *image = of ? cbpd_image_of(self, of) : NULL;
    struct cbpd_process *base =
        image || !of ? cbpd_add_process(policy, pid, parent ? &parent->base : NULL) : NULL;
    if (!base) { /* no rule by name would apply to a process without its name */
        cbpd_release_image(policy, image);
        return NULL;
    }
    base->reference_count = 1;
    base->executed = true;
    base->start_time = start_time;
    base->image = image;
    process_of(base)->parent_pid = of ? of->parent_pid : 0;
    if (parent)
        cbpd_inherit_rules(policy, base, &parent->base);
    return process_of(base);
}

void cbpd_forget_process(struct debugger *self, struct process *process)
{
    if (process->launch)
        cbpd_end_launch(process->launch, CBP_ERROR_BROKEN_PIPE, 0);
    cbpd_end_process(&self->helper.policy, &process->base);
    close_handle(process->handle);
    process->handle = NULL;
    for (struct task *task = first_task(&self->helper), *next; task; task = next) {
        next = next_task(task);
        if (task->process == process)
            cbpd_remove_task(self, task);
    }
    cbpd_release_process(&self->helper.policy, &process->base);
}

/* A process that has just been attached to has not told of its threads yet, so it counts as one task. */
void cbpd_publish_counts(struct debugger *self)
{
    uint32_t count = self->helper.task_count > self->helper.policy.process_count
                         ? self->helper.task_count
                         : self->helper.policy.process_count;
    cbp_store_relaxed_u32(&self->helper.channel->supervised_count, count);
    if (count > 0)
        cbp_store_relaxed_u32(&self->helper.channel->supervised_ever, 1);
}

uint32_t cbpd_capabilities_of(const struct cbpd_process *process)
{
    (void) process; /* all have the same */
    return CBP_DEBUG_CAPABILITIES;
}
