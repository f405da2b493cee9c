/* Follows one operation of a script: what a session's rules make of it, what a handler is told, and what
 * became of it. Knows the population, but nothing of time, threads and locks: the transport's mutex is held.
 */
#ifndef CBPI_OPERATION_H
#define CBPI_OPERATION_H

#include "cbp_message_check.h"
#include "played_processes.h"
#include "source.h"

/* The steps in front of an event message say this about it. */
struct cbpi_modifiers {
    uint64_t delay_ns;   /* how much later its answers come than they are given */
    bool is_expired;     /* its deadline passes before a handler sees it */
    uint32_t copy_count; /* how often its message arrives again */
    bool fails_after;    /* if it is allowed, it fails */
    uint32_t os_error;   /* with that errno; 0: its process ends in it */
};

struct cbpi_operation {
    struct cbpi_operation *next, *previous; /* those that wait for an answer */
    const struct cbp_event_message *message;
    struct cbpi_source_block *block; /* the message's memory */
    struct cbpi_modifiers modifiers;
    struct cbpd_process *subject;
    struct cbpd_process *originator; /* NULL where the message names none */
    struct cbpi_member *actor; /* which of them waits for the answer; its next operation has its turn then */

    /* These are the message's items, told or not, as the rules have decided; an answer takes the place of
     * that decision. */
    struct cbp_event_item items[CBP_BATCH_MAX];
    struct cbpd_selection told; /* the items that a handler is told of, and what rules and answers refuse */
    uint64_t sequence;          /* of the first of them; 0: nobody is told */

    bool is_wanted; /* a rule and a setting ask for the event */
    bool is_asked;  /* a handler is to decide about an item */
    struct cbpd_operation outcome;

    uint32_t slot;
    bool was_held;
    bool is_late;            /* its deadline had passed before it was told */
    bool is_open;            /* it waits for an answer */
    uint32_t handed_count;   /* deliveries that are out */
    bool is_logged;          /* a verdict is there */
    uint32_t deferred_items; /* bits */
    uint64_t deadline_ns;    /* of the transport's clock; 0: none */
};

/* Finds the processes that a message is about, and adds those that are new to the script. Gives 0 or
 * CBP_ERROR_NOT_ENOUGH_MEMORY. Nothing needs to be released unless it succeeds. */
uint32_t cbpi_operation_begin(struct cbpi_population *population, const struct cbp_event_message *message,
                              struct cbpi_operation *operation);

/* Decides by the rules what is told and what is asked. can_ask false: no handler can be asked or told. */
void cbpi_operation_decide(struct cbpi_population *population, bool can_ask,
                           struct cbpi_operation *operation);

/* Says whether a decided operation waits: a handler is asked, and no rule refuses it. */
bool cbpi_operation_can_wait(const struct cbpi_operation *operation);

/* Takes a handler's answer. */
void cbpi_operation_apply_answer(const struct cbpi_population *population, const struct cbpi_delivery *answer,
                                 struct cbpi_operation *operation);

/* Refuses what a deadline refuses if the session wants that (TimeoutAction). */
void cbpi_operation_apply_timeout(const struct cbpi_population *population, struct cbpi_operation *operation);

/* Changes the population as the operation does, which happens or has been refused. */
void cbpi_operation_take_effect(struct cbpi_population *population, struct cbpi_operation *operation);

/* Writes what a handler is told; delivery->capacity is at least cbpi_event_decoded_size(message). */
void cbpi_operation_tell(const struct cbpi_operation *operation, struct cbpi_delivery *delivery);

/* Makes the verdict, item by item as in the message. */
void cbpi_operation_verdict(const struct cbpi_operation *operation, uint32_t state,
                            struct cbp_verdict *verdict);

void cbpi_operation_release(struct cbpi_population *population, struct cbpi_operation *operation);

#endif
