/* Keeps lists of rules that processes remember. Processes with the same rules share one list, which is made
 * of what is gathered for them. Without memory a list is that of the unknown rules, which refuses
 * everything. Knows no process and no set of rules. */
#include <string.h>

#include "lists.h"

struct cbpd_rule_list *cbpd_unknown_rules(void)
{
    static const struct cbpd_rule_list unknown = {.count = 0};
    return (struct cbpd_rule_list *) (uintptr_t) &unknown; /* which nobody changes */
}

void cbpd_release_list(const struct cbpd_policy *policy, struct cbpd_rule_list *list)
{
    if (list && list != cbpd_unknown_rules() && --list->reference_count == 0)
        policy->host->release(list);
}

struct cbpd_rule_list *cbpd_share_list(struct cbpd_rule_list *list)
{
    if (list && list != cbpd_unknown_rules())
        list->reference_count++;
    return list;
}

struct cbpd_rule_list *cbpd_make_list(const struct cbpd_policy *policy, const struct cbpd_rule_ref *refs,
                                      uint32_t count)
{
    if (count == 0)
        return NULL;
    struct cbpd_rule_list *list = policy->host->allocate(sizeof *list + count * sizeof list->refs[0], true);
    if (!list)
        return cbpd_share_list(cbpd_unknown_rules());
    list->reference_count = 1;
    list->count = count;
    memcpy(list->refs, refs, count * sizeof list->refs[0]);
    return list;
}

/* ---- Rules that are remembered ---- */

struct cbpd_rule_ref cbpd_make_ref(const struct cbpd_policy *policy, uint32_t place, uint32_t rule_id,
                                   bool is_launch)
{
    return (struct cbpd_rule_ref){.place = place,
                                  .session_serial = (uint32_t) policy->sessions[place].opened,
                                  .rule_id = rule_id,
                                  .is_launch = is_launch};
}

bool cbpd_is_of_session(const struct cbpd_policy *policy, const struct cbpd_rule_ref *ref, uint32_t place)
{
    return ref->rule_id != 0 && ref->place == place &&
           ref->session_serial == (uint32_t) policy->sessions[place].opened;
}

bool cbpd_is_same_ref(const struct cbpd_rule_ref *a, const struct cbpd_rule_ref *b)
{
    return a->place == b->place && a->session_serial == b->session_serial && a->rule_id == b->rule_id &&
           a->is_launch == b->is_launch;
}

static bool is_among(const struct cbpd_rule_ref *refs, uint32_t count, const struct cbpd_rule_ref *ref)
{
    uint32_t i = 0;
    while (i < count && !cbpd_is_same_ref(&refs[i], ref))
        i++;
    return i < count;
}

bool cbpd_has_ref(const struct cbpd_rule_list *list, const struct cbpd_rule_ref *ref)
{
    return list && is_among(list->refs, list->count, ref);
}

/* ---- Gathering ---- */

void cbpd_begin_gathering(struct cbpd_policy *policy)
{
    policy->gathered.count = 0;
    policy->gathered.is_incomplete = false;
}

void cbpd_gather(struct cbpd_policy *policy, struct cbpd_rule_ref ref)
{
    if (policy->gathered.count == policy->gathered.capacity) {
        uint32_t capacity = policy->gathered.capacity * 2 + 16;
        struct cbpd_rule_ref *refs = policy->host->allocate(capacity * sizeof *refs, true);
        if (!refs) {
            policy->gathered.is_incomplete = true;
            return;
        }
        if (policy->gathered.count > 0)
            memcpy(refs, policy->gathered.refs, policy->gathered.count * sizeof *refs);
        policy->host->release(policy->gathered.refs);
        policy->gathered.refs = refs;
        policy->gathered.capacity = capacity;
    }
    policy->gathered.refs[policy->gathered.count++] = ref;
}

void cbpd_gather_list(struct cbpd_policy *policy, const struct cbpd_rule_list *list)
{
    policy->gathered.is_incomplete |= list == cbpd_unknown_rules();
    for (uint32_t i = 0; list && i < list->count; i++)
        cbpd_gather(policy, list->refs[i]);
}

bool cbpd_is_gathered(const struct cbpd_policy *policy, const struct cbpd_rule_ref *ref)
{
    return is_among(policy->gathered.refs, policy->gathered.count, ref);
}

static bool is_what_was_gathered(const struct cbpd_policy *policy, const struct cbpd_rule_list *list)
{
    if (!list || list->count != policy->gathered.count)
        return false;
    for (uint32_t i = 0; i < list->count; i++)
        if (!cbpd_is_same_ref(&list->refs[i], &policy->gathered.refs[i]))
            return false;
    return true;
}

struct cbpd_rule_list *cbpd_take_gathered(struct cbpd_policy *policy, struct cbpd_rule_list *at_hand)
{
    if (policy->gathered.is_incomplete)
        return cbpd_share_list(cbpd_unknown_rules());
    if (is_what_was_gathered(policy, at_hand))
        return cbpd_share_list(at_hand);
    return cbpd_make_list(policy, policy->gathered.refs, policy->gathered.count);
}
