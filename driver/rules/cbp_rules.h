/* Says what rules mean: the decision to which the rules that match an originator and a subject add up.
 * cbp_pattern.h says which names match. No libc, no allocation, no lock. Knows no processes. */
#ifndef CBP_RULES_H
#define CBP_RULES_H

#include "cbp_constants.h"
#include "cbp_pattern.h"

/* The oldest of several rules that deny has the lowest id. */
struct cbp_denial {
    uint32_t code; /* 0: there is none */
    uint32_t rule_id;
};

/* The rules that match one process add up to a stance. */
struct cbp_stance {
    uint8_t ignored;            /* some rule ignores the process */
    uint8_t asked;              /* some rule asks about it */
    uint8_t allowed;            /* some rule allows its operations */
    uint8_t is_on_list;         /* a rule that is not for all allows its operations */
    struct cbp_denial deny;     /* the oldest rule that denies and is not for all */
    struct cbp_denial deny_all; /* the oldest rule for all that denies */
    uint32_t strip_mask; /* rights to the process that rules strip: PROCESS_ bits of all rules together */
};

/* Keeps the older one of two denials in denial. */
void cbpd_denial_add(struct cbp_denial *denial, const struct cbp_denial *other);

/* Says whether some rule filters the process: it asks, allows, denies or strips. */
bool cbpd_stance_filters(const struct cbp_stance *stance);

/* Adds one matching rule to a stance; match is its CBP_RULE_MATCH_. */
void cbpd_stance_add(struct cbp_stance *stance, uint32_t rule_id, uint32_t match, uint32_t action,
                     uint32_t action_value);

enum cbp_outcome {
    CBP_OUTCOME_SILENT, /* no event */
    CBP_OUTCOME_ASK,    /* hold it and ask a handler */
    CBP_OUTCOME_ALLOW,  /* decided: it goes on and is delivered afterwards */
    CBP_OUTCOME_DENY,   /* decided: it is refused with deny_code */
    CBP_OUTCOME_STRIP,  /* decided: its access loses strip_mask */
};

/* Gives the thread rights that go with process rights: if a process may not be ended, its threads may not be
 * ended either. Rights without a counterpart are dropped. Rules name process rights only; this is what they
 * strip from thread handles. */
uint32_t cbpd_thread_rights_of(uint32_t process_rights);

/* An operation is decided like this. */
struct cbp_decision {
    enum cbp_outcome outcome;
    bool is_silent;      /* no session is told, even of a refusal */
    uint32_t deny_code;  /* the operation is refused with it; 0: no rule denies */
    uint32_t strip_mask; /* the rights that are taken, also with a refusal; 0: no rule strips */
};

/* Decides an operation of originator on subject (the same pointer when they are one process). If it is
 * refusable, deny applies. lost is what strip takes of the rights that a handle operation asks for.
 *
 * The decision is silent, and no handler is asked, when the originator is ignored, or when neither process is
 * filtered; an ignored subject does not count as filtered. Deny and strip apply nevertheless: ignoring
 * silences, and permits nothing.
 *
 * Deny and strip beat allow, allow beats ask, and deny beats strip. Of all rules that deny, the originator's
 * as well as the subject's, the oldest one gives the code. One allow beats one deny: a subject that is on the
 * list (a rule that is not for all allows it) may be created although a rule for all denies. The originator's
 * place on the list has no effect on what it creates. Strip protects: only the subject's counts, so a
 * protected process may do to others what they may not do to it. A rule that cannot apply to the operation
 * asks no handler: alone it gives ALLOW, and it beats no other rule. */
struct cbp_decision cbpd_stance_decide(bool is_refusable, uint32_t lost, const struct cbp_stance *originator,
                                       const struct cbp_stance *subject);

#endif
