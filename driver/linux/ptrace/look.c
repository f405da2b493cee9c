/* Looks at what a task executes. This happens at once while everything that a tree can reach is sure to
 * answer. Else a reader does it, and the tracer goes on with other tasks. */
#include "look.h"

#include <stdlib.h>

static void work(struct job *job)
{
    struct look *look = (struct look *) job;
    if (look->kind == OPERATION_ENTRY)
        look->resolution = cbpd_read_entry(&look->reading, &look->entry);
    else
        look->is_as_approved = cbpd_read_stop(&look->reading);
}

static void discard(struct job *job)
{
    struct look *look = (struct look *) job;
    cbpd_free_reading(&look->reading);
    free(look);
}

static void prepare(struct tracer *self, struct look *look, struct task *task,
                    const struct syscall_entry *entry)
{
    look->kind = entry ? OPERATION_ENTRY : OPERATION_EXECUTION;
    struct reading *reading = &look->reading;
    reading->place = (struct place){.pid = task->process->base.pid,
                                    .tid = task->base.tid,
                                    .has_our_root = cbpd_has_our_root(self, task->process)};
    reading->user_id = task->process->user_id;
    if (entry) {
        look->entry = *entry;
        return;
    }
    reading->needs_path_only = !cbpd_files_matter(self);
    reading->has_registers = cbpd_read_stop_registers(task, &reading->registers);
    reading->has_approved = task->approval.valid;
    reading->approved = task->approval.facts;
    reading->known = (struct known_file){.path = NULL};
}

/* A file that was approved at the entry is known again by what the kernel says of it. Not beside the tracer: a file
 * system that a program serves says anything, and a reader may outlive the image. And not in another root or in
 * other mounts than the helper's, where a program may have given the file a second path. */
static void know_approved_file(struct reading *reading, const struct task *task)
{
    if (!task->approval.valid || !task->approval.facts.is_direct || !reading->place.has_our_root)
        return;
    const struct cbpd_image_file *file = cbpd_executable_of(task->approval.image);
    reading->known = (struct known_file){.path = file->path,
                                         .path_size = file->path_size,
                                         .device = file->device,
                                         .inode = file->inode,
                                         .changed_ns = task->approval.facts.changed_ns};
}

/* Gives the result of a look without memory: nothing was found, so the execution is refused. */
static const struct look *look_in_vain(const struct task *task)
{
    static struct look nothing; /* RESOLVED, to a chain without files */
    nothing.reading.user_id = task->process->user_id;
    return &nothing;
}

/* Gives a look to a reader. False: *found is what is known without one; NULL: nothing. */
static bool give_away(struct tracer *self, struct task *task, const struct syscall_entry *entry,
                      bool is_short, const struct look **found)
{
    struct look *look = calloc(1, sizeof *look);
    *found = look ? NULL : look_in_vain(task);
    if (!look)
        return false;
    look->job = (struct job){.work = work, .discard = discard, .owner = task, .tree = task->process->tree};
    /* The kernel and the stop after execve decide what is not known at the entry. That stop is final. */
    look->job.is_urgent = !entry;
    prepare(self, look, task, entry);
    look->reading.is_short = is_short;
    if (!cbpd_do_beside(&look->job)) {
        free(look);
        return false;
    }
    task->look = look;
    task->look_stage = entry ? LOOK_AT_ENTRY : is_short ? LOOK_BRIEFLY : LOOK_AT_STOP;
    return true;
}

bool cbpd_look_at_execution(struct tracer *self, struct task *task, const struct syscall_entry *entry,
                            const struct look **found)
{
    static struct look own;
    static struct known_headers headers;
    *found = &own;
    if (cbpd_anything_may_block())
        return !give_away(self, task, entry, false, found);
    prepare(self, &own, task, entry);
    own.reading.chain.headers = &headers;
    if (!entry)
        know_approved_file(&own.reading, task);
    work(&own.job);
    return true;
}

bool cbpd_end_look(struct tracer *self, struct task *task, struct job *job, const struct look **found)
{
    task->look = NULL;
    *found = (struct look *) job;
    return job || task->look_stage != LOOK_AT_STOP || self->helper.leaving ||
           !give_away(self, task, NULL, true, found);
}

void cbpd_free_look(struct job *job)
{
    if (job)
        discard(job);
}

void cbpd_drop_look(struct task *task)
{
    if (task->look)
        cbpd_give_up_job(&task->look->job);
    task->look = NULL;
}
