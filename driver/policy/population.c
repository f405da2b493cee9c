/* Finds processes by id and decides how long they are remembered. Knows no events and no sessions. */
#include "lists.h"

/* A later rule can still match this many generations of ancestors that have ended. */
enum { DEAD_GENERATIONS_MAX = 64 };

struct cbpd_process *cbpd_find_process(const struct cbpd_policy *policy, uint32_t pid)
{
    struct cbpd_process *process = policy->buckets[cbpd_bucket_of(pid)];
    while (process && process->pid != pid)
        process = process->hash_next;
    return process;
}

struct cbpd_process *cbpd_add_process(struct cbpd_policy *policy, uint32_t pid, struct cbpd_process *parent)
{
    struct cbpd_process *process = policy->host->allocate(policy->host->process_size, true);
    if (!process)
        return NULL;
    process->pid = pid;
    process->parent = parent;
    if (parent)
        parent->reference_count++;
    struct cbpd_process **bucket = &policy->buckets[cbpd_bucket_of(pid)];
    process->hash_next = *bucket;
    *bucket = process;
    process->next = policy->processes;
    if (policy->processes)
        policy->processes->previous = process;
    policy->processes = process;
    policy->process_count++;
    return process;
}

void cbpd_end_process(struct cbpd_policy *policy, struct cbpd_process *process)
{
    if (process->ended)
        return;
    process->ended = true;
    policy->process_count--;
    struct cbpd_process **link = &policy->buckets[cbpd_bucket_of(process->pid)];
    while (*link != process)
        link = &(*link)->hash_next;
    *link = process->hash_next;
    if (process->previous)
        process->previous->next = process->next;
    else
        policy->processes = process->next;
    if (process->next)
        process->next->previous = process->previous;
}

void cbpd_release_process(struct cbpd_policy *policy, struct cbpd_process *process)
{
    while (process && --process->reference_count == 0) {
        struct cbpd_process *parent = process->parent;
        cbpd_end_process(policy, process);
        cbpd_release_image(policy, process->image);
        cbpd_release_standing(policy, process);
        policy->host->release(process);
        process = parent;
    }
}

/* Takes a dead process out of the line between its child and its creator. */
static void skip_parent(struct cbpd_policy *policy, struct cbpd_process *process)
{
    struct cbpd_process *dead = process->parent;
    process->parent = dead->parent;
    process->parent->reference_count++;
    process->creator_tenure = dead->creator_tenure; /* it now stands for the dead parent */
    cbpd_release_process(policy, dead);
}

void cbpd_forget_old_ancestors(struct cbpd_policy *policy, struct cbpd_process *creator)
{
    uint32_t count = 0;
    struct cbpd_process *process = creator->parent;
    if (!process || !process->ended)
        return;
    for (struct cbpd_process *at; (at = process->parent) && at->ended && at->parent;)
        if (count == DEAD_GENERATIONS_MAX || cbpd_has_same_names(at->image, process->image)) {
            skip_parent(policy, process);
        } else {
            process = at;
            count++;
        }
}
