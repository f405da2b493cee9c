/* Tasks and processes by id, and what can be done to them. Knows nothing of stops or sessions. */
#include <stdlib.h>
#include <string.h>

#include "supervisor.h"

enum { BUCKET_COUNT = 4096 };

static struct task *task_buckets[BUCKET_COUNT];
static struct process *process_buckets[BUCKET_COUNT];

static uint32_t bucket_of(uint32_t id)
{
    return id % BUCKET_COUNT;
}

struct task *find_task(uint32_t tid)
{
    struct task *task = task_buckets[bucket_of(tid)];
    while (task != NULL && task->tid != tid)
        task = task->hash_next;
    return task;
}

static void hash_task(struct task *task)
{
    struct task **bucket = &task_buckets[bucket_of(task->tid)];
    task->hash_next = *bucket;
    *bucket = task;
}

static void unhash_task(struct task *task)
{
    struct task **link = &task_buckets[bucket_of(task->tid)];
    while (*link != task)
        link = &(*link)->hash_next;
    *link = task->hash_next;
}

struct task *add_task(uint32_t tid)
{
    struct task *task = calloc(1, sizeof *task);
    if (task == NULL)
        return NULL;
    task->tid = tid;
    hash_task(task);
    task->next = self.tasks;
    if (self.tasks != NULL)
        self.tasks->previous = task;
    self.tasks = task;
    self.task_count++;
    self.unowned_count++;
    return task;
}

void rename_task(struct task *task, uint32_t tid)
{
    unhash_task(task);
    task->tid = tid;
    hash_task(task);
}

/* Makes a task the process's; until now it was nobody's. */
void task_joins(struct task *task, struct process *process)
{
    task->process = process;
    process->reference_count++;
    process->thread_count++;
    self.unowned_count--;
}

void remove_task(struct task *task)
{
    unhash_task(task);
    if (task->previous != NULL)
        task->previous->next = task->next;
    else
        self.tasks = task->next;
    if (task->next != NULL)
        task->next->previous = task->previous;
    self.task_count--;
    if (task->process != NULL)
        release_process(task->process);
    else
        self.unowned_count--;
    free(task);
}

struct process *find_process(uint32_t pid)
{
    struct process *process = process_buckets[bucket_of(pid)];
    while (process != NULL && process->pid != pid)
        process = process->hash_next;
    return process;
}

struct process *add_process(uint32_t pid, struct process *parent)
{
    struct process *process = calloc(1, sizeof *process);
    if (process == NULL)
        return NULL;
    process->pid = pid;
    process->parent = parent;
    if (parent != NULL)
        parent->reference_count++;
    struct process **bucket = &process_buckets[bucket_of(pid)];
    process->hash_next = *bucket;
    *bucket = process;
    process->next = self.processes;
    if (self.processes != NULL)
        self.processes->previous = process;
    self.processes = process;
    return process;
}

/* Its last thread has ended: the id may belong to another process from now on. */
void end_process(struct process *process)
{
    if (process->ended)
        return;
    process->ended = true;
    struct process **link = &process_buckets[bucket_of(process->pid)];
    while (*link != process)
        link = &(*link)->hash_next;
    *link = process->hash_next;
    if (process->previous != NULL)
        process->previous->next = process->next;
    else
        self.processes = process->next;
    if (process->next != NULL)
        process->next->previous = process->previous;
}

void release_process(struct process *process)
{
    while (process != NULL && --process->reference_count == 0) {
        struct process *parent = process->parent;
        end_process(process);
        release_image(process->image);
        release_standing(process);
        free(process);
        process = parent;
    }
}

void forget_empty_process(struct process *process)
{
    process->reference_count = 1;
    release_process(process);
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
