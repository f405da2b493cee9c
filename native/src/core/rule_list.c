/* Implements rule_list.h as a hash table whose items lie in a row, so that going through all of them is
 * cheap. */
#include "rule_list.h"

#include "cbp_ruleset_layout.h"
#include "errors.h"

#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 8u

static uint32_t hash_bytes(uint32_t hash, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++)
        hash = cbp_ruleset_hash_unit(hash, at[i]);
    return hash;
}

static uint32_t hash_of(const struct cbpi_rule *rule)
{
    const uint32_t about[] = {rule->match, rule->action, rule->process_id};
    uint32_t hash = hash_bytes(CBP_RULESET_HASH_START, about, sizeof about);
    return cbp_ruleset_hash_end(hash_bytes(hash, rule->pattern, rule->pattern_size), 0);
}

/* Says whether two rules are alike except for the start time of their process. */
static bool is_alike(const struct cbpi_rule *a, const struct cbpi_rule *b)
{
    return a->match == b->match && a->action == b->action && a->process_id == b->process_id &&
           a->pattern_size == b->pattern_size &&
           (a->pattern_size == 0 || memcmp(a->pattern, b->pattern, a->pattern_size) == 0);
}

static uint32_t *bucket_of(const struct cbpi_rule_list *list, uint32_t hash)
{
    return &list->buckets[hash & (list->capacity - 1)];
}

static void chain(struct cbpi_rule_list *list, uint32_t index)
{
    uint32_t *bucket = bucket_of(list, list->items[index].hash);
    list->items[index].next = *bucket;
    *bucket = index + 1;
}

/* Gives the link that names the item with this index. */
static uint32_t *link_to(struct cbpi_rule_list *list, uint32_t index)
{
    uint32_t *link = bucket_of(list, list->items[index].hash);
    while (*link != index + 1)
        link = &list->items[*link - 1].next;
    return link;
}

static uint32_t grow(struct cbpi_rule_list *list)
{
    uint32_t capacity = list->capacity ? 2 * list->capacity : CAPACITY_MIN;
    uint32_t *buckets = calloc(capacity, sizeof *buckets);
    struct cbpi_rule_item *items = buckets ? realloc(list->items, capacity * sizeof *items) : NULL;
    if (!items) {
        free(buckets);
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for another rule");
    }
    free(list->buckets);
    list->buckets = buckets;
    list->items = items;
    list->capacity = capacity;
    for (uint32_t i = 0; i < list->count; i++)
        chain(list, i);
    return 0;
}

/* Gives the next item that is like wanted, from this place of a bucket on, or NULL. */
static struct cbpi_rule_item *next_alike(const struct cbpi_rule_list *list, uint32_t at, uint32_t hash,
                                         const struct cbpi_rule *wanted)
{
    for (; at != 0; at = list->items[at - 1].next)
        if (list->items[at - 1].hash == hash && is_alike(&list->items[at - 1].rule, wanted))
            return &list->items[at - 1];
    return NULL;
}

struct cbpi_rule_item *cbpi_rule_list_next(const struct cbpi_rule_list *list, const struct cbpi_rule *wanted,
                                           const struct cbpi_rule_item *after)
{
    if (after)
        return next_alike(list, after->next, after->hash, wanted);
    uint32_t hash = hash_of(wanted);
    return list->capacity > 0 ? next_alike(list, *bucket_of(list, hash), hash, wanted) : NULL;
}

struct cbpi_rule_item *cbpi_rule_list_find(const struct cbpi_rule_list *list, const struct cbpi_rule *wanted)
{
    struct cbpi_rule_item *last = NULL, *at = NULL;
    while ((at = cbpi_rule_list_next(list, wanted, at)))
        if (!last || at->rule.rule_id > last->rule.rule_id)
            last = at;
    return last;
}

struct cbpi_rule_item *cbpi_rule_list_find_replaced(const struct cbpi_rule_list *list,
                                                    const struct cbpi_rule *added, uint64_t epoch)
{
    struct cbpi_rule_item *at = cbpi_rule_list_next(list, added, NULL);
    while (at && (at->is_earlier || at->rule.start_time != added->start_time) &&
           at->rule.flags & CBP_RULE_FLAG_CHILDREN && at->launch_epoch != epoch)
        at = cbpi_rule_list_next(list, added, at);
    return at;
}

uint32_t cbpi_rule_list_reserve(struct cbpi_rule_list *list, uint32_t pattern_size)
{
    if (list->count == CBP_RULESET_RULE_MAX || list->pattern_bytes + pattern_size > CBP_RULESET_TEXT_MAX)
        return cbpi_fail(CBP_ERROR_NO_SYSTEM_RESOURCES,
                         "a session has at most %u rules, with patterns of %u bytes in all",
                         CBP_RULESET_RULE_MAX, CBP_RULESET_TEXT_MAX);
    return list->count < list->capacity ? 0 : grow(list);
}

static void free_pattern(const struct cbpi_rule *rule)
{
    free((void *) (uintptr_t) rule->pattern);
}

void cbpi_rule_list_enter(struct cbpi_rule_list *list, const struct cbpi_rule *rule,
                          struct cbpi_rule_item *replaced, uint64_t launch_epoch)
{
    struct cbpi_rule_item *item = replaced;
    if (item) {
        free_pattern(&item->rule);
    } else {
        item = &list->items[list->count++];
        item->hash = hash_of(rule);
        chain(list, list->count - 1);
        list->pattern_bytes += rule->pattern_size;
    }
    item->rule = *rule;
    item->launch_epoch = launch_epoch;
    item->is_leaving = false;
    item->is_earlier = false;
}

void cbpi_rule_list_remove(struct cbpi_rule_list *list, struct cbpi_rule_item *item)
{
    uint32_t index = (uint32_t) (item - list->items), last = list->count - 1;
    *link_to(list, index) = item->next;
    list->pattern_bytes -= item->rule.pattern_size;
    free_pattern(&item->rule);
    if (index != last) {
        *link_to(list, last) = index + 1;
        *item = list->items[last];
    }
    list->count--;
}

void cbpi_rule_list_free(struct cbpi_rule_list *list)
{
    for (uint32_t i = 0; i < list->count; i++)
        free_pattern(&list->items[i].rule);
    free(list->items);
    free(list->buckets);
}
