/* Tasks that come and go, and whose they are; what can be done to a process. Knows nothing of stops or
 * sessions. */
#include "look.h"
#include "supervisor.h"

/* What a rule that comes later can still match of ancestors that have ended. */
enum { DEAD_GENERATIONS_MAX = 64 };

struct task *add_task(uint32_t tid)
{
    struct task *task = make_task(tid);
    if (task != NULL)
        self.unowned_count++;
    return task;
}

/* Makes a task the process's; until now it was nobody's. */
void task_joins(struct task *task, struct process *process)
{
    task->process = process;
    process->reference_count++;
    process->thread_count++;
    self.unowned_count--;
    self.let_go_count += process->standing.is_let_go;
    self.filtered_count += process->filter_parts != 0;
}

void remove_task(struct task *task)
{
    drop_look(task);
    release_approval(&task->approval);
    unpark(task);
    struct process *process = task->process;
    if (process != NULL) {
        self.let_go_count -= process->standing.is_let_go;
        self.filtered_count -= process->filter_parts != 0;
        release_process(process);
    } else {
        self.unowned_count--;
    }
    free_task(task);
}

/* Takes a dead process out of the line between its child and its creator. */
static void skip_parent(struct process *process)
{
    struct process *dead = process->parent;
    process->parent = dead->parent;
    process->parent->reference_count++;
    process->creator_tenure = dead->creator_tenure; /* it stands for the dead one before that creator */
    release_process(dead);
}

void forget_old_ancestors(struct process *creator)
{
    uint32_t count = 0;
    struct process *process = creator->parent;
    if (process == NULL || !process->ended)
        return;
    for (struct process *at; (at = process->parent) != NULL && at->ended && at->parent != NULL;)
        if (count == DEAD_GENERATIONS_MAX || has_same_names(at->image, process->image)) {
            skip_parent(process);
        } else {
            process = at;
            count++;
        }
}

void forget_empty_process(struct process *process)
{
    process->reference_count = 1;
    release_process(process);
}

void process_ends(struct process *process)
{
    if (!process->ended)
        leave_legacy(process);
    end_process(process);
}

struct process *make_nobody(void)
{
    struct process *process = allocate_surely(sizeof *process);
    if (process != NULL)
        process->ended = true; /* no id leads to it */
    return process;
}

uint32_t capabilities_of(const struct process *process)
{
    const uint32_t everybody = CBP_PTRACE_CAPABILITIES &
                               ~(uint32_t) (CBP_PTRACE_FILTER_CAPABILITIES | CBP_CAP_KILL_PROCESS_CREATION);
    uint32_t parts = process->filter_parts;
    return everybody | (parts & CBP_LAUNCH_FLAG_HANDLES ? (uint32_t) CBP_PTRACE_HANDLE_CAPABILITIES : 0) |
           (parts & CBP_LAUNCH_FLAG_EXECUTIONS ? (uint32_t) CBP_CAP_REFUSE_PROCESS_CREATION
                                               : (uint32_t) CBP_CAP_KILL_PROCESS_CREATION);
}
