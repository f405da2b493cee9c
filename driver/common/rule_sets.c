/* The rules of all sessions, as compiled sets, and how one set takes another's place: the new one is made
 * beside what is in force (make_rule_set, in any thread), and takes effect by the exchange of a pointer
 * between two stops. Knows no stops, and of processes only that they can be attached to. */
#include <stdlib.h>
#include <string.h>

#include "supervisor.h"

static void count_rules(struct rule_set *set)
{
    uint32_t count = cbp_ruleset_rule_count(set->block);
    for (uint32_t i = 0; i < count; i++) {
        const struct cbp_ruleset_rule *rule = cbp_ruleset_rule_at(set->block, i);
        if (rule->action > CBP_ACTION_STRIP)
            continue; /* it has been taken out */
        set->counts[rule->action]++;
        set->match_counts[rule->match]++;
        if (rule->action == CBP_ACTION_STRIP)
            set->strip_mask |= rule->action_value;
    }
}

uint32_t make_rule_set(void *block, size_t size, struct rule_set **set)
{
    uint32_t error = cbp_ruleset_validate(block, size);
    struct rule_set *made = NULL;
    if (error == 0 && cbp_ruleset_comparison(block) != name_comparison)
        error = CBP_ERROR_INVALID_DATA;
    if (error != 0)
        goto cleanup;
    error = CBP_ERROR_NOT_ENOUGH_MEMORY;
    made = calloc(1, sizeof *made);
    if (made == NULL)
        goto cleanup;
    made->matches = calloc((size_t) cbp_ruleset_word_count(block) + 1, sizeof *made->matches);
    if (made->matches == NULL)
        goto cleanup;
    made->block = block;
    count_rules(made);
    *set = made;
    return 0;
cleanup:
    free(made);
    free(block);
    return error;
}

void free_rule_set(struct rule_set *set)
{
    if (set == NULL)
        return;
    free(set->block);
    free(set->matches);
    free(set);
}

void clear_matches(struct rule_set *set)
{
    memset(set->matches, 0, cbp_ruleset_word_count(set->block) * sizeof *set->matches);
}

/* What is asked about all sets together; and whatever was computed from them is out of date. */
static void rules_have_changed(void)
{
    struct rule_sets *sets = &self.rules;
    bool allowed_before = sets->counts[CBP_ACTION_ALLOW] > 0;
    memset(sets->counts, 0, sizeof sets->counts);
    sets->broad_count = 0;
    sets->generation += sets->generation == UINT32_MAX ? 2 : 1;
    for (uint32_t i = 0; i < CBP_SESSION_MAX * CBP_RULES_PART_COUNT; i++) {
        const struct rule_set *set = sets->of[i / CBP_RULES_PART_COUNT][i % CBP_RULES_PART_COUNT];
        if (set == NULL)
            continue;
        for (uint32_t action = 0; action <= CBP_ACTION_STRIP; action++)
            sets->counts[action] += set->counts[action];
        sets->broad_count += set->match_counts[CBP_RULE_MATCH_ALL] + set->match_counts[CBP_RULE_MATCH_NAME];
        sets->strip_mask |= set->strip_mask;
    }
    if (!allowed_before && sets->counts[CBP_ACTION_ALLOW] > 0)
        identify_programs();
}

/* ---- Running processes ---- */

/* Whether the rule is one whose running processes are to be attached to. */
static bool attaches(const struct cbp_ruleset_rule *rule, uint32_t wanted_id)
{
    return (rule->flags & CBP_RULE_FLAG_ATTACH) != 0 &&
           (wanted_id == CBP_ATTACH_ALL || rule->rule_id == wanted_id);
}

enum attachment attachment_for(const struct image *image, struct rule_set *set, uint32_t wanted_id)
{
    enum attachment attachment = ATTACH_NOTHING;
    uint32_t count = cbp_ruleset_rule_count(set->block);
    if (match_image_names(image, set) == 0)
        return ATTACH_NOTHING;
    for (uint32_t i = 0; (i = cbp_ruleset_next(set->block, set->matches, i)) < count; i++) {
        const struct cbp_ruleset_rule *rule = cbp_ruleset_rule_at(set->block, i);
        if (!attaches(rule, wanted_id))
            continue;
        if (rule->flags & CBP_RULE_FLAG_CHILDREN)
            attachment = ATTACH_TREE;
        else if (attachment == ATTACH_NOTHING)
            attachment = ATTACH_PROCESS;
    }
    clear_matches(set);
    return attachment;
}

static uint32_t attach_for_process_rule(const struct rule_set *set, uint32_t index)
{
    uint32_t process_id;
    uint64_t start_time;
    cbp_ruleset_process_of(set->block, index, &process_id, &start_time);
    return attach_process(process_id, start_time,
                          (cbp_ruleset_rule_at(set->block, index)->flags & CBP_RULE_FLAG_CHILDREN) != 0);
}

/* They come first: if they cannot be had, there is no rule. One look at all processes serves all names. */
static uint32_t attach_for_set(struct rule_set *set, uint32_t wanted_id, uint64_t *failed_rule_id)
{
    uint32_t count = wanted_id != CBP_ATTACH_NONE ? cbp_ruleset_rule_count(set->block) : 0;
    uint32_t named_rule_id = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct cbp_ruleset_rule *rule = cbp_ruleset_rule_at(set->block, i);
        if (!attaches(rule, wanted_id))
            continue;
        if (rule->match == CBP_RULE_MATCH_NAME)
            named_rule_id = rule->rule_id;
        uint32_t error = rule->match == CBP_RULE_MATCH_PROCESS ? attach_for_process_rule(set, i) : 0;
        if (error == CBP_ERROR_INVALID_PARAMETER && wanted_id == CBP_ATTACH_ALL)
            continue; /* it has ended since the filter was started */
        if (error != 0) {
            *failed_rule_id = rule->rule_id;
            return error;
        }
    }
    uint32_t error = named_rule_id != 0 ? attach_matching(set, wanted_id) : 0;
    if (error != 0)
        *failed_rule_id = named_rule_id;
    return error;
}

/* ---- Taking effect ---- */

/* The rest is newer than the main part: so the first rule that denies is the oldest one. */
static bool is_newer(const struct rule_set *rest, const struct rule_set *main_part)
{
    uint32_t count = main_part != NULL ? cbp_ruleset_rule_count(main_part->block) : 0;
    return count == 0 || cbp_ruleset_rule_count(rest->block) == 0 ||
           cbp_ruleset_rule_at(main_part->block, count - 1)->rule_id <
               cbp_ruleset_rule_at(rest->block, 0)->rule_id;
}

/* Whether the rule that goes is there to go: one of the main part, while that stays. */
static bool can_go(const struct cbp_rules *request, const struct rule_set *main_part)
{
    return request->gone_rule_id == 0 || (request->part == CBP_RULES_PART_REST && main_part != NULL &&
                                          cbp_ruleset_find(main_part->block, request->gone_rule_id) <
                                              cbp_ruleset_rule_count(main_part->block));
}

static void retire_rule(struct rule_set *set, uint32_t rule_id)
{
    cbp_ruleset_retire(set->block, cbp_ruleset_find(set->block, rule_id));
    memset(set->counts, 0, sizeof set->counts);
    memset(set->match_counts, 0, sizeof set->match_counts);
    set->strip_mask = 0;
    count_rules(set);
}

uint32_t install_rules(const struct cbp_rules *request, struct rule_set *set, uint64_t *failed_rule_id)
{
    uint32_t session_id = request->session_id, error = 0;
    struct rule_set **parts = self.rules.of[session_id];
    struct rule_set *old[CBP_RULES_PART_COUNT];
    if (!self.sessions[session_id].open)
        error = CBP_ERROR_NOT_FOUND;
    else if ((request->part == CBP_RULES_PART_REST && !is_newer(set, parts[CBP_RULES_PART_MAIN])) ||
             !can_go(request, parts[CBP_RULES_PART_MAIN]))
        error = CBP_ERROR_INVALID_DATA;
    else
        error = attach_for_set(set, request->attach_rule_id, failed_rule_id);
    if (error != 0) {
        free_rule_set(set);
        return error;
    }
    struct session *session = &self.sessions[session_id];
    uint32_t count = cbp_ruleset_rule_count(set->block), newer_than = session->last_rule_id;
    if (count > 0 && cbp_ruleset_rule_at(set->block, count - 1)->rule_id > newer_than)
        session->last_rule_id = cbp_ruleset_rule_at(set->block, count - 1)->rule_id;
    memcpy(old, parts, sizeof old);
    if (request->part == CBP_RULES_PART_MAIN)
        parts[CBP_RULES_PART_REST] = NULL;
    parts[request->part] = set;
    if (request->gone_rule_id != 0)
        retire_rule(parts[CBP_RULES_PART_MAIN], request->gone_rule_id);
    rules_have_changed();
    bequeath_to_living(session_id, set, newer_than);
    for (uint32_t part = 0; part < CBP_RULES_PART_COUNT; part++)
        if (old[part] != parts[part])
            free_rule_set(old[part]);
    let_released_go();
    return 0;
}

void remove_session_rules(uint32_t session_id)
{
    for (uint32_t part = 0; part < CBP_RULES_PART_COUNT; part++) {
        free_rule_set(self.rules.of[session_id][part]);
        self.rules.of[session_id][part] = NULL;
    }
    rules_have_changed();
    let_released_go();
}
