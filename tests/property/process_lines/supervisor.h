/* Stands for a driver's supervisor.h, so that what is in driver/common can be made without a driver: with as
 * much of a process as that wants. */
#ifndef CBP_SUPERVISOR_H
#define CBP_SUPERVISOR_H

#include "tree_driver.h"

struct process {
    struct process *hash_next;
    struct process *next, *previous;
    struct process *parent;
    uint32_t reference_count;
    uint32_t pid;
    bool executed, attached, ended;
    uint64_t start_time;
    struct image *image;
    struct standing standing;
};

struct task {
    struct task *hash_next;
    struct task *next, *previous;
    struct process *process;
    uint32_t tid;
};

struct supervisor {
    struct session sessions[CBP_SESSION_MAX];
    struct rule_sets rules;
    struct task *tasks;
    struct process *processes;
    uint32_t task_count, process_count;
};
extern struct supervisor self;

#endif
