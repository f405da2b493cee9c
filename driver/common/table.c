/* Tasks and processes by id, and how long they are remembered. Knows nothing of stops, events or sessions. */
#include "supervisor.h"

enum { BUCKET_BITS = 12 };

static struct task *task_buckets[1 << BUCKET_BITS];
static struct process *process_buckets[1 << BUCKET_BITS];

/* Ids follow one another, on Windows in steps of 4. */
static uint32_t bucket_of(uint32_t id)
{
    return id * UINT32_C(0x9e3779b1) >> (32 - BUCKET_BITS);
}

/* ---- Tasks ---- */

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

struct task *make_task(uint32_t tid)
{
    struct task *task = allocate_surely(sizeof *task);
    if (task == NULL)
        return NULL;
    task->tid = tid;
    hash_task(task);
    task->next = self.tasks;
    if (self.tasks != NULL)
        self.tasks->previous = task;
    self.tasks = task;
    self.task_count++;
    return task;
}

void rename_task(struct task *task, uint32_t tid)
{
    unhash_task(task);
    task->tid = tid;
    hash_task(task);
}

void free_task(struct task *task)
{
    unhash_task(task);
    if (task->previous != NULL)
        task->previous->next = task->next;
    else
        self.tasks = task->next;
    if (task->next != NULL)
        task->next->previous = task->previous;
    self.task_count--;
    free_surely(task);
}

/* ---- Processes ---- */

struct process *find_process(uint32_t pid)
{
    struct process *process = process_buckets[bucket_of(pid)];
    while (process != NULL && process->pid != pid)
        process = process->hash_next;
    return process;
}

struct process *add_process(uint32_t pid, struct process *parent)
{
    struct process *process = allocate_surely(sizeof *process);
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
}

void release_process(struct process *process)
{
    while (process != NULL && --process->reference_count == 0) {
        struct process *parent = process->parent;
        end_process(process);
        release_image(process->image);
        release_standing(process);
        free_surely(process);
        process = parent;
    }
}
