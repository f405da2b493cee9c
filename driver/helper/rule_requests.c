/* Puts the one controller's rules in force, after it has attached to processes for them. Knows no system. */
#include "helper.h"

static uint32_t attach_for_process_rule(struct cbpd_helper *helper, const struct cbpd_rule_set *set,
                                        uint32_t index)
{
    uint32_t process_id;
    uint64_t start_time;
    cbpd_ruleset_process_of(set->block, index, &process_id, &start_time);
    return helper->host->attach_process(
        helper, process_id, start_time,
        (cbpd_ruleset_rule_at(set->block, index)->flags & CBP_RULE_FLAG_CHILDREN) != 0);
}

/* Attaches for a whole set; one look at all processes serves all name rules. */
static uint32_t attach_for_set(struct cbpd_helper *helper, struct cbpd_rule_set *set, uint32_t wanted_id,
                               uint64_t *failed_rule_id)
{
    uint32_t count = wanted_id != CBP_ATTACH_NONE ? cbpd_ruleset_rule_count(set->block) : 0;
    uint32_t named_rule_id = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct cbp_ruleset_rule *rule = cbpd_ruleset_rule_at(set->block, i);
        if (!cbpd_rule_attaches(rule, wanted_id))
            continue;
        if (rule->match == CBP_RULE_MATCH_NAME)
            named_rule_id = rule->rule_id;
        uint32_t error = rule->match == CBP_RULE_MATCH_PROCESS ? attach_for_process_rule(helper, set, i) : 0;
        if (error == CBP_ERROR_INVALID_PARAMETER && wanted_id == CBP_ATTACH_ALL)
            continue; /* the process has ended since the filter was started */
        if (error != 0) {
            *failed_rule_id = rule->rule_id;
            return error;
        }
    }
    uint32_t error = named_rule_id != 0 ? helper->host->attach_matching(helper, set, wanted_id) : 0;
    if (error != 0)
        *failed_rule_id = named_rule_id;
    return error;
}

uint32_t cbpd_serve_rules(struct cbpd_helper *helper, const struct cbp_rules *request,
                          struct cbpd_rule_set *set, uint64_t *failed_rule_id)
{
    struct cbpd_policy *policy = &helper->policy;
    bool allowed_before = policy->rule_counts[CBP_ACTION_ALLOW] > 0;
    uint32_t place, error = cbpd_find_session(policy, CBPD_ONLY_CONTROLLER, request->session_id, &place);
    if (error == 0)
        error = cbpd_can_install(policy, request, place, set);
    if (error == 0)
        error = attach_for_set(helper, set, request->attach_rule_id, failed_rule_id);
    if (error != 0) {
        cbpd_free_rule_set(set);
        return error;
    }
    cbpd_install_rules(policy, request, place, set);
    if (helper->host->identify_programs && !allowed_before && policy->rule_counts[CBP_ACTION_ALLOW] > 0)
        helper->host->identify_programs(helper);
    helper->host->let_released_go(helper);
    return 0;
}
