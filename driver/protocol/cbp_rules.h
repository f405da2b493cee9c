/* What rules mean, for whoever runs them: the decision that the rules matching an originator and a subject
 * add up to. What matches is cbp_pattern.h. No libc, no allocation, no lock; knows nothing of processes. */
#ifndef CBP_RULES_H
#define CBP_RULES_H

#include "cbp_constants.h"
#include "cbp_pattern.h"

/* What the rules that match one process add up to. */
struct cbp_stance {
    uint8_t ignored; /* some rule ignores it */
    uint8_t asked;   /* some rule asks for it */
    uint8_t allowed; /* some rule allows its operations */
    uint8_t reserved;
    uint32_t deny_code;  /* not 0: some rule denies, with this code (the first such rule's) */
    uint32_t strip_mask; /* rights to it that rules take away, PROCESS_ bits, all rules together */
};

/* Adds one matching rule to a stance. */
void cbp_stance_add(struct cbp_stance *stance, uint32_t action, uint32_t action_value);

enum cbp_outcome {
    CBP_OUTCOME_SILENT, /* no event */
    CBP_OUTCOME_ASK,    /* hold it and ask a handler */
    CBP_OUTCOME_ALLOW,  /* decided: goes on, delivered afterwards */
    CBP_OUTCOME_DENY,   /* decided: refused with deny_code */
    CBP_OUTCOME_STRIP,  /* decided: strip_mask is taken out of the access */
};

/* What an operation lets a rule do with it. */
#define CBP_OPERATION_REFUSABLE 1u  /* creations of processes, handle operations: deny applies */
#define CBP_OPERATION_HAS_ACCESS 2u /* handle operations: strip applies */

/* The thread rights that go with process rights: who may not end a process may not end its threads. What has
 * no counterpart is dropped. Rules name process rights only; this is what they take out of thread handles. */
uint32_t cbp_thread_rights_of(uint32_t process_rights);

/* The outcome for an operation of originator on subject (the same pointer when they are one process):
 * silent when the originator is ignored, or when neither counts as filtered, an ignored subject not counting.
 * Deny and strip beat allow, and allow beats ask; deny beats strip. Strip protects: only the subject's
 * counts, so a protected process may itself do what others may not do to it. A rule that cannot apply to the
 * operation (see the bits of operation above) asks nobody: alone it gives ALLOW, and it does not beat another
 * rule. deny_code and strip_mask are written always, 0 where they say nothing. */
enum cbp_outcome cbp_outcome_of(uint32_t operation, const struct cbp_stance *originator,
                                const struct cbp_stance *subject, uint32_t *deny_code, uint32_t *strip_mask);

#endif
