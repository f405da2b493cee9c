/* What the rules make of each process. Knows no stops and no requests.
 *
 * A process's stance in a session sums up the session's rules that match it: those it inherited, those that
 * match its image, those for its id and those for all, in the order of their ids. Names are matched once for
 * each image; both that and the sum are made when they are first asked for after a change of the rules, so
 * that a change costs nothing for processes that do nothing. */
#include <string.h>

#include "rule_lists.h"
#include "supervisor.h"

/* ---- One set and one process ---- */

static const struct cbp_ruleset_rule *rule_at(const struct rule_set *set, uint32_t index)
{
    return cbp_ruleset_rule_at(set->block, index);
}

/* The index of the first marked rule not below this one, or UINT32_MAX. */
static uint32_t next_match(const struct rule_set *set, uint32_t index)
{
    index = cbp_ruleset_next(set->block, set->matches, index);
    return index < cbp_ruleset_rule_count(set->block) ? index : UINT32_MAX;
}

/* For which generation of the rules a list is good: one that could not be made is tried again. */
static uint32_t generation_of(const struct rule_list *list)
{
    return list != &unknown_rules ? self.rules.generation : 0;
}

/* What is not known counts as a match where that is the stricter. */
static void mark_strict_rules(struct rule_set *set)
{
    for (uint32_t i = 0; i < cbp_ruleset_rule_count(set->block); i++) {
        const struct cbp_ruleset_rule *rule = rule_at(set, i);
        if (rule->match == CBP_RULE_MATCH_NAME && rule->action != CBP_ACTION_ALLOW &&
            rule->action != CBP_ACTION_IGNORE)
            cbp_ruleset_mark(set->block, i, set->matches);
    }
}

static void gather_matches(uint32_t session_id, struct rule_set *set)
{
    for (uint32_t at = 0; (at = next_match(set, at)) != UINT32_MAX; at++)
        gather(make_ref(session_id, rule_at(set, at)->rule_id, false));
    clear_matches(set);
}

/* Gathers a session's rules that match any of the names, but for those that allow. */
static void gather_named(const struct image *image, uint32_t session_id, struct rule_set *set)
{
    uint32_t count = match_image_names(image, set);
    if (image->is_vague)
        mark_strict_rules(set);
    if (count > 0 || image->is_vague)
        gather_matches(session_id, set);
}

/* Gathers a session's rules that allow, if every file is allowed by one: a script brings its interpreter with
 * it. */
static void gather_allowing(const struct image *image, uint32_t session_id)
{
    uint32_t gathered_before = gathered.count;
    for (uint32_t i = 0; i < image->file_count && !image->is_vague; i++) {
        bool is_allowed = false;
        for (uint32_t part = 0; part < CBP_RULES_PART_COUNT; part++) {
            struct rule_set *set = self.rules.of[session_id][part];
            if (set == NULL || match_allowing(&image->files[i], set) == 0)
                continue;
            gather_matches(session_id, set);
            is_allowed = true;
        }
        if (!is_allowed) {
            gathered.count = gathered_before;
            return;
        }
    }
}

void match_image(struct image *image)
{
    if (image == NULL || image->rules_generation == self.rules.generation)
        return;
    begin_gathering();
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++) {
        for (uint32_t part = 0; part < CBP_RULES_PART_COUNT; part++)
            if (self.rules.of[id][part] != NULL)
                gather_named(image, id, self.rules.of[id][part]);
        if (self.rules.counts[CBP_ACTION_ALLOW] > 0)
            gather_allowing(image, id);
    }
    release_rule_list(image->matches);
    image->matches = take_gathered(NULL);
    image->rules_generation = generation_of(image->matches);
}

void mark_list(struct rule_set *set, uint32_t session_id, const struct rule_list *list, uint32_t first_id,
               uint32_t flags)
{
    uint32_t count = cbp_ruleset_rule_count(set->block);
    for (uint32_t i = 0; list != NULL && i < list->count; i++) {
        if (list->refs[i].rule_id < first_id || list->refs[i].is_launch ||
            !is_of_session(&list->refs[i], session_id))
            continue;
        uint32_t index = cbp_ruleset_find(set->block, list->refs[i].rule_id);
        if (index < count && (rule_at(set, index)->flags & flags) == flags)
            cbp_ruleset_mark(set->block, index, set->matches);
    }
}

void mark_own(struct rule_set *set, uint32_t session_id, const struct process *process,
              const struct image *image, uint32_t first_id)
{
    if (image != NULL)
        mark_list(set, session_id, image->matches, first_id, 0);
    (void) cbp_ruleset_match_process(set->block, process->pid, process->start_time, set->matches);
}

void gather_for_children(const struct rule_set *set, uint32_t session_id, uint32_t first)
{
    for (uint32_t i = first; (i = next_match(set, i)) != UINT32_MAX; i++)
        if (rule_at(set, i)->flags & CBP_RULE_FLAG_CHILDREN)
            gather(make_ref(session_id, rule_at(set, i)->rule_id, false));
}

/* ---- The sum ---- */

/* Gathers the rules that go on to children. */
static void sum_up_set(struct rule_set *set, uint32_t session_id, const struct process *process,
                       const struct image *image, struct cbp_stance *stance)
{
    mark_own(set, session_id, process, image, 0);
    mark_list(set, session_id, process->standing.inherited, 0, CBP_RULE_FLAG_CHILDREN);
    cbp_ruleset_add_stance(set->block, set->matches, stance);
    gather_for_children(set, session_id, 0);
    clear_matches(set);
}

static void sum_up_launch(const struct rule_ref *ref, uint32_t session_id, struct cbp_stance *stance)
{
    if (!ref->is_launch || !is_of_session(ref, session_id))
        return;
    cbp_stance_add(stance, ref->rule_id, CBP_RULE_MATCH_PROCESS, CBP_ACTION_ASK, 0);
    gather(*ref);
}

/* For want of memory it is not known what the rules say: they say no. What is known goes before that. */
static void refuse_everything(struct cbp_stance *stances)
{
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if (self.sessions[id].open) {
            cbp_stance_add(&stances[id], UINT32_MAX, CBP_RULE_MATCH_PROCESS, CBP_ACTION_DENY,
                           CBP_ERROR_NOT_ENOUGH_MEMORY);
            cbp_stance_add(&stances[id], UINT32_MAX, CBP_RULE_MATCH_PROCESS, CBP_ACTION_STRIP, UINT32_MAX);
        }
}

void stances_under_image(const struct process *process, struct image *image, struct cbp_stance *stances)
{
    const struct rule_list *inherited = process->standing.inherited;
    memset(stances, 0, CBP_SESSION_MAX * sizeof *stances);
    match_image(image);
    begin_gathering();
    if (process->standing.is_let_go)
        return;
    gathered.is_incomplete =
        inherited == &unknown_rules || (image != NULL && image->matches == &unknown_rules);
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++) {
        if (!self.sessions[id].open)
            continue;
        for (uint32_t part = 0; part < CBP_RULES_PART_COUNT; part++)
            if (self.rules.of[id][part] != NULL)
                sum_up_set(self.rules.of[id][part], id, process, image, &stances[id]);
        sum_up_launch(&process->standing.launch, id, &stances[id]);
        for (uint32_t i = 0; inherited != NULL && i < inherited->count; i++)
            sum_up_launch(&inherited->refs[i], id, &stances[id]);
    }
    if (gathered.is_incomplete)
        refuse_everything(stances);
}

static bool has_concern(const struct standing *standing)
{
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++) {
        const struct cbp_stance *stance = &standing->stances[id];
        if (stance->asked || stance->allowed || stance->deny.code != 0 || stance->deny_all.code != 0 ||
            stance->strip_mask != 0)
            return true;
    }
    return false;
}

static struct standing *standing_of(struct process *process)
{
    struct standing *standing = &process->standing;
    if (standing->rules_generation == self.rules.generation)
        return standing;
    stances_under_image(process, process->image, standing->stances);
    struct rule_list *bequest = take_gathered(standing->inherited);
    release_rule_list(standing->bequest);
    standing->bequest = bequest;
    standing->rules_generation = generation_of(bequest);
    standing->is_of_concern = has_concern(standing);
    return standing;
}

const struct cbp_stance *stances_of(struct process *process)
{
    return standing_of(process)->stances;
}

struct rule_list *bequest_of(struct process *process)
{
    return standing_of(process)->bequest;
}

void oblige(struct process *process, const struct cbp_stance *stances)
{
    struct standing *standing = standing_of(process);
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++) {
        struct cbp_stance *stance = &standing->stances[id];
        stance->ignored = stances[id].ignored;
        stance->allowed = stances[id].allowed;
        stance->asked |= stances[id].asked;
        stance->strip_mask |= stances[id].strip_mask;
        cbp_denial_add(&stance->deny, &stances[id].deny);
    }
    standing->is_of_concern = has_concern(standing);
}

void rename_standing(struct process *process)
{
    process->standing.rules_generation = 0;
}

void inherit_rules(struct process *child, struct process *parent)
{
    child->standing.inherited = share_rule_list(standing_of(parent)->bequest);
    child->standing.rules_generation = 0;
}

bool is_exemption(const struct rule_ref *ref)
{
    for (uint32_t part = 0; part < CBP_RULES_PART_COUNT && !ref->is_launch; part++) {
        const struct rule_set *set = self.rules.of[ref->session_id][part];
        uint32_t count = set != NULL ? cbp_ruleset_rule_count(set->block) : 0;
        uint32_t index = count > 0 ? cbp_ruleset_find(set->block, ref->rule_id) : 0;
        if (index >= count)
            continue;
        uint32_t action = cbp_ruleset_rule_at(set->block, index)->action;
        return action == CBP_ACTION_IGNORE || action == CBP_ACTION_ALLOW;
    }
    return !ref->is_launch; /* without a rule any more it obliges nobody */
}

void inherit_obligations(struct process *child, struct process *candidate)
{
    const struct rule_list *bequest = standing_of(candidate)->bequest;
    struct rule_list *inherited = child->standing.inherited;
    if (bequest == inherited)
        return;
    begin_gathering();
    gather_list(inherited);
    gathered.is_incomplete |= bequest == &unknown_rules;
    for (uint32_t i = 0; bequest != NULL && i < bequest->count; i++)
        if (!is_exemption(&bequest->refs[i]) && !is_gathered(&bequest->refs[i]))
            gather(bequest->refs[i]);
    child->standing.inherited = take_gathered(inherited);
    child->standing.rules_generation = 0;
    release_rule_list(inherited);
}

void release_standing(struct process *process)
{
    release_rule_list(process->standing.inherited);
    release_rule_list(process->standing.bequest);
}

bool is_released(struct process *process)
{
    if (!process->attached || self.rules.broad_count > 0 || standing_of(process)->is_of_concern)
        return false;
    /* A child's first execution is an operation of its creator's. */
    return process->executed || process->parent == NULL || !standing_of(process->parent)->is_of_concern;
}
