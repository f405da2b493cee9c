/* See cbp_rules.h. */
#include "cbp_rules.h"

uint32_t cbp_thread_rights_of(uint32_t process_rights)
{
    static const uint32_t pairs[][2] = {
        {CBP_PROCESS_TERMINATE, CBP_THREAD_TERMINATE},
        {CBP_PROCESS_SUSPEND_RESUME, CBP_THREAD_SUSPEND_RESUME | CBP_THREAD_RESUME},
        {CBP_PROCESS_VM_READ, CBP_THREAD_GET_CONTEXT},
        {CBP_PROCESS_VM_WRITE, CBP_THREAD_SET_CONTEXT},
        {CBP_PROCESS_SET_INFORMATION, CBP_THREAD_SET_INFORMATION | CBP_THREAD_SET_LIMITED_INFORMATION},
        {CBP_PROCESS_QUERY_INFORMATION, CBP_THREAD_QUERY_INFORMATION},
        {CBP_PROCESS_QUERY_LIMITED_INFORMATION, CBP_THREAD_QUERY_LIMITED_INFORMATION},
        {CBP_PROCESS_SYNCHRONIZE, CBP_THREAD_SYNCHRONIZE},
    };
    uint32_t rights = 0;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (process_rights & pairs[i][0])
            rights |= pairs[i][1];
    return rights;
}

void cbp_stance_add(struct cbp_stance *stance, uint32_t action, uint32_t action_value)
{
    switch (action) {
    case CBP_ACTION_ASK:
        stance->asked = 1;
        break;
    case CBP_ACTION_IGNORE:
        stance->ignored = 1;
        break;
    case CBP_ACTION_ALLOW:
        stance->allowed = 1;
        break;
    case CBP_ACTION_DENY:
        if (stance->deny_code == 0)
            stance->deny_code = action_value;
        break;
    case CBP_ACTION_STRIP:
        stance->strip_mask |= action_value;
        break;
    default:
        break;
    }
}

static int is_filtered(const struct cbp_stance *stance)
{
    return stance->asked || stance->allowed || stance->deny_code != 0 || stance->strip_mask != 0;
}

enum cbp_outcome cbp_outcome_of(uint32_t operation, const struct cbp_stance *originator,
                                const struct cbp_stance *subject, uint32_t *deny_code, uint32_t *strip_mask)
{
    static const struct cbp_stance nobody = {0};
    *deny_code = 0;
    *strip_mask = 0;
    if (originator->ignored)
        return CBP_OUTCOME_SILENT;
    if (subject->ignored)
        subject = &nobody;
    if (!is_filtered(originator) && !is_filtered(subject))
        return CBP_OUTCOME_SILENT;
    if (operation & CBP_OPERATION_REFUSABLE)
        *deny_code = originator->deny_code != 0 ? originator->deny_code : subject->deny_code;
    if (operation & CBP_OPERATION_HAS_ACCESS)
        *strip_mask = subject->strip_mask;
    if (*deny_code != 0)
        return CBP_OUTCOME_DENY;
    if (*strip_mask != 0)
        return CBP_OUTCOME_STRIP;
    if (originator->allowed || subject->allowed)
        return CBP_OUTCOME_ALLOW;
    return originator->asked || subject->asked ? CBP_OUTCOME_ASK : CBP_OUTCOME_ALLOW;
}
