/* Decides what becomes of an operation, and for each session whether it is told, asked, or has decided by a
 * rule. Knows requests, stances and sessions. The host tells the sessions. */
#include "policy.h"

struct cbp_decision cbpd_decide(const struct cbpd_request *request, uint32_t place, uint32_t item)
{
    static const struct cbp_stance nobody;
    const struct cbp_stance *subject = request->subject ? &request->subject[place] : &nobody;
    const struct cbp_stance *originator = request->originator ? &request->originator[place] : &nobody;
    uint32_t type = request->types[item];
    /* A protected process keeps its rights to what it has created, above all its forks of the same name. */
    uint32_t lost = 0,
             stripped = subject->strip_mask & ~(request->is_by_creator ? originator->strip_mask : 0);
    if (type == CBP_PROC_EVT_PROCESS_HANDLE_OPERATION)
        lost = request->access & stripped;
    else if (type == CBP_PROC_EVT_THREAD_HANDLE_OPERATION)
        lost = request->access & cbpd_thread_rights_of(stripped);
    lost &= request->is_of_creation ? 0 : ~request->kept_access;
    struct cbp_decision decision =
        cbpd_stance_decide(type == CBP_PROC_EVT_PROCESS_CREATION, lost, originator, subject);
    if ((request->recorded_items & (1u << item)) != 0 &&
        (decision.outcome == CBP_OUTCOME_ASK || decision.outcome == CBP_OUTCOME_ALLOW))
        return request->recorded[item];
    return decision;
}

/* Says whether the session's handlers want to know the event. */
static bool is_wanted(const struct cbpd_request *request, const struct cbpd_session *session, uint32_t item)
{
    return (session->settings.events & request->types[item]) != 0 &&
           ((request->flags[item] & CBP_EVENT_FLAG_FORK) == 0 ||
            (session->settings.flags & CBP_SESSION_FLAG_FORK_IS_CREATION) != 0);
}

static void note_refusal(const struct cbp_decision *decision, struct cbpd_selection *selection,
                         struct cbpd_refusal *refusal)
{
    selection->refused_count++;
    refusal->is_stripped |= decision->outcome == CBP_OUTCOME_STRIP;
    refusal->lost_access |= decision->strip_mask;
    if (decision->outcome == CBP_OUTCOME_DENY && refusal->code == 0)
        refusal->code = decision->deny_code;
}

static void note_question(const struct cbpd_request *request, uint32_t type, uint32_t at,
                          struct cbpd_selection *selection)
{
    selection->asked = true;
    selection->answerable.is_creation |= type == CBP_PROC_EVT_PROCESS_CREATION;
    if (type == CBP_PROC_EVT_PROCESS_CREATION || (type & CBPD_HANDLE_OPERATIONS) != 0)
        selection->answerable.refusable_items |= 1u << at;
    if (type & CBPD_HANDLE_OPERATIONS)
        selection->answerable.access = request->access & ~request->kept_access;
}

static void select_item(const struct cbpd_policy *policy, const struct cbpd_request *request, uint32_t item,
                        struct cbpd_selection *selection, struct cbpd_refusal *refusal)
{
    struct cbp_decision decision = cbpd_decide(request, selection->place, item);
    enum cbp_outcome outcome = decision.outcome;
    bool refused = outcome == CBP_OUTCOME_DENY || outcome == CBP_OUTCOME_STRIP;
    bool wanted = is_wanted(request, &policy->sessions[selection->place], item);
    /* A fork means nothing to a session that does not take forks for creations. */
    if (outcome == CBP_OUTCOME_SILENT ||
        (!wanted && (!refused || (request->flags[item] & CBP_EVENT_FLAG_FORK) != 0)))
        return;
    if (refused)
        note_refusal(&decision, selection, refusal);
    selection->decided_items |= (uint32_t) (outcome != CBP_OUTCOME_ASK) << item;
    if (!wanted || decision.is_silent)
        return;
    uint32_t at = selection->item_count++;
    selection->items[at] = item;
    selection->flags[at] = request->flags[item];
    selection->strip_masks[at] = outcome == CBP_OUTCOME_STRIP ? decision.strip_mask : 0;
    selection->result_codes[at] = outcome == CBP_OUTCOME_DENY ? decision.deny_code : request->result_code;
    if (outcome == CBP_OUTCOME_ASK)
        note_question(request, request->types[item], at, selection);
    else
        selection->flags[at] |= CBP_EVENT_FLAG_DECIDED_BY_RULE;
}

void cbpd_select(const struct cbpd_policy *policy, const struct cbpd_request *request, uint32_t place,
                 struct cbpd_selection *selection, struct cbpd_refusal *refusal)
{
    *selection = (struct cbpd_selection){.place = place};
    for (uint32_t i = 0; i < request->item_count; i++)
        select_item(policy, request, i, selection, refusal);
}
