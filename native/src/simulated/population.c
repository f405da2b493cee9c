/* See population.h. */
#include "population.h"

#include "errors.h"

#include <stdlib.h>
#include <string.h>

struct cbpi_population_rule {
    struct cbpi_population_rule *next;
    uint64_t serial; /* of the process that a rule for an id belongs to; 0: not known yet */
    struct cbpi_rule rule;
    char pattern[];
};

/* ---- Sets of rules ---- */

static int set_has(const struct cbpi_rule_set *set, const struct cbpi_population_rule *rule)
{
    for (uint32_t i = 0; i < set->count; i++)
        if (set->rules[i] == rule)
            return 1;
    return 0;
}

/* Without memory the rule is left out. */
static void set_add(struct cbpi_rule_set *set, struct cbpi_population_rule *rule)
{
    if (set_has(set, rule))
        return;
    struct cbpi_population_rule **rules = realloc(set->rules, (set->count + 1) * sizeof(void *));
    if (!rules)
        return;
    set->rules = rules;
    set->rules[set->count++] = rule;
}

static void set_remove(struct cbpi_rule_set *set, const struct cbpi_population_rule *rule)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < set->count; i++)
        if (set->rules[i] != rule)
            set->rules[kept++] = set->rules[i];
    set->count = kept;
}

/* ---- What matches ---- */

static int matches_image(const struct cbpi_population_rule *rule, const struct cbpi_image *image)
{
    const char *pattern = rule->pattern;
    uint32_t size = rule->rule.pattern_size;
    return cbp_name_matches(pattern, size, image->path, image->path_size) ||
           cbp_name_matches(pattern, size, image->given, image->given_size);
}

static int matches(const struct cbpi_population_rule *rule, const struct cbpi_member *member,
                   const struct cbpi_image *image)
{
    switch (rule->rule.match) {
    case CBP_RULE_MATCH_ALL:
        return 1;
    case CBP_RULE_MATCH_NAME:
        return matches_image(rule, image);
    default:
        return rule->rule.start_time ? rule->rule.process_id == member->process_id &&
                                           rule->rule.start_time == member->start_time
                                     : rule->serial == member->serial;
    }
}

struct cbp_stance cbpi_population_stance(const struct cbpi_population *population,
                                         const struct cbpi_member *member, const struct cbpi_image *image)
{
    struct cbp_stance stance = {0};
    if (!member)
        return stance;
    for (const struct cbpi_population_rule *rule = population->rules; rule; rule = rule->next)
        if (matches(rule, member, image) || set_has(&member->inherited, rule))
            cbp_stance_add(&stance, rule->rule.action, rule->rule.action_value);
    return stance;
}

/* ---- Processes ---- */

static struct cbpi_member **bucket_of(struct cbpi_population *population, uint32_t process_id)
{
    return &population->buckets[process_id % CBPI_POPULATION_BUCKETS];
}

struct cbpi_member *cbpi_population_find(const struct cbpi_population *population, uint32_t process_id)
{
    struct cbpi_member *at = population->buckets[process_id % CBPI_POPULATION_BUCKETS];
    for (; at; at = at->next)
        if (at->process_id == process_id && at->is_alive)
            return at;
    return NULL;
}

static void bind_rules(struct cbpi_population *population, const struct cbpi_member *member)
{
    for (struct cbpi_population_rule *rule = population->rules; rule; rule = rule->next)
        if (rule->rule.match == CBP_RULE_MATCH_PROCESS && rule->rule.start_time == 0 && rule->serial == 0 &&
            rule->rule.process_id == member->process_id)
            rule->serial = member->serial;
}

static void inherit(const struct cbpi_population *population, struct cbpi_member *member)
{
    const struct cbpi_member *parent = member->parent;
    for (struct cbpi_population_rule *rule = population->rules; rule; rule = rule->next)
        if (set_has(&parent->inherited, rule) ||
            (rule->rule.flags & CBP_RULE_FLAG_CHILDREN && matches(rule, parent, &parent->image)))
            set_add(&member->inherited, rule);
    cbpi_member_execute(member, &parent->image);
}

struct cbpi_member *cbpi_population_add(struct cbpi_population *population, uint32_t process_id,
                                        uint64_t start_time, struct cbpi_member *parent)
{
    struct cbpi_member *before = cbpi_population_find(population, process_id);
    struct cbpi_member *member = calloc(1, sizeof *member);
    if (!member)
        return NULL;
    if (before)
        cbpi_population_end(population, before); /* its end is not in the script */
    member->process_id = process_id;
    member->start_time = start_time;
    member->serial = ++population->last_serial;
    member->is_alive = 1;
    member->reference_count = 1;
    member->image = (struct cbpi_image){.path = "", .given = ""};
    member->next = *bucket_of(population, process_id);
    *bucket_of(population, process_id) = member;
    population->alive_count++;
    bind_rules(population, member);
    if (parent) {
        member->parent = cbpi_member_hold(parent);
        inherit(population, member);
    }
    return member;
}

void cbpi_population_end(struct cbpi_population *population, struct cbpi_member *member)
{
    if (!member->is_alive)
        return;
    member->is_alive = 0;
    population->alive_count--;
    cbpi_member_release(population, member);
}

struct cbpi_member *cbpi_member_hold(struct cbpi_member *member)
{
    if (member)
        member->reference_count++;
    return member;
}

static void free_member(struct cbpi_population *population, struct cbpi_member *member)
{
    struct cbpi_member **at = bucket_of(population, member->process_id);
    while (*at != member)
        at = &(*at)->next;
    *at = member->next;
    free(member->inherited.rules);
    free(member->texts);
    free(member);
}

void cbpi_member_release(struct cbpi_population *population, struct cbpi_member *member)
{
    while (member && --member->reference_count == 0) {
        struct cbpi_member *parent = member->parent;
        free_member(population, member);
        member = parent;
    }
}

void cbpi_member_execute(struct cbpi_member *member, const struct cbpi_image *image)
{
    char *texts = malloc((size_t) image->path_size + image->given_size + 1);
    if (!texts)
        return;
    memcpy(texts, image->path, image->path_size);
    memcpy(texts + image->path_size, image->given, image->given_size);
    free(member->texts);
    member->texts = texts;
    member->image = (struct cbpi_image){.path = texts,
                                        .given = texts + image->path_size,
                                        .path_size = image->path_size,
                                        .given_size = image->given_size};
}

/* ---- Rules ---- */

/* Calls each for every member, dead ones that are remembered too. */
static void for_each_member(struct cbpi_population *population, struct cbpi_population_rule *rule,
                            void (*each)(struct cbpi_member *, struct cbpi_population_rule *))
{
    for (uint32_t i = 0; i < CBPI_POPULATION_BUCKETS; i++)
        for (struct cbpi_member *at = population->buckets[i]; at; at = at->next)
            each(at, rule);
}

static void bind_to(struct cbpi_member *member, struct cbpi_population_rule *rule)
{
    if (member->is_alive && member->process_id == rule->rule.process_id)
        rule->serial = member->serial;
}

/* Descendants that live now have the rule from whichever ancestor it matches. */
static void bequeath_to(struct cbpi_member *member, struct cbpi_population_rule *rule)
{
    for (const struct cbpi_member *at = member->parent; at; at = at->parent)
        if (matches(rule, at, &at->image))
            set_add(&member->inherited, rule);
}

static void take_from(struct cbpi_member *member, struct cbpi_population_rule *rule)
{
    set_remove(&member->inherited, rule);
}

uint32_t cbpi_population_add_rule(struct cbpi_population *population, const struct cbpi_rule *rule)
{
    struct cbpi_population_rule **end = &population->rules;
    struct cbpi_population_rule *made = calloc(1, sizeof *made + rule->pattern_size);
    if (!made)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for another rule");
    made->rule = *rule;
    if (rule->pattern_size > 0)
        memcpy(made->pattern, rule->pattern, rule->pattern_size);
    made->rule.pattern = NULL;
    while (*end)
        end = &(*end)->next;
    *end = made;
    if (rule->match == CBP_RULE_MATCH_PROCESS && rule->start_time == 0)
        for_each_member(population, made, bind_to);
    if (rule->flags & CBP_RULE_FLAG_CHILDREN)
        for_each_member(population, made, bequeath_to);
    return 0;
}

uint32_t cbpi_population_remove_rule(struct cbpi_population *population, uint32_t rule_id)
{
    struct cbpi_population_rule **at = &population->rules;
    while (*at && (*at)->rule.rule_id != rule_id)
        at = &(*at)->next;
    struct cbpi_population_rule *rule = *at;
    if (!rule)
        return cbpi_fail(CBP_ERROR_NOT_FOUND, "the driver has no such rule");
    *at = rule->next;
    for_each_member(population, rule, take_from);
    free(rule);
    return 0;
}

void cbpi_population_free(struct cbpi_population *population)
{
    for (uint32_t i = 0; i < CBPI_POPULATION_BUCKETS; i++)
        for (struct cbpi_member *at = population->buckets[i], *next; at; at = next) {
            next = at->next;
            free(at->inherited.rules);
            free(at->texts);
            free(at);
        }
    for (struct cbpi_population_rule *rule = population->rules, *next; rule; rule = next) {
        next = rule->next;
        free(rule);
    }
}
