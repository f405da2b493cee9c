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

/* Looks at what a stopped task executes; entry is NULL at the stop after execve. cbpd_go_on_after_look() follows,
 * at once or when it has been done beside; the task stays stopped until then. */
void cbpd_look_at_execution(struct tracer *self, struct task *task, const struct syscall_entry *entry);
/* What was given away is done, or NULL: it was not in time. */
void cbpd_finish_look(struct tracer *self, struct task *task, struct job *job);
/* It is not waited for any more; the task goes another way. */
void cbpd_drop_look(struct task *task);
/* All that are waited for, as if they had not been done in time. */
void cbpd_end_every_look(struct tracer *self);

/* ---- execution.c ---- */
/* NULL: it could not be looked at within the limit. */
void cbpd_go_on_after_look(struct tracer *self, struct task *task, enum operation_kind kind,
                           const struct look *look);

#endif
