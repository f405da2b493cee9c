/* Adds up rules and decides operations; see cbp_rules.h. */
#include "cbp_rules.h"

#include "cbp_message.h"
#include "cbp_right_pairs.h"

uint32_t cbpd_thread_rights_of(uint32_t process_rights)
{
#define RIGHT_PAIR(of_process, of_thread) {of_process, of_thread},
    static const uint32_t pairs[][2] = {CBP_RIGHT_PAIR_LIST(RIGHT_PAIR)};
    uint32_t rights = 0;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (process_rights & pairs[i][0])
            rights |= pairs[i][1];
    return rights;
}

void cbpd_denial_add(struct cbp_denial *denial, const struct cbp_denial *other)
{
    if (other->code != 0 && (denial->code == 0 || other->rule_id < denial->rule_id))
        *denial = *other;
}

void cbpd_stance_add(struct cbp_stance *stance, uint32_t rule_id, uint32_t match, uint32_t action,
                     uint32_t action_value)
{
    const struct cbp_denial denial = {action_value, rule_id};
    switch (action) {
    case CBP_ACTION_ASK:
        stance->asked = 1;
        break;
    case CBP_ACTION_IGNORE:
        stance->ignored = 1;
        break;
    case CBP_ACTION_ALLOW:
        stance->allowed = 1;
        stance->is_on_list |= match != CBP_RULE_MATCH_ALL;
        break;
    case CBP_ACTION_DENY:
        cbpd_denial_add(match == CBP_RULE_MATCH_ALL ? &stance->deny_all : &stance->deny, &denial);
        break;
    case CBP_ACTION_STRIP:
        stance->strip_mask |= action_value;
        break;
    default:
        break;
    }
}

bool cbpd_stance_filters(const struct cbp_stance *stance)
{
    return stance->asked || stance->allowed || stance->deny.code != 0 || stance->deny_all.code != 0 ||
           stance->strip_mask != 0;
}

static uint32_t deny_code_of(const struct cbp_stance *originator, const struct cbp_stance *subject)
{
    struct cbp_denial denial = originator->deny;
    cbpd_denial_add(&denial, &subject->deny);
    if (!subject->is_on_list)
        cbpd_denial_add(&denial, &subject->deny_all);
    return denial.code;
}

struct cbp_decision cbpd_stance_decide(bool is_refusable, uint32_t lost, const struct cbp_stance *originator,
                                       const struct cbp_stance *subject)
{
    static const struct cbp_stance nobody = {0};
    struct cbp_decision decision = {.outcome = CBP_OUTCOME_ALLOW,
                                    .deny_code = is_refusable ? deny_code_of(originator, subject) : 0,
                                    .strip_mask = lost};
    if (subject->ignored)
        subject = &nobody;
    decision.is_silent =
        originator->ignored || (!cbpd_stance_filters(originator) && !cbpd_stance_filters(subject));
    if (decision.deny_code != 0)
        decision.outcome = CBP_OUTCOME_DENY;
    else if (decision.strip_mask != 0)
        decision.outcome = CBP_OUTCOME_STRIP;
    else if (decision.is_silent)
        decision.outcome = CBP_OUTCOME_SILENT;
    else if (!originator->allowed && !subject->allowed && (originator->asked || subject->asked))
        decision.outcome = CBP_OUTCOME_ASK;
    return decision;
}
