/* Applies answers, deadlines and rules to an operation about which several sessions are asked. The refusal of
 * the highest session counts. Knows no messages except their items, and no clock. */
#include "policy.h"

void cbpd_refuse(const struct cbpd_policy *policy, uint32_t place, uint32_t result_code,
                 struct cbpd_operation *operation)
{
    bool is_first = operation->result_code == 0;
    if (result_code == 0 || (!is_first && !cbpd_session_is_above(policy, place, operation->refuser)))
        return;
    operation->result_code = result_code;
    operation->refuser = place;
}

void cbpd_refuse_by_rules(const struct cbpd_policy *policy, const struct cbpd_refusal *refusal,
                          struct cbpd_operation *operation)
{
    if (operation->result_code == 0) {
        /* No answer overrides what is refused already. */
        operation->result_code = refusal->code;
        operation->refuser = policy->order[0];
    }
    operation->is_stripped |= refusal->is_stripped;
    operation->lost_access |= refusal->lost_access;
}

uint32_t cbpd_apply_answer(const struct cbpd_policy *policy, uint32_t place,
                           const struct cbpd_answerable *answerable, const struct cbp_event_item *items,
                           struct cbpd_operation *operation)
{
    uint32_t result_code = 0, refused_count = 0;
    for (uint32_t i = 0; i < CBP_BATCH_MAX; i++)
        if ((answerable->refusable_items & (1u << i)) != 0 && items[i].result_code != 0) {
            refused_count++;
            if (result_code == 0)
                result_code = items[i].result_code;
        }
    const uint32_t lost = answerable->access & ~items[0].desired_access;
    operation->lost_access |= lost;
    if (result_code == 0 && lost != 0) {
        refused_count++;
        operation->is_stripped = true;
    }
    cbpd_refuse(policy, place, result_code, operation);
    return refused_count;
}

uint32_t cbpd_timeout_code(const struct cbpd_policy *policy, uint32_t place, bool is_creation)
{
    bool denies = is_creation && policy->sessions[place].settings.timeout_action == CBP_TIMEOUT_ACTION_DENY;
    return denies ? CBP_ERROR_TIMEOUT : 0;
}

uint64_t cbpd_deadline_of(const struct cbpd_policy *policy, uint32_t place, uint64_t since_ns)
{
    uint32_t timeout_ms = policy->sessions[place].settings.timeout_ms;
    return timeout_ms != 0 ? since_ns + timeout_ms * CBP_NS_PER_MS : 0;
}

uint64_t cbpd_silence_limit_ms(const struct cbpd_policy *policy, uint32_t place)
{
    uint32_t timeout_ms = policy->sessions[place].settings.timeout_ms;
    return timeout_ms != 0 ? timeout_ms : CBP_HEARTBEAT_LIMIT_MS;
}
