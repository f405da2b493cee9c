/* Lines of processes, each of them created by the one before, and what a change of the rules means for those
 * who live: they get from their ancestors what is new, and lose the rule of a launch. Ancestors count that
 * have ended, too. Each process is gone through once, so that what something costs grows with the number of
 * processes and not with how deep they lie. Knows no stops and no requests. */
#include "rule_lists.h"
#include "supervisor.h"

/* ---- Lines ---- */

/* Calls visit for all that live and for all of their ancestors: for each once, after its parent. */
static void visit_lines(void (*visit)(struct process *process, void *context), void *context)
{
    static uint64_t walk;
    walk++;
    for (struct process *process = self.processes; process != NULL; process = process->next) {
        struct process *top = NULL;
        for (struct process *at = process; at != NULL && at->standing.walk != walk; at = at->parent) {
            at->standing.walk = walk;
            at->standing.below = top;
            top = at;
        }
        for (; top != NULL; top = top->standing.below)
            visit(top, context);
    }
}

/* The one that goes on. */
static struct {
    const struct process *ancestor;
    uint64_t number;
} search;

void begin_search(const struct process *ancestor)
{
    search.ancestor = ancestor;
    search.number++;
}

const struct process *branch_of(struct process *process)
{
    struct process *end = process;
    while (end->standing.search != search.number && end->parent != search.ancestor && end->parent != NULL)
        end = end->parent;
    const struct process *branch = NULL;
    if (end->standing.search == search.number)
        branch = end->standing.branch;
    else if (end->parent != NULL)
        branch = end;
    for (struct process *at = process;; at = at->parent) {
        at->standing.search = search.number;
        at->standing.branch = branch;
        if (at == end)
            return branch;
    }
}

/* ---- What processes inherit from now on ---- */

/* The last list that took another's place, and what was added: most of a tree have the same, and go on
 * sharing what is made of it. References. */
static struct {
    struct rule_list *old, *added, *made;
} last;

static void remember_last(struct rule_list *old, struct rule_list *added, struct rule_list *made)
{
    (void) share_rule_list(old);
    (void) share_rule_list(added);
    release_rule_list(last.old);
    release_rule_list(last.added);
    release_rule_list(last.made);
    last.old = old;
    last.added = added;
    last.made = made;
}

static bool is_last(const struct rule_list *old, const struct rule_list *added)
{
    return last.old == old && last.added == added;
}

/* Puts what was made last in the place of what the process has inherited. */
static void inherit_last(struct standing *standing)
{
    struct rule_list *old = standing->inherited;
    standing->inherited = share_rule_list(last.made);
    release_rule_list(old);
    standing->rules_generation = 0;
}

/* ---- New rules ---- */

struct news {
    struct rule_set *set;
    uint32_t session_id;
    uint32_t first; /* the index of the first new rule */
    uint32_t first_id;
};

static void inherit_fresh(struct standing *standing, struct rule_list *fresh)
{
    struct rule_list *inherited = standing->inherited;
    if (fresh == NULL || inherited == &unknown_rules)
        return;
    if (!is_last(inherited, fresh)) {
        begin_gathering();
        gather_list(inherited);
        gather_list(fresh);
        remember_last(inherited, fresh, take_gathered(inherited));
    }
    inherit_last(standing);
}

/* The new rules that the process leaves to its children: its own, and those that it has got from above. */
static struct rule_list *make_fresh(const struct process *process, struct rule_list *from_above,
                                    const struct news *news)
{
    struct image *image = process->image;
    match_image(image);
    if (from_above == &unknown_rules || (image != NULL && image->matches == &unknown_rules))
        return share_rule_list(&unknown_rules);
    mark_own(news->set, news->session_id, process, image, news->first_id);
    mark_list(news->set, news->session_id, from_above, news->first_id, 0);
    begin_gathering();
    gather_for_children(news->set, news->session_id, news->first);
    clear_matches(news->set);
    return take_gathered(from_above);
}

static void bequeath_fresh(struct process *process, void *context)
{
    struct rule_list *from_above = process->parent != NULL ? process->parent->standing.fresh : NULL;
    inherit_fresh(&process->standing, from_above);
    process->standing.fresh = make_fresh(process, from_above, context);
}

static void release_fresh(struct process *process, void *context)
{
    (void) context;
    release_rule_list(process->standing.fresh);
    process->standing.fresh = NULL;
}

void bequeath_to_living(uint32_t session_id, struct rule_set *set, uint32_t newer_than)
{
    uint32_t count = cbp_ruleset_rule_count(set->block);
    struct news news = {.set = set, .session_id = session_id, .first = count};
    bool any = false;
    for (const struct cbp_ruleset_rule *rule; news.first > 0; news.first--) {
        rule = cbp_ruleset_rule_at(set->block, news.first - 1);
        if (rule->rule_id <= newer_than)
            break;
        any |= (rule->flags & CBP_RULE_FLAG_CHILDREN) != 0;
        news.first_id = rule->rule_id;
    }
    if (!any)
        return;
    visit_lines(bequeath_fresh, &news);
    visit_lines(release_fresh, NULL);
    remember_last(NULL, NULL, NULL);
}

/* ---- Launches ---- */

void add_launch_rule(uint32_t session_id, uint32_t rule_id, struct process *process)
{
    process->standing.launch = make_ref(session_id, rule_id, true);
    process->standing.rules_generation = 0;
}

struct forgetting {
    struct rule_ref gone;
    bool had_it; /* somebody */
};

static void forget_ref(struct process *process, void *context)
{
    struct forgetting *forgetting = context;
    struct standing *standing = &process->standing;
    struct rule_list *inherited = standing->inherited;
    if (is_same_ref(&standing->launch, &forgetting->gone)) {
        standing->launch.rule_id = 0;
        standing->rules_generation = 0;
        forgetting->had_it = true;
    }
    if (!has_ref(inherited, &forgetting->gone))
        return;
    if (!is_last(inherited, NULL)) {
        begin_gathering();
        for (uint32_t i = 0; i < inherited->count; i++)
            if (!is_same_ref(&inherited->refs[i], &forgetting->gone))
                gather(inherited->refs[i]);
        remember_last(inherited, NULL, take_gathered(NULL));
    }
    inherit_last(standing);
    forgetting->had_it = true;
}

uint32_t forget_launch(uint32_t session_id, uint32_t rule_id)
{
    struct forgetting forgetting = {.gone = make_ref(session_id, rule_id, true)};
    visit_lines(forget_ref, &forgetting);
    remember_last(NULL, NULL, NULL);
    let_released_go();
    return forgetting.had_it ? 0 : CBP_ERROR_NOT_FOUND;
}
