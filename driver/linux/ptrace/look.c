/* Looks at what a task executes. While nothing that a tree can reach may keep silent, that is done at once;
 * otherwise beside the tracer, which goes on with other tasks meanwhile. Runs in the tracer thread, but for
 * the work itself. */
#include "look.h"

#include <stdlib.h>
#include <string.h>

static void work(struct job *job)
{
    struct look *look = (struct look *) job;
    if (look->kind == OPERATION_ENTRY)
        look->resolution = read_entry(&look->place, &look->entry, &look->reading);
    else
        look->is_as_approved =
            read_stop(&look->place, look->has_registers ? &look->registers : NULL, look->user_id,
                      look->has_approved ? &look->approved : NULL, &look->reading);
}

static void discard(struct job *job)
{
    struct look *look = (struct look *) job;
    free_reading(&look->reading);
    free(look);
}

static void prepare(struct look *look, struct task *task, const struct syscall_entry *entry)
{
    look->kind = entry != NULL ? OPERATION_ENTRY : OPERATION_EXECUTION;
    look->place = (struct place){.pid = task->process->base.pid, .tid = task->base.tid};
    look->user_id = task->process->user_id;
    if (entry != NULL) {
        look->entry = *entry;
        return;
    }
    look->reading.needs_path_only = !files_matter();
    look->has_registers = read_stop_registers(task, &look->registers);
    look->has_approved = task->approval.valid;
    look->approved = task->approval.facts;
}

enum { UNOWNED_TREE = 1 }; /* of all whose creator is not known yet: an id that no tree's root has */

uint32_t served_tree(void)
{
    const struct task *task = self.served_tid != 0 ? find_task(self.served_tid) : NULL;
    if (task == NULL || task->process == NULL)
        return self.served_tid != 0 ? UNOWNED_TREE : 0;
    return task->process->tree;
}

/* What is found without the memory to look: nothing, which is refused. */
static const struct look *look_in_vain(const struct task *task)
{
    static struct look nothing; /* RESOLVED, to a chain without files */
    nothing.reading.user_id = task->process->user_id;
    return &nothing;
}

static bool give_away(struct task *task, const struct syscall_entry *entry, bool is_short, bool *is_lacking)
{
    struct look *look = calloc(1, sizeof *look);
    *is_lacking = look == NULL;
    if (look == NULL)
        return false;
    look->job = (struct job){.work = work, .discard = discard, .owner = task, .tree = task->process->tree};
    /* What is not known at the entry the kernel decides, and the stop after it; what is not known there
     * nobody finds out any more. */
    look->job.is_urgent = entry == NULL;
    prepare(look, task, entry);
    look->reading.is_short = is_short;
    if (!do_beside(&look->job)) {
        free(look);
        return false;
    }
    task->look = look;
    task->look_stage = entry != NULL ? LOOK_AT_ENTRY : is_short ? LOOK_BRIEFLY : LOOK_AT_STOP;
    return true;
}

void look_at_execution(struct task *task, const struct syscall_entry *entry)
{
    static struct look own;
    if (anything_may_block()) {
        bool is_lacking;
        if (!give_away(task, entry, false, &is_lacking))
            go_on_after_look(task, entry != NULL ? OPERATION_ENTRY : OPERATION_EXECUTION,
                             is_lacking ? look_in_vain(task) : NULL);
        return;
    }
    prepare(&own, task, entry);
    work(&own.job);
    go_on_after_look(task, own.kind, &own);
}

/* What runs is told at least, where the files that have led to it keep silent. */
void finish_look(struct task *task, struct job *job)
{
    struct look *look = (struct look *) job;
    enum look_stage stage = task->look_stage;
    bool is_lacking = false;
    task->look = NULL;
    self.served_tid = task->base.tid;
    if (look == NULL && stage == LOOK_AT_STOP && !self.helper.leaving &&
        give_away(task, NULL, true, &is_lacking))
        return;
    go_on_after_look(task, stage == LOOK_AT_ENTRY ? OPERATION_ENTRY : OPERATION_EXECUTION,
                     is_lacking ? look_in_vain(task) : look);
    if (look != NULL)
        discard(job);
}

void drop_look(struct task *task)
{
    if (task->look != NULL)
        give_up_job(&task->look->job);
    task->look = NULL;
}

void end_every_look(void)
{
    for (struct task *task = first_task(), *next; task != NULL; task = next) {
        next = next_task(task);
        if (task->look == NULL)
            continue;
        drop_look(task);
        finish_look(task, NULL);
    }
}
