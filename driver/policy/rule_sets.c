/* Keeps the rules of all sessions as compiled sets. A new set is made beside the one in force
 * (cbpd_make_rule_set(), any thread), and takes effect by the exchange of a pointer. */
#include <string.h>

#include "lists.h"

static void count_rules(struct cbpd_rule_set *set)
{
    uint32_t count = cbpd_ruleset_rule_count(set->block);
    for (uint32_t i = 0; i < count; i++) {
        const struct cbp_ruleset_rule *rule = cbpd_ruleset_rule_at(set->block, i);
        if (rule->action > CBP_ACTION_STRIP)
            continue; /* this rule has been taken out */
        set->counts[rule->action]++;
        set->match_counts[rule->match]++;
        if (rule->action == CBP_ACTION_STRIP)
            set->strip_mask |= rule->action_value;
    }
}

uint32_t cbpd_make_rule_set(const struct cbpd_host *host, void *block, size_t size,
                            struct cbpd_rule_set **set)
{
    uint32_t error = cbpd_ruleset_validate(block, size);
    struct cbpd_rule_set *made = NULL;
    if (error == 0 && cbpd_ruleset_comparison(block) != host->name_comparison)
        error = CBP_ERROR_INVALID_DATA;
    if (error != 0)
        goto cleanup;
    error = CBP_ERROR_NOT_ENOUGH_MEMORY;
    made = host->allocate(sizeof *made, false);
    if (!made)
        goto cleanup;
    made->matches =
        host->allocate(((size_t) cbpd_ruleset_word_count(block) + 1) * sizeof *made->matches, false);
    if (!made->matches)
        goto cleanup;
    made->host = host;
    made->block = block;
    count_rules(made);
    *set = made;
    return 0;
cleanup:
    host->release(made);
    host->release(block);
    return error;
}

void cbpd_free_rule_set(struct cbpd_rule_set *set)
{
    if (!set)
        return;
    const struct cbpd_host *host = set->host;
    host->release(set->block);
    host->release(set->matches);
    host->release(set);
}

/* Sums up all sets again; whatever was computed from them is out of date. */
static void rules_have_changed(struct cbpd_policy *policy)
{
    memset(policy->rule_counts, 0, sizeof policy->rule_counts);
    policy->broad_rule_count = 0;
    policy->rules_generation += policy->rules_generation == UINT32_MAX ? 2 : 1;
    for (uint32_t i = 0; i < CBP_SESSION_MAX * CBP_RULES_PART_COUNT; i++) {
        const struct cbpd_rule_set *set = policy->rules[i / CBP_RULES_PART_COUNT][i % CBP_RULES_PART_COUNT];
        if (!set)
            continue;
        for (uint32_t action = 0; action <= CBP_ACTION_STRIP; action++)
            policy->rule_counts[action] += set->counts[action];
        policy->broad_rule_count +=
            set->match_counts[CBP_RULE_MATCH_ALL] + set->match_counts[CBP_RULE_MATCH_NAME];
        policy->strip_mask |= set->strip_mask;
    }
}

/* ---- Running processes ---- */

bool cbpd_rule_attaches(const struct cbp_ruleset_rule *rule, uint32_t wanted_rule_id)
{
    return (rule->flags & CBP_RULE_FLAG_ATTACH) != 0 &&
           (wanted_rule_id == CBP_ATTACH_ALL || rule->rule_id == wanted_rule_id);
}

enum cbpd_attachment cbpd_attachment_for(const struct cbpd_image *image, struct cbpd_rule_set *set,
                                         uint32_t wanted_rule_id)
{
    enum cbpd_attachment attachment = CBPD_ATTACH_NOTHING;
    uint32_t count = cbpd_ruleset_rule_count(set->block);
    if (cbpd_match_names(image, set) == 0)
        return CBPD_ATTACH_NOTHING;
    for (uint32_t i = 0; (i = cbpd_ruleset_next(set->block, set->matches, i)) < count; i++) {
        const struct cbp_ruleset_rule *rule = cbpd_ruleset_rule_at(set->block, i);
        if (!cbpd_rule_attaches(rule, wanted_rule_id))
            continue;
        if (rule->flags & CBP_RULE_FLAG_CHILDREN)
            attachment = CBPD_ATTACH_TREE;
        else if (attachment == CBPD_ATTACH_NOTHING)
            attachment = CBPD_ATTACH_PROCESS;
    }
    cbpd_clear_matches(set);
    return attachment;
}

/* ---- Taking effect ---- */

static uint32_t last_id_of(const struct cbpd_rule_set *set) /* 0: it has no rule */
{
    uint32_t count = cbpd_ruleset_rule_count(set->block);
    return count > 0 ? cbpd_ruleset_rule_at(set->block, count - 1)->rule_id : 0;
}

/* The rest must be newer than the main part, because the first rule that denies has to be the oldest one. */
static bool is_newer(const struct cbpd_rule_set *rest, const struct cbpd_rule_set *main_part)
{
    return !main_part || cbpd_ruleset_rule_count(rest->block) == 0 ||
           last_id_of(main_part) < cbpd_ruleset_rule_at(rest->block, 0)->rule_id;
}

/* A rule can go only from a main part that stays. */
static bool can_go(const struct cbp_rules *request, const struct cbpd_rule_set *main_part)
{
    return request->gone_rule_id == 0 || (request->part == CBP_RULES_PART_REST && main_part &&
                                          cbpd_ruleset_find(main_part->block, request->gone_rule_id) <
                                              cbpd_ruleset_rule_count(main_part->block));
}

uint32_t cbpd_can_install(const struct cbpd_policy *policy, const struct cbp_rules *request, uint32_t place,
                          const struct cbpd_rule_set *set)
{
    const struct cbpd_rule_set *main_part = policy->rules[place][CBP_RULES_PART_MAIN];
    if (!policy->sessions[place].open)
        return CBP_ERROR_NOT_FOUND;
    if ((request->part == CBP_RULES_PART_REST && !is_newer(set, main_part)) || !can_go(request, main_part))
        return CBP_ERROR_INVALID_DATA;
    return 0;
}

static void retire_rule(struct cbpd_rule_set *set, uint32_t rule_id)
{
    cbpd_ruleset_retire(set->block, cbpd_ruleset_find(set->block, rule_id));
    memset(set->counts, 0, sizeof set->counts);
    memset(set->match_counts, 0, sizeof set->match_counts);
    set->strip_mask = 0;
    count_rules(set);
}

void cbpd_install_rules(struct cbpd_policy *policy, const struct cbp_rules *request, uint32_t place,
                        struct cbpd_rule_set *set)
{
    struct cbpd_rule_set **parts = policy->rules[place];
    struct cbpd_rule_set *old[CBP_RULES_PART_COUNT];
    struct cbpd_session *session = &policy->sessions[place];
    uint32_t newer_than = session->last_rule_id;
    if (last_id_of(set) > newer_than)
        session->last_rule_id = last_id_of(set);
    memcpy(old, parts, sizeof old);
    if (request->part == CBP_RULES_PART_MAIN)
        parts[CBP_RULES_PART_REST] = NULL;
    parts[request->part] = set;
    if (request->gone_rule_id != 0)
        retire_rule(parts[CBP_RULES_PART_MAIN], request->gone_rule_id);
    rules_have_changed(policy);
    cbpd_bequeath_to_living(policy, place, set, newer_than);
    for (uint32_t part = 0; part < CBP_RULES_PART_COUNT; part++)
        if (old[part] != parts[part])
            cbpd_free_rule_set(old[part]);
}

void cbpd_remove_session_rules(struct cbpd_policy *policy, uint32_t place)
{
    for (uint32_t part = 0; part < CBP_RULES_PART_COUNT; part++) {
        cbpd_free_rule_set(policy->rules[place][part]);
        policy->rules[place][part] = NULL;
    }
    rules_have_changed(policy);
}
