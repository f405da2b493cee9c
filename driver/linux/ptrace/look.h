/* Offers a look at an execution, made in the tracer or beside it; see look.c. */
#ifndef CBP_LOOK_H
#define CBP_LOOK_H

#include "beside.h"
#include "reading.h"
#include "tracer.h"

struct look {
    struct job job;
    /* The tracer sets these members before the look. */
    enum operation_kind kind;   /* OPERATION_ENTRY or OPERATION_EXECUTION */
    struct syscall_entry entry; /* for an OPERATION_ENTRY */
    /* The look finds these. */
    enum resolution resolution; /* for an OPERATION_ENTRY */
    bool is_as_approved;
    struct reading reading; /* the tracer sets whose, and what it wishes */
};

/* Looks at what a stopped task executes; entry is NULL at the stop after execve. True: *found is valid until
 * the next look; NULL means that the look failed. False: a reader looks, and the task stays stopped. */
bool cbpd_look_at_execution(struct tracer *self, struct task *task, const struct syscall_entry *entry,
                            const struct look **found);
/* Ends a look that a reader has done, or not done in time (job is NULL). True: *found is as above, valid
 * until cbpd_free_look(). False: a brief second look has begun, because files did not answer. */
bool cbpd_end_look(struct tracer *self, struct task *task, struct job *job, const struct look **found);
void cbpd_free_look(struct job *job); /* NULL is allowed */
/* The task goes another way and does not wait for its look any more. */
void cbpd_drop_look(struct task *task);

#endif
