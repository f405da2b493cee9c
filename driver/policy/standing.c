/* Works out what the rules make of each process. Knows no stops and no requests.
 *
 * A process's stance in a session sums up the session's rules that match it, in the order of their ids:
 * inherited ones, those for its image, for its id and for all. Names are matched once for each image. Matches
 * and sums are made at the first question after a change of the rules, so a change costs nothing for
 * processes that do nothing. */
#include <string.h>

#include "lists.h"

/* ---- One set and one process ---- */

static const struct cbp_ruleset_rule *rule_at(const struct cbpd_rule_set *set, uint32_t index)
{
    return cbpd_ruleset_rule_at(set->block, index);
}

/* Gives the index of the first marked rule not below this one, or UINT32_MAX. */
static uint32_t next_match(const struct cbpd_rule_set *set, uint32_t index)
{
    index = cbpd_ruleset_next(set->block, set->matches, index);
    return index < cbpd_ruleset_rule_count(set->block) ? index : UINT32_MAX;
}

/* Gives the generation of the rules for which a list is good. If it could not be made, it is tried again. */
static uint32_t generation_of(const struct cbpd_policy *policy, const struct cbpd_rule_list *list)
{
    return list != cbpd_unknown_rules() ? policy->rules_generation : 0;
}

/* An unknown name counts as a match where a match is the stricter result. */
static void mark_strict_rules(struct cbpd_rule_set *set)
{
    for (uint32_t i = 0; i < cbpd_ruleset_rule_count(set->block); i++) {
        const struct cbp_ruleset_rule *rule = rule_at(set, i);
        if (rule->match == CBP_RULE_MATCH_NAME && rule->action != CBP_ACTION_ALLOW &&
            rule->action != CBP_ACTION_IGNORE)
            cbpd_ruleset_mark(set->block, i, set->matches);
    }
}

static void gather_matches(struct cbpd_policy *policy, uint32_t place, struct cbpd_rule_set *set)
{
    for (uint32_t at = 0; (at = next_match(set, at)) != UINT32_MAX; at++)
        cbpd_gather(policy, cbpd_make_ref(policy, place, rule_at(set, at)->rule_id, false));
    cbpd_clear_matches(set);
}

/* Gathers a session's rules that match any of the names, except those that allow. */
static void gather_named(struct cbpd_policy *policy, const struct cbpd_image *image, uint32_t place,
                         struct cbpd_rule_set *set)
{
    uint32_t count = cbpd_match_names(image, set);
    if (image->is_vague)
        mark_strict_rules(set);
    if (count > 0 || image->is_vague)
        gather_matches(policy, place, set);
}

/* Gathers a session's rules that allow, if each file is allowed: a script brings its interpreter with it. */
static void gather_allowing(struct cbpd_policy *policy, const struct cbpd_image *image, uint32_t place)
{
    uint32_t gathered_before = policy->gathered.count;
    for (uint32_t i = 0; i < image->file_count && !image->is_vague; i++) {
        bool is_allowed = false;
        for (uint32_t part = 0; part < CBP_RULES_PART_COUNT; part++) {
            struct cbpd_rule_set *set = policy->rules[place][part];
            if (!set || cbpd_match_allowing(&image->files[i], set) == 0)
                continue;
            gather_matches(policy, place, set);
            is_allowed = true;
        }
        if (!is_allowed) {
            policy->gathered.count = gathered_before;
            return;
        }
    }
}

void cbpd_match_image(struct cbpd_policy *policy, struct cbpd_image *image)
{
    if (!image || image->rules_generation == policy->rules_generation)
        return;
    cbpd_begin_gathering(policy);
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++) {
        for (uint32_t part = 0; part < CBP_RULES_PART_COUNT; part++)
            if (policy->rules[id][part])
                gather_named(policy, image, id, policy->rules[id][part]);
        if (policy->rule_counts[CBP_ACTION_ALLOW] > 0)
            gather_allowing(policy, image, id);
    }
    cbpd_release_list(policy, image->matches);
    image->matches = cbpd_take_gathered(policy, NULL);
    image->rules_generation = generation_of(policy, image->matches);
}

void cbpd_mark_list(const struct cbpd_policy *policy, struct cbpd_rule_set *set, uint32_t place,
                    const struct cbpd_rule_list *list, uint32_t first_id, uint32_t flags)
{
    uint32_t count = cbpd_ruleset_rule_count(set->block);
    for (uint32_t i = 0; list && i < list->count; i++) {
        if (list->refs[i].rule_id < first_id || list->refs[i].is_launch ||
            !cbpd_is_of_session(policy, &list->refs[i], place))
            continue;
        uint32_t index = cbpd_ruleset_find(set->block, list->refs[i].rule_id);
        if (index < count && (rule_at(set, index)->flags & flags) == flags)
            cbpd_ruleset_mark(set->block, index, set->matches);
    }
}

void cbpd_mark_own(const struct cbpd_policy *policy, struct cbpd_rule_set *set, uint32_t place,
                   const struct cbpd_process *process, const struct cbpd_image *image, uint32_t first_id)
{
    if (image)
        cbpd_mark_list(policy, set, place, image->matches, first_id, 0);
    cbpd_mark_list(policy, set, place, process->own, first_id, 0);
    /* Without a start time the id may be any process's: only the rules for all match it. */
    (void) cbpd_ruleset_match_process(set->block, process->start_time != 0 ? process->pid : 0,
                                      process->start_time, set->matches);
}

void cbpd_gather_for_children(struct cbpd_policy *policy, const struct cbpd_rule_set *set, uint32_t place,
                              uint32_t first)
{
    for (uint32_t i = first; (i = next_match(set, i)) != UINT32_MAX; i++)
        if (rule_at(set, i)->flags & CBP_RULE_FLAG_CHILDREN)
            cbpd_gather(policy, cbpd_make_ref(policy, place, rule_at(set, i)->rule_id, false));
}

/* ---- The sum ---- */

/* Gathers the rules that children inherit. */
static void sum_up_set(struct cbpd_policy *policy, struct cbpd_rule_set *set, uint32_t place,
                       const struct cbpd_process *process, const struct cbpd_image *image,
                       struct cbp_stance *stance)
{
    cbpd_mark_own(policy, set, place, process, image, 0);
    cbpd_mark_list(policy, set, place, process->standing.inherited, 0, CBP_RULE_FLAG_CHILDREN);
    cbpd_ruleset_add_stance(set->block, set->matches, stance);
    cbpd_gather_for_children(policy, set, place, 0);
    cbpd_clear_matches(set);
}

static void sum_up_launch(struct cbpd_policy *policy, const struct cbpd_rule_ref *ref, uint32_t place,
                          struct cbp_stance *stance)
{
    if (!ref->is_launch || !cbpd_is_of_session(policy, ref, place))
        return;
    cbpd_stance_add(stance, ref->rule_id, CBP_RULE_MATCH_PROCESS, CBP_ACTION_ASK, 0);
    cbpd_gather(policy, *ref);
}

/* Memory was short, so what the rules say is not known, and they refuse. Known rules override this. */
static void refuse_everything(const struct cbpd_policy *policy, struct cbp_stance *stances)
{
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if (policy->sessions[id].open) {
            cbpd_stance_add(&stances[id], UINT32_MAX, CBP_RULE_MATCH_PROCESS, CBP_ACTION_DENY,
                            CBP_ERROR_NOT_ENOUGH_MEMORY);
            cbpd_stance_add(&stances[id], UINT32_MAX, CBP_RULE_MATCH_PROCESS, CBP_ACTION_STRIP, UINT32_MAX);
        }
}

void cbpd_stances_under_image(struct cbpd_policy *policy, const struct cbpd_process *process,
                              struct cbpd_image *image, struct cbp_stance *stances)
{
    const struct cbpd_rule_list *inherited = process->standing.inherited;
    memset(stances, 0, CBP_SESSION_MAX * sizeof *stances);
    cbpd_match_image(policy, image);
    cbpd_begin_gathering(policy);
    if (process->standing.is_let_go)
        return;
    policy->gathered.is_incomplete =
        inherited == cbpd_unknown_rules() || (image && image->matches == cbpd_unknown_rules());
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++) {
        if (!policy->sessions[id].open)
            continue;
        for (uint32_t part = 0; part < CBP_RULES_PART_COUNT; part++)
            if (policy->rules[id][part])
                sum_up_set(policy, policy->rules[id][part], id, process, image, &stances[id]);
        sum_up_launch(policy, &process->standing.launch, id, &stances[id]);
        for (uint32_t i = 0; inherited && i < inherited->count; i++)
            sum_up_launch(policy, &inherited->refs[i], id, &stances[id]);
    }
    if (policy->gathered.is_incomplete)
        refuse_everything(policy, stances);
}

static bool has_concern(const struct cbpd_standing *standing)
{
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if (cbpd_stance_filters(&standing->stances[id]))
            return true;
    return false;
}

static struct cbpd_standing *standing_of(struct cbpd_policy *policy, struct cbpd_process *process)
{
    struct cbpd_standing *standing = &process->standing;
    if (standing->rules_generation == policy->rules_generation)
        return standing;
    cbpd_stances_under_image(policy, process, process->image, standing->stances);
    struct cbpd_rule_list *bequest = cbpd_take_gathered(policy, standing->inherited);
    cbpd_release_list(policy, standing->bequest);
    standing->bequest = bequest;
    standing->rules_generation = generation_of(policy, bequest);
    standing->is_of_concern = has_concern(standing);
    return standing;
}

const struct cbp_stance *cbpd_stances_of(struct cbpd_policy *policy, struct cbpd_process *process)
{
    return standing_of(policy, process)->stances;
}

struct cbpd_rule_list *cbpd_bequest_of(struct cbpd_policy *policy, struct cbpd_process *process)
{
    return standing_of(policy, process)->bequest;
}

void cbpd_oblige(struct cbpd_policy *policy, struct cbpd_process *process, const struct cbp_stance *stances)
{
    struct cbpd_standing *standing = standing_of(policy, process);
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++) {
        struct cbp_stance *stance = &standing->stances[id];
        stance->ignored = stances[id].ignored;
        stance->allowed = stances[id].allowed;
        stance->asked |= stances[id].asked;
        stance->strip_mask |= stances[id].strip_mask;
        cbpd_denial_add(&stance->deny, &stances[id].deny);
    }
    standing->is_of_concern = has_concern(standing);
}

void cbpd_rename_standing(struct cbpd_process *process)
{
    process->standing.rules_generation = 0;
}

/* Says whether the new program is protected in the same way as the old one: then it stays the creator of what
 * that one has created. No other process becomes a creator by a name that it takes. */
static bool stays_protected(const struct cbp_stance *before, const struct cbp_stance *after)
{
    uint32_t rights = 0;
    for (uint32_t place = 0; place < CBP_SESSION_MAX; place++) {
        if (before[place].strip_mask != after[place].strip_mask)
            return false;
        rights |= before[place].strip_mask;
    }
    return rights != 0;
}

void cbpd_execute(struct cbpd_policy *policy, struct cbpd_process *process, struct cbpd_image *image,
                  struct cbp_stance *stances)
{
    struct cbp_stance before[CBP_SESSION_MAX];
    memcpy(before, cbpd_stances_of(policy, process), sizeof before);
    if (stances)
        memcpy(stances, before, sizeof before);
    cbpd_release_image(policy, process->image);
    process->image = image;
    process->executed = true;
    cbpd_rename_standing(process);
    process->tenure += !stays_protected(before, cbpd_stances_of(policy, process));
}

void cbpd_inherit_rules(struct cbpd_policy *policy, struct cbpd_process *child, struct cbpd_process *parent)
{
    child->standing.inherited = cbpd_share_list(standing_of(policy, parent)->bequest);
    child->standing.rules_generation = 0;
}

bool cbpd_is_exemption(const struct cbpd_policy *policy, const struct cbpd_rule_ref *ref)
{
    for (uint32_t part = 0; part < CBP_RULES_PART_COUNT && !ref->is_launch; part++) {
        const struct cbpd_rule_set *set = policy->rules[ref->place][part];
        uint32_t count = set ? cbpd_ruleset_rule_count(set->block) : 0;
        uint32_t index = count > 0 ? cbpd_ruleset_find(set->block, ref->rule_id) : 0;
        if (index >= count)
            continue;
        uint32_t action = cbpd_ruleset_rule_at(set->block, index)->action;
        return action == CBP_ACTION_IGNORE || action == CBP_ACTION_ALLOW;
    }
    return !ref->is_launch; /* a rule that has gone obliges no process */
}

void cbpd_inherit_obligations(struct cbpd_policy *policy, struct cbpd_process *child,
                              struct cbpd_process *candidate)
{
    const struct cbpd_rule_list *bequest = standing_of(policy, candidate)->bequest;
    struct cbpd_rule_list *inherited = child->standing.inherited;
    if (bequest == inherited)
        return;
    cbpd_begin_gathering(policy);
    cbpd_gather_list(policy, inherited);
    policy->gathered.is_incomplete |= bequest == cbpd_unknown_rules();
    for (uint32_t i = 0; bequest && i < bequest->count; i++)
        if (!cbpd_is_exemption(policy, &bequest->refs[i]) && !cbpd_is_gathered(policy, &bequest->refs[i]))
            cbpd_gather(policy, bequest->refs[i]);
    child->standing.inherited = cbpd_take_gathered(policy, inherited);
    child->standing.rules_generation = 0;
    cbpd_release_list(policy, inherited);
}

void cbpd_release_standing(const struct cbpd_policy *policy, struct cbpd_process *process)
{
    cbpd_release_list(policy, process->standing.inherited);
    cbpd_release_list(policy, process->standing.bequest);
    cbpd_release_list(policy, process->own);
}

bool cbpd_is_released(struct cbpd_policy *policy, struct cbpd_process *process)
{
    if (!process->attached || policy->broad_rule_count > 0 || standing_of(policy, process)->is_of_concern)
        return false;
    /* The creator performs the operation that a child's first execution is. */
    return process->executed || !process->parent || !standing_of(policy, process->parent)->is_of_concern;
}
