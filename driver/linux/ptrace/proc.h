/* Asks /proc about a task, for lists of ids, and for ids in other namespaces. A question that a tree could
 * keep from being answered has a limit (beside.h). Only the tracer calls these functions. */
#ifndef CBPD_PROC_H
#define CBPD_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "beside.h"
#include "proc_files.h"

struct process;
struct task;
struct tracer;

/* ---- proc.c: facts from /proc ---- */
uint64_t cbpd_read_start_time(struct tracer *self, uint32_t pid);
/* Reads a process's parent. False: the process is gone or hidden. */
bool cbpd_read_parent(struct tracer *self, uint32_t pid, uint32_t *parent_pid);
/* Gives the start time of a process that did not begin before earliest_ns. */
uint64_t cbpd_start_time_since(struct tracer *self, uint32_t pid, uint64_t earliest_ns);
/* Reads a task's status. False: it is gone or hidden, see cbpd_is_there(). */
bool cbpd_read_status(struct tracer *self, uint32_t tid, struct status_facts *facts);
bool cbpd_is_there(uint32_t tid); /* a task with that id exists, maybe hidden */
/* Gives a task's process group; 0: it is gone, or its group's leader is outside of the helper's namespace. */
uint32_t cbpd_process_group_of(uint32_t tid);
uint32_t cbpd_count_threads(struct tracer *self, uint32_t pid); /* the kernel's for it count, too; 0: gone */
uint64_t cbpd_read_pid_namespace(struct tracer *self, uint32_t tid); /* inode; 0: gone, or hidden */
struct descriptor_facts {
    bool is_pidfd;
    bool is_our_folder; /* a folder's process is named as the helper's /proc names it */
    uint32_t pid;       /* a pidfd's target; UINT32_MAX: it has ended. The process of a folder */
    uint32_t flags;     /* open(2)'s */
    uint32_t mount_id;
};
enum knowledge cbpd_read_descriptor(struct tracer *self, uint32_t tid, int fd,
                                    struct descriptor_facts *facts);
/* Finds the process of a descriptor that is no pidfd but the folder of a process, of any /proc. */
enum knowledge cbpd_read_process_folder(struct tracer *self, uint32_t tid, int fd,
                                        struct descriptor_facts *facts);

/* ---- listing.c ---- */
struct id_list { /* in malloc's memory */
    uint32_t *ids;
    uint32_t count, capacity;
};
bool cbpd_add_id(struct id_list *list, uint32_t id); /* false: no memory */
/* Lists a process's threads, or all processes that /proc shows. The list is empty unless all are KNOWN; that
 * of processes is never ABSENT. */
enum { ALL_PROCESSES = 0 };
enum knowledge cbpd_list_ids(struct tracer *self, uint32_t pid, struct id_list *list);
void cbpd_free_id_list(struct id_list *list);

/* ---- ids.c: ids of other namespaces ---- */
/* A process has this view of ids: its namespace, and how deep that lies below the helper's. */
struct id_view {
    const struct process *process;
    bool is_foreign; /* false: it has the helper's view */
    uint64_t inode;  /* 0: it is hidden */
    uint32_t level;
};
/* Opens a task's view. False: it cannot be known. */
bool cbpd_open_view(struct tracer *self, struct task *task, struct id_view *view);
/* Gives the helper's id of a task that has that id in the view. */
enum knowledge cbpd_known_as(struct tracer *self, const struct id_view *view, uint32_t id, uint32_t *tid);
/* Gives the id in the view of a task that has this id for the helper. */
enum knowledge cbpd_seen_as(struct tracer *self, const struct id_view *view, uint32_t tid, uint32_t *id);
enum knowledge cbpd_is_visible(struct tracer *self, const struct id_view *view, uint32_t tid,
                               const struct status_facts *facts);
/* Gives the helper's id of a user. */
enum knowledge cbpd_user_known_as(struct tracer *self, uint32_t tid, uint32_t user_id, uint32_t *our_id);

#endif
