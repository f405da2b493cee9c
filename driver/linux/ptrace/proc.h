/* Questions to /proc: about a task, of which lists, and which ids others see. A question that somebody in a tree
 * could keep from being answered has a limit (beside.h). The tracer's, where nothing else is said. */
#ifndef CBPD_PROC_H
#define CBPD_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proc_files.h"
#include "proc_status.h"

struct process;
struct task;
struct tracer;

/* ---- proc.c: facts from /proc ---- */
uint64_t cbpd_read_start_time(struct tracer *self, uint32_t pid);
bool cbpd_read_parent(struct tracer *self, uint32_t pid, uint32_t *parent_pid); /* false: gone, or hidden */
uint64_t cbpd_start_time_since(struct tracer *self, uint32_t pid,
                               uint64_t earliest_ns); /* the same, of a process that is not older */
/* What is asked of /proc may be hidden there: descriptors of a task that is not dumpable, a namespace, a
 * whole process (hidepid). */
enum knowledge { KNOWN, ABSENT /* surely */, NOT_KNOWN };
bool cbpd_read_status(struct tracer *self, uint32_t tid,
                      struct status_facts *facts); /* false: gone, or hidden: see cbpd_is_there() */
bool cbpd_is_there(uint32_t tid);                  /* a task with that id exists, maybe hidden */
uint32_t
cbpd_process_group_of(uint32_t tid); /* its process group; 0: gone, or led from outside of our namespace */
uint32_t cbpd_count_threads(struct tracer *self, uint32_t pid);      /* with the kernel's for it; 0: gone */
uint64_t cbpd_read_pid_namespace(struct tracer *self, uint32_t tid); /* inode; 0: gone, or hidden */
struct descriptor_facts {
    bool is_pidfd;
    uint32_t pid;   /* of a pidfd; UINT32_MAX: it has ended */
    uint32_t flags; /* as of open(2) */
    uint32_t mount_id;
};
enum knowledge cbpd_read_descriptor(struct tracer *self, uint32_t tid, int fd,
                                    struct descriptor_facts *facts);
/* The process whose folder of a /proc a descriptor stands for: its id there, and whether that /proc is ours.
 */
enum knowledge cbpd_read_process_folder(struct tracer *self, uint32_t tid, int fd,
                                        const struct descriptor_facts *facts, uint32_t *id, bool *is_ours);

/* ---- listing.c ---- */
struct id_list { /* from malloc */
    uint32_t *ids;
    uint32_t count;
};
/* All processes that /proc shows. False, and an empty list: not all of them can be known. */
bool cbpd_list_processes(struct tracer *self, struct id_list *list);
/* The threads of one. Unless they are KNOWN the list is empty. */
enum knowledge cbpd_list_threads(struct tracer *self, uint32_t pid, struct id_list *list);
void cbpd_free_id_list(struct id_list *list);

/* ---- ids.c: ids of other namespaces ---- */
/* How a process sees ids: a namespace and how deep it lies below ours. */
struct id_view {
    const struct process *process;
    bool is_foreign; /* false: as we do */
    uint64_t inode;  /* 0: it is hidden */
    uint32_t level;
};
bool cbpd_open_view(struct tracer *self, struct task *task,
                    struct id_view *view); /* false: it cannot be known */
/* Our id of what has that id there. */
enum knowledge cbpd_known_as(struct tracer *self, const struct id_view *view, uint32_t id, uint32_t *tid);
/* The id there of what has this one here. */
enum knowledge cbpd_seen_as(struct tracer *self, const struct id_view *view, uint32_t tid, uint32_t *id);
enum knowledge cbpd_is_visible(struct tracer *self, const struct id_view *view, uint32_t tid,
                               const struct status_facts *facts);
/* Our id of a user. */
enum knowledge cbpd_user_known_as(struct tracer *self, uint32_t tid, uint32_t user_id, uint32_t *our_id);

#endif
