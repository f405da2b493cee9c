/* What rules mean, for whoever runs them: the decision that the rules matching an originator and a subject
 * add up to. What matches is cbp_pattern.h. No libc, no allocation, no lock; knows nothing of processes. */
#ifndef CBP_RULES_H
#define CBP_RULES_H

#include "cbp_constants.h"
#include "cbp_pattern.h"

/* The oldest of some rules that deny: it has the lowest id. */
struct cbp_denial {
    uint32_t code; /* 0: there is none */
    uint32_t rule_id;
};

/* What the rules that match one process add up to. */
struct cbp_stance {
    uint8_t ignored;            /* some rule ignores it */
    uint8_t asked;              /* some rule asks for it */
    uint8_t allowed;            /* some rule allows its operations */
    uint8_t is_on_list;         /* a rule that is not for all allows them */
    struct cbp_denial deny;     /* of the rules that are not for all */
    struct cbp_denial deny_all; /* of those for all */
    uint32_t strip_mask;        /* rights to it that rules take away, PROCESS_ bits, all rules together */
};

/* Puts other in the place of denial if it is the older one. */
void cbp_denial_add(struct cbp_denial *denial, const struct cbp_denial *other);

/* Adds one matching rule to a stance; match is its CBP_RULE_MATCH_. */
void cbp_stance_add(struct cbp_stance *stance, uint32_t rule_id, uint32_t match, uint32_t action,
                    uint32_t action_value);

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

/* What becomes of an operation. */
struct cbp_decision {
    enum cbp_outcome outcome;
    uint32_t is_silent;  /* nobody is told, also where it is refused */
    uint32_t deny_code;  /* what it is refused with; 0 where no rule denies */
    uint32_t strip_mask; /* what is taken out, also beside a refusal; 0 where no rule strips */
};

/* Decides an operation of originator on subject (the same pointer when they are one process).
 *
 * Nobody is told, and nobody asked, when the originator is ignored, or when neither counts as filtered, an
 * ignored subject not counting. Deny and strip hold all the same: ignoring silences, and permits nothing.
 *
 * Deny and strip beat allow, and allow beats ask; deny beats strip. Of the rules that deny, the originator's
 * and the subject's alike, the oldest one's code counts. One allow beats one deny: a subject that
 * is on the list (a rule that is not for all allows it) may be created although a rule for all denies. The
 * originator's place on the list says nothing about what it creates. Strip protects: only the subject's
 * counts, so a protected process may itself do what others may not do to it. A rule that cannot apply to the
 * operation (see the bits of operation above) asks nobody: alone it gives ALLOW, and it does not beat another
 * rule. */
struct cbp_decision cbp_decide(uint32_t operation, const struct cbp_stance *originator,
                               const struct cbp_stance *subject);

#endif
