/* Follows lines of processes, each created by the one before, also through ancestors that have ended. A
 * change of the rules reaches living processes here: they inherit new rules and lose the rule of a launch.
 * Each process is visited once, so the cost grows with the number of processes and not with their depth.
 * Knows no stops and no requests. */
#include "lists.h"

/* ---- Lines ---- */

/* Calls visit once for each living process and each of its ancestors, always after the parent. */
static void visit_lines(struct cbpd_policy *policy,
                        void (*visit)(struct cbpd_policy *policy, struct cbpd_process *process,
                                      void *context),
                        void *context)
{
    uint64_t walk = ++policy->walk;
    for (struct cbpd_process *process = policy->processes; process; process = process->next) {
        struct cbpd_process *top = NULL;
        for (struct cbpd_process *at = process; at && at->standing.walk != walk; at = at->parent) {
            at->standing.walk = walk;
            at->standing.below = top;
            top = at;
        }
        for (; top; top = top->standing.below)
            visit(policy, top, context);
    }
}

void cbpd_begin_search(struct cbpd_policy *policy, const struct cbpd_process *ancestor)
{
    policy->search.ancestor = ancestor;
    policy->search.number++;
}

const struct cbpd_process *cbpd_branch_of(struct cbpd_policy *policy, struct cbpd_process *process)
{
    struct cbpd_process *end = process;
    while (end->standing.search != policy->search.number && end->parent != policy->search.ancestor &&
           end->parent)
        end = end->parent;
    const struct cbpd_process *branch = NULL;
    if (end->standing.search == policy->search.number)
        branch = end->standing.branch;
    else if (end->parent)
        branch = end;
    for (struct cbpd_process *at = process;; at = at->parent) {
        at->standing.search = policy->search.number;
        at->standing.branch = branch;
        if (at == end)
            return branch;
    }
}

bool cbpd_is_protected_creator(struct cbpd_policy *policy, const struct cbpd_process *ancestor,
                               struct cbpd_process *process)
{
    const struct cbpd_process *branch = cbpd_branch_of(policy, process);
    return branch && branch->creator_tenure == ancestor->tenure;
}

/* ---- What processes inherit from now on ---- */

/* Remembers the last exchange of one list for another and what was added, with references. Most processes of
 * a tree have the same list and so keep sharing the new one. */
static void remember_last(struct cbpd_policy *policy, struct cbpd_rule_list *old,
                          struct cbpd_rule_list *added, struct cbpd_rule_list *made)
{
    (void) cbpd_share_list(old);
    (void) cbpd_share_list(added);
    cbpd_release_list(policy, policy->last.old);
    cbpd_release_list(policy, policy->last.added);
    cbpd_release_list(policy, policy->last.made);
    policy->last.old = old;
    policy->last.added = added;
    policy->last.made = made;
}

static bool is_last(const struct cbpd_policy *policy, const struct cbpd_rule_list *old,
                    const struct cbpd_rule_list *added)
{
    return policy->last.old == old && policy->last.added == added;
}

/* Gives the process the list that was made last, in place of its inherited one. */
static void inherit_last(struct cbpd_policy *policy, struct cbpd_standing *standing)
{
    struct cbpd_rule_list *old = standing->inherited;
    standing->inherited = cbpd_share_list(policy->last.made);
    cbpd_release_list(policy, old);
    standing->rules_generation = 0;
}

/* ---- New rules ---- */

struct news {
    struct cbpd_rule_set *set;
    uint32_t place;
    uint32_t first; /* the index of the first new rule */
    uint32_t first_id;
};

static void inherit_fresh(struct cbpd_policy *policy, struct cbpd_standing *standing,
                          struct cbpd_rule_list *fresh)
{
    struct cbpd_rule_list *inherited = standing->inherited;
    if (!fresh || inherited == cbpd_unknown_rules())
        return;
    if (!is_last(policy, inherited, fresh)) {
        cbpd_begin_gathering(policy);
        cbpd_gather_list(policy, inherited);
        cbpd_gather_list(policy, fresh);
        remember_last(policy, inherited, fresh, cbpd_take_gathered(policy, inherited));
    }
    inherit_last(policy, standing);
}

/* Makes the list of new rules that the process leaves to its children: its own and those from above. */
static struct cbpd_rule_list *make_fresh(struct cbpd_policy *policy, const struct cbpd_process *process,
                                         struct cbpd_rule_list *from_above, const struct news *news)
{
    struct cbpd_image *image = process->image;
    cbpd_match_image(policy, image);
    if (from_above == cbpd_unknown_rules() || (image && image->matches == cbpd_unknown_rules()))
        return cbpd_share_list(cbpd_unknown_rules());
    cbpd_mark_own(policy, news->set, news->place, process, image, news->first_id);
    cbpd_mark_list(policy, news->set, news->place, from_above, news->first_id, 0);
    cbpd_begin_gathering(policy);
    cbpd_gather_for_children(policy, news->set, news->place, news->first);
    cbpd_clear_matches(news->set);
    return cbpd_take_gathered(policy, from_above);
}

static void bequeath_fresh(struct cbpd_policy *policy, struct cbpd_process *process, void *context)
{
    struct cbpd_rule_list *from_above = process->parent ? process->parent->standing.fresh : NULL;
    inherit_fresh(policy, &process->standing, from_above);
    process->standing.fresh = make_fresh(policy, process, from_above, context);
}

static void release_fresh(struct cbpd_policy *policy, struct cbpd_process *process, void *context)
{
    (void) context;
    cbpd_release_list(policy, process->standing.fresh);
    process->standing.fresh = NULL;
}

void cbpd_bequeath_to_living(struct cbpd_policy *policy, uint32_t place, struct cbpd_rule_set *set,
                             uint32_t newer_than)
{
    uint32_t count = cbpd_ruleset_rule_count(set->block);
    struct news news = {.set = set, .place = place, .first = count};
    bool any = false;
    for (const struct cbp_ruleset_rule *rule; news.first > 0; news.first--) {
        rule = cbpd_ruleset_rule_at(set->block, news.first - 1);
        if (rule->rule_id <= newer_than)
            break;
        any |= (rule->flags & CBP_RULE_FLAG_CHILDREN) != 0;
        news.first_id = rule->rule_id;
    }
    if (!any)
        return;
    visit_lines(policy, bequeath_fresh, &news);
    visit_lines(policy, release_fresh, NULL);
    remember_last(policy, NULL, NULL, NULL);
}

/* ---- Launches ---- */

void cbpd_add_launch_rule(struct cbpd_policy *policy, uint32_t place, uint32_t rule_id,
                          struct cbpd_process *process)
{
    process->standing.launch = cbpd_make_ref(policy, place, rule_id, true);
    process->standing.rules_generation = 0;
}

struct forgetting {
    struct cbpd_rule_ref gone;
    bool had_it; /* a process had the rule */
};

static void forget_ref(struct cbpd_policy *policy, struct cbpd_process *process, void *context)
{
    struct forgetting *forgetting = context;
    struct cbpd_standing *standing = &process->standing;
    struct cbpd_rule_list *inherited = standing->inherited;
    if (cbpd_is_same_ref(&standing->launch, &forgetting->gone)) {
        standing->launch.rule_id = 0;
        standing->rules_generation = 0;
        forgetting->had_it = true;
    }
    if (!cbpd_has_ref(inherited, &forgetting->gone))
        return;
    if (!is_last(policy, inherited, NULL)) {
        cbpd_begin_gathering(policy);
        for (uint32_t i = 0; i < inherited->count; i++)
            if (!cbpd_is_same_ref(&inherited->refs[i], &forgetting->gone))
                cbpd_gather(policy, inherited->refs[i]);
        remember_last(policy, inherited, NULL, cbpd_take_gathered(policy, NULL));
    }
    inherit_last(policy, standing);
    forgetting->had_it = true;
}

uint32_t cbpd_forget_launch(struct cbpd_policy *policy, uint32_t place, uint32_t rule_id)
{
    struct forgetting forgetting = {.gone = cbpd_make_ref(policy, place, rule_id, true)};
    visit_lines(policy, forget_ref, &forgetting);
    remember_last(policy, NULL, NULL, NULL);
    return forgetting.had_it ? 0 : CBP_ERROR_NOT_FOUND;
}
