/* Finds tasks by id. Knows no stops, no events and no sessions. */
#include "helper.h"

struct cbpd_task *cbpd_find_task(const struct cbpd_helper *helper, uint32_t tid)
{
    struct cbpd_task *task = helper->task_buckets[cbpd_bucket_of(tid)];
    while (task && task->tid != tid)
        task = task->hash_next;
    return task;
}

static void hash_task(struct cbpd_helper *helper, struct cbpd_task *task)
{
    struct cbpd_task **bucket = &helper->task_buckets[cbpd_bucket_of(task->tid)];
    task->hash_next = *bucket;
    *bucket = task;
}

static void unhash_task(struct cbpd_helper *helper, struct cbpd_task *task)
{
    struct cbpd_task **link = &helper->task_buckets[cbpd_bucket_of(task->tid)];
    while (*link != task)
        link = &(*link)->hash_next;
    *link = task->hash_next;
}

struct cbpd_task *cbpd_make_task(struct cbpd_helper *helper, uint32_t tid)
{
    struct cbpd_task *task = cbpd_allocate_surely(helper->host->task_size);
    if (!task)
        return NULL;
    task->tid = tid;
    hash_task(helper, task);
    task->next = helper->tasks;
    if (helper->tasks)
        helper->tasks->previous = task;
    helper->tasks = task;
    helper->task_count++;
    return task;
}

void cbpd_rename_task(struct cbpd_helper *helper, struct cbpd_task *task, uint32_t tid)
{
    unhash_task(helper, task);
    task->tid = tid;
    hash_task(helper, task);
}

void cbpd_free_task(struct cbpd_helper *helper, struct cbpd_task *task)
{
    unhash_task(helper, task);
    if (task->previous)
        task->previous->next = task->next;
    else
        helper->tasks = task->next;
    if (task->next)
        task->next->previous = task->previous;
    helper->task_count--;
    cbpd_free_surely(task);
}
