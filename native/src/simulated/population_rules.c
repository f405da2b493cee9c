/* The rules of a population: compiled sets, which members' lists refer to by id. Matching is the engine's. */
#include "cbp_ruleset_layout.h"
#include "cbp_wtf8.h"
#include "errors.h"
#include "population.h"

#include <stdlib.h>
#include <string.h>

/* ---- Ids ---- */

/* How many of the ids are below that one. */
static uint32_t place_of(const struct cbpi_rule_ids *ids, uint32_t rule_id)
{
    uint32_t low = 0, high = ids->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (ids->ids[middle] < rule_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int ids_have(const struct cbpi_rule_ids *ids, uint32_t rule_id)
{
    uint32_t place = place_of(ids, rule_id);
    return place < ids->count && ids->ids[place] == rule_id;
}

/* Without memory the id is left out. */
static void ids_add(struct cbpi_rule_ids *ids, uint32_t rule_id)
{
    uint32_t place = place_of(ids, rule_id);
    if (place < ids->count && ids->ids[place] == rule_id)
        return;
    if (ids->count == ids->capacity) {
        uint32_t capacity = 2 * ids->capacity + 2;
        uint32_t *longer = realloc(ids->ids, capacity * sizeof *longer);
        if (!longer)
            return;
        ids->ids = longer;
        ids->capacity = capacity;
    }
    memmove(&ids->ids[place + 1], &ids->ids[place], (ids->count - place) * sizeof *ids->ids);
    ids->ids[place] = rule_id;
    ids->count++;
}

/* Forgets rules that are in no set any more. */
static void ids_prune(struct cbpi_rule_ids *ids, const struct cbpi_population_part *parts)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < ids->count; i++) {
        uint32_t part = 0;
        while (part < CBP_RULES_PART_COUNT &&
               (!parts[part].set ||
                cbp_ruleset_find(parts[part].set, ids->ids[i]) == cbp_ruleset_rule_count(parts[part].set)))
            part++;
        if (part < CBP_RULES_PART_COUNT)
            ids->ids[kept++] = ids->ids[i];
    }
    ids->count = kept;
}

/* ---- What matches ---- */

/* A name as the set compares it. units is memory to be freed; a text that is not WTF-8 is nobody's name. */
static int take_name(const struct cbp_ruleset *set, const char *text, uint32_t size, struct cbp_text *name,
                     uint16_t **units)
{
    *name = (struct cbp_text){text, size, cbp_ruleset_comparison(set)};
    *units = NULL;
    if (name->comparison != CBP_COMPARE_UTF16)
        return 1;
    *units = malloc(((size_t) size + 1) * sizeof **units);
    if (!*units)
        return 0;
    name->units = *units;
    name->size = cbp_wtf8_decode(text, size, *units);
    return name->size != SIZE_MAX;
}

static void mark_name(const struct cbpi_population_part *part, const char *text, uint32_t size)
{
    struct cbp_text name;
    uint16_t *units;
    if (take_name(part->set, text, size, &name, &units))
        cbp_ruleset_match_name(part->set, name.units, name.size, part->matches);
    free(units);
}

static int rule_matches_name(const struct cbp_ruleset *set, uint32_t index, const char *text, uint32_t size)
{
    struct cbp_text name;
    uint16_t *units;
    int matches = take_name(set, text, size, &name, &units) &&
                  cbp_ruleset_rule_matches(set, index, name.units, name.size);
    free(units);
    return matches;
}

static void mark_ids(const struct cbpi_population_part *part, const struct cbpi_rule_ids *ids)
{
    for (uint32_t i = 0; i < ids->count; i++) {
        uint32_t index = cbp_ruleset_find(part->set, ids->ids[i]);
        if (index < cbp_ruleset_rule_count(part->set))
            cbp_ruleset_mark(part->set, index, part->matches);
    }
}

static void clear(const struct cbpi_population_part *part)
{
    memset(part->matches, 0, cbp_ruleset_word_count(part->set) * sizeof *part->matches);
}

/* Marks all rules that count for a member under that image. */
static void mark(const struct cbpi_population_part *part, const struct cbpi_member *member,
                 const struct cbpi_image *image)
{
    clear(part);
    /* A process chooses the path that it gives to execve: no permission follows from that. */
    mark_name(part, image->given, image->given_size);
    cbp_ruleset_unmark_allowing(part->set, part->matches);
    mark_name(part, image->path, image->path_size);
    /* Rules without a start time are among its own; as process 0 it has only those for all. */
    cbp_ruleset_match_process(part->set, member->start_time ? member->process_id : 0, member->start_time,
                              part->matches);
    mark_ids(part, &member->own);
    mark_ids(part, &member->inherited);
}

struct cbp_stance cbpi_population_stance(const struct cbpi_population *population, struct cbpi_member *member,
                                         const struct cbpi_image *image)
{
    struct cbp_stance stance = {0};
    if (!member)
        return stance;
    int is_its_own = image == &member->image;
    if (is_its_own && member->stance_generation == population->rules_generation + 1)
        return member->stance;
    for (uint32_t i = 0; i < CBP_RULES_PART_COUNT; i++) {
        const struct cbpi_population_part *part = &population->parts[i];
        if (!part->set)
            continue;
        mark(part, member, image);
        cbp_ruleset_add_stance(part->set, part->matches, &stance);
    }
    if (is_its_own) {
        member->stance = stance;
        member->stance_generation = population->rules_generation + 1;
    }
    return stance;
}

int cbpi_population_is_of_earlier(const struct cbpi_population *population, uint32_t rule_id,
                                  uint32_t process_id)
{
    const struct cbpi_member *member = cbpi_population_find(population, process_id);
    return ids_have(&population->bound, rule_id) && !(member && ids_have(&member->own, rule_id));
}

/* ---- New members ---- */

void cbpi_population_bind(struct cbpi_population *population, struct cbpi_member *member)
{
    for (uint32_t i = 0; i < CBP_RULES_PART_COUNT; i++) {
        const struct cbpi_population_part *part = &population->parts[i];
        if (!part->set || part->set->process_count == 0)
            continue;
        clear(part);
        cbp_ruleset_match_process(part->set, member->process_id, 0, part->matches);
        uint32_t count = cbp_ruleset_rule_count(part->set);
        for (uint32_t at = 0; (at = cbp_ruleset_next(part->set, part->matches, at)) < count; at++) {
            const struct cbp_ruleset_rule *rule = cbp_ruleset_rule_at(part->set, at);
            if (rule->match != CBP_RULE_MATCH_PROCESS || ids_have(&population->bound, rule->rule_id))
                continue;
            ids_add(&population->bound, rule->rule_id);
            ids_add(&member->own, rule->rule_id);
        }
    }
}

void cbpi_population_inherit(const struct cbpi_population *population, struct cbpi_member *member)
{
    for (uint32_t i = 0; i < CBP_RULES_PART_COUNT; i++) {
        const struct cbpi_population_part *part = &population->parts[i];
        if (!part->set)
            continue;
        mark(part, member->parent, &member->parent->image);
        uint32_t count = cbp_ruleset_rule_count(part->set);
        for (uint32_t at = 0; (at = cbp_ruleset_next(part->set, part->matches, at)) < count; at++) {
            const struct cbp_ruleset_rule *rule = cbp_ruleset_rule_at(part->set, at);
            if (rule->flags & CBP_RULE_FLAG_CHILDREN)
                ids_add(&member->inherited, rule->rule_id);
        }
    }
}

/* ---- Changes ---- */

static int rule_matches(const struct cbp_ruleset *set, uint32_t index, const struct cbpi_member *member)
{
    const struct cbp_ruleset_rule *rule = cbp_ruleset_rule_at(set, index);
    if (rule->match == CBP_RULE_MATCH_ALL)
        return 1;
    if (rule->match == CBP_RULE_MATCH_NAME)
        return rule_matches_name(set, index, member->image.path, member->image.path_size) ||
               (rule->action != CBP_ACTION_ALLOW &&
                rule_matches_name(set, index, member->image.given, member->image.given_size));
    uint32_t process_id;
    uint64_t start_time;
    cbp_ruleset_process_of(set, index, &process_id, &start_time);
    return start_time ? process_id == member->process_id && start_time == member->start_time
                      : ids_have(&member->own, rule->rule_id);
}

/* Gives a new rule to the process that it waits for, if that lives, */
static void bind_rule(struct cbpi_population *population, const struct cbp_ruleset *set, uint32_t index)
{
    const struct cbp_ruleset_rule *rule = cbp_ruleset_rule_at(set, index);
    uint32_t process_id;
    uint64_t start_time;
    cbp_ruleset_process_of(set, index, &process_id, &start_time);
    if (rule->match != CBP_RULE_MATCH_PROCESS || start_time != 0)
        return;
    struct cbpi_member *member = cbpi_population_find(population, process_id);
    if (!member)
        return;
    ids_add(&population->bound, rule->rule_id);
    ids_add(&member->own, rule->rule_id);
}

/* and to the descendants of all that it matches: whoever is older has it before those that inherit it. */
static void bequeath(struct cbpi_population *population, const struct cbp_ruleset *set, uint32_t index)
{
    uint32_t rule_id = cbp_ruleset_rule_at(set, index)->rule_id;
    if ((cbp_ruleset_rule_at(set, index)->flags & CBP_RULE_FLAG_CHILDREN) == 0)
        return;
    for (struct cbpi_member *at = population->oldest; at; at = at->younger)
        if (at->parent && (ids_have(&at->parent->inherited, rule_id) || rule_matches(set, index, at->parent)))
            ids_add(&at->inherited, rule_id);
}

static void free_part(struct cbpi_population_part *part)
{
    free(part->set);
    free(part->matches);
    *part = (struct cbpi_population_part){0};
}

static uint32_t make_part(const struct cbpi_rules_change *change, struct cbpi_population_part *part)
{
    struct cbpi_population_part made = {
        .set = malloc(change->size),
        .matches = calloc((size_t) cbp_ruleset_word_count(change->set) + 1, sizeof *made.matches)};
    if (!made.set || !made.matches) {
        free_part(&made);
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for the rules");
    }
    memcpy(made.set, change->set, change->size);
    *part = made;
    return 0;
}

static void forget_gone(struct cbpi_population *population)
{
    ids_prune(&population->bound, population->parts);
    for (struct cbpi_member *at = population->oldest; at; at = at->younger) {
        ids_prune(&at->inherited, population->parts);
        ids_prune(&at->own, population->parts);
    }
}

uint32_t cbpi_population_set_rules(struct cbpi_population *population, const struct cbpi_rules_change *change)
{
    struct cbpi_population_part part;
    uint32_t error = make_part(change, &part);
    if (error != 0)
        return error;
    for (uint32_t i = change->part; i < CBP_RULES_PART_COUNT; i++)
        free_part(&population->parts[i]);
    population->parts[change->part] = part;
    if (change->gone_rule_id != 0) {
        struct cbp_ruleset *main_part = population->parts[CBP_RULES_PART_MAIN].set;
        cbp_ruleset_retire(main_part, cbp_ruleset_find(main_part, change->gone_rule_id));
    }
    population->rules_generation++;
    forget_gone(population);
    uint32_t count = cbp_ruleset_rule_count(part.set), index = count;
    while (index > 0 && cbp_ruleset_rule_at(part.set, index - 1)->rule_id > population->last_rule_id)
        index--;
    for (; index < count; index++) {
        const struct cbp_ruleset_rule *rule = cbp_ruleset_rule_at(part.set, index);
        population->last_rule_id = rule->rule_id;
        bind_rule(population, part.set, index);
        bequeath(population, part.set, index);
    }
    return 0;
}

void cbpi_population_free_rules(struct cbpi_population *population)
{
    for (uint32_t i = 0; i < CBP_RULES_PART_COUNT; i++)
        free_part(&population->parts[i]);
    free(population->bound.ids);
}
