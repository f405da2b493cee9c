/* Tasks and processes by id. Knows nothing of events or sessions. */
#include <stdlib.h>

#include "supervisor.h"

enum { BUCKET_COUNT = 4096 };

static struct task *task_buckets[BUCKET_COUNT];
static struct process *process_buckets[BUCKET_COUNT];

/* Ids of Windows are multiples of 4. */
static uint32_t bucket_of(uint32_t id)
{
    return (id >> 2) % BUCKET_COUNT;
}

struct task *find_task(uint32_t tid)
{
    struct task *task = task_buckets[bucket_of(tid)];
    while (task != NULL && task->tid != tid)
        task = task->hash_next;
    return task;
}

struct task *add_task(uint32_t tid, struct process *process)
{
    struct task *task = calloc(1, sizeof *task);
    if (task == NULL)
        return NULL;
    task->tid = tid;
    task->process = process;
    process->reference_count++;
    struct task **bucket = &task_buckets[bucket_of(tid)];
    task->hash_next = *bucket;
    *bucket = task;
    task->next = self.tasks;
    if (self.tasks != NULL)
        self.tasks->previous = task;
    self.tasks = task;
    self.task_count++;
    return task;
}

static void release_process(struct process *process)
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

void remove_task(struct task *task)
{
    struct task **link = &task_buckets[bucket_of(task->tid)];
    while (*link != task)
        link = &(*link)->hash_next;
    *link = task->hash_next;
    if (task->previous != NULL)
        task->previous->next = task->next;
    else
        self.tasks = task->next;
    if (task->next != NULL)
        task->next->previous = task->previous;
    self.task_count--;
    if (task->operation != NULL)
        cancel_operation(task->operation);
    release_process(task->process);
    free(task);
}

struct process *find_process(uint32_t pid)
{
    struct process *process = process_buckets[bucket_of(pid)];
    while (process != NULL && process->pid != pid)
        process = process->hash_next;
    return process;
}

/* It holds itself until forget_process(): it may be known before its first task is. */
struct process *add_process(uint32_t pid, struct process *parent)
{
    struct process *process = calloc(1, sizeof *process);
    if (process == NULL)
        return NULL;
    process->pid = pid;
    process->parent = parent;
    process->reference_count = 1;
    process->executed = true;
    if (parent != NULL)
        parent->reference_count++;
    struct process **bucket = &process_buckets[bucket_of(pid)];
    process->hash_next = *bucket;
    *bucket = process;
    process->next = self.processes;
    if (self.processes != NULL)
        self.processes->previous = process;
    self.processes = process;
    self.process_count++;
    return process;
}

void end_process(struct process *process)
{
    if (process->ended)
        return;
    process->ended = true;
    self.process_count--;
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
    if (process->handle != NULL)
        CloseHandle(process->handle);
    process->handle = NULL;
}

void forget_process(struct process *process)
{
    if (process->launch != NULL)
        end_launch(process->launch, CBP_ERROR_BROKEN_PIPE, 0);
    end_process(process);
    for (struct task *task = self.tasks, *next; task != NULL; task = next) {
        next = task->next;
        if (task->process == process)
            remove_task(task);
    }
    release_process(process);
}
