/* Reads /proc/ID/status of a task, for the core and the helper, any thread. Source: proc_pid_status(5). */
#ifndef CBPD_PROC_STATUS_H
#define CBPD_PROC_STATUS_H

#include <stdbool.h>
#include <stdint.h>

enum { STATUS_SIZE_MAX = 1 << 20 /* the groups of a user can fill pages */ };

enum { NAMESPACE_DEPTH_MAX = 33 }; /* the kernel allows 32 nested namespaces */
struct status_facts {
    char state;
    uint32_t group, parent_pid, tracer_pid;
    uint32_t user_id, effective_user_id, saved_user_id;
    bool has_filter;                   /* of system calls, by any program; also true if not known */
    uint32_t filter_count;             /* UINT32_MAX: the kernel does not say (before 5.9) */
    uint32_t depth;                    /* PID namespaces around it, from the reader's on */
    uint32_t ids[NAMESPACE_DEPTH_MAX]; /* its id in each of them */
    uint32_t group_depth;
    uint32_t group_ids[NAMESPACE_DEPTH_MAX]; /* its process group's */
};

/* Reads a task's status. False: it is gone or hidden, or not all of it can be known. */
bool cbpd_read_status_file(uint32_t tid, struct status_facts *facts);

#endif
