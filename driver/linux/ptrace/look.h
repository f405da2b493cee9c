/* A look at an execution, made in the tracer or beside it; see look.c. */
#ifndef CBP_LOOK_H
#define CBP_LOOK_H

#include "beside.h"
#include "reading.h"
#include "tracer.h"

struct look {
    struct job job;
    /* What for: */
    enum operation_kind kind; /* OPERATION_ENTRY or OPERATION_EXECUTION */
    struct place place;
    struct syscall_entry entry;      /* of an OPERATION_ENTRY */
    struct stop_registers registers; /* else; only with has_registers */
    struct execution_facts approved; /* only with has_approved */
    uint32_t user_id;
    bool has_registers, has_approved;
    /* What was found: */
    enum resolution resolution; /* of an OPERATION_ENTRY */
    bool is_as_approved;
    struct reading reading;
};

/* Looks at what a stopped task executes; entry is NULL at the stop after execve. True: *found is what there is
 * to see, valid until the next look; NULL: it could not be looked at. False: it is done beside the tracer, and
 * the task stays stopped. */
bool cbpd_look_at_execution(struct tracer *self, struct task *task, const struct syscall_entry *entry,
                            const struct look **found);
/* A look that was given away is done, or was not in time (job is NULL). True: as above, valid until
 * cbpd_free_look(). False: what runs is looked for once more, where the files that have led to it kept silent. */
bool cbpd_end_look(struct tracer *self, struct task *task, struct job *job, const struct look **found);
void cbpd_free_look(struct job *job); /* NULL: nothing */
/* It is not waited for any more; the task goes another way. */
void cbpd_drop_look(struct task *task);

#endif
