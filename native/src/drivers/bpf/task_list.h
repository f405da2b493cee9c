/* Reads the list of processes that an iterator in the kernel makes (driver/linux/bpf/programs/tasks.bpf.c).
 * Knows the form of its records, and asks /proc for what it does not tell. Knows no guard and no sessions. */
#ifndef CBPI_TASK_LIST_H
#define CBPI_TASK_LIST_H

#include "platform.h"

struct cbpi_listed {
    struct cbpi_process_facts facts; /* as /proc tells them */
    uint64_t start_ns;
    uint64_t execution_count;
    uint32_t real_user_id; /* the one in facts is the effective one */
};

/* Visits each process, by rising id, and stops at a visit's first error. link is the link of an iterator; the
 * one of list_processes has arguments only for processes that /proc was asked about. Errors of
 * cbp_snapshot_create(). */
uint32_t cbpi_task_list_read(int link, bool with_arguments,
                             uint32_t (*visit)(void *context, const struct cbpi_listed *listed),
                             void *context);

#endif
