/* Removes rules from a session, one or many with one change of the driver's copy. Knows no driver, which
 * rule_parts.c talks to. */
#include "core.h"

#include <stdlib.h>

/* These rules are to go: so many places in the session's list. */
struct leaving {
    struct cbp_session *session;
    uint32_t *places;
    uint32_t count;
};

static struct cbpi_rule_item *item_at(const struct leaving *leaving, uint32_t number)
{
    return &leaving->session->rules.items[leaving->places[number]];
}

/* Marks a rule to be removed; one that is named twice counts once. */
static uint32_t mark(struct leaving *leaving, const struct cbpi_rule *wanted)
{
    struct cbpi_rule_item *item = cbpi_rule_list_find(&leaving->session->rules, wanted);
    if (!item)
        return cbpi_fail(CBP_ERROR_NOT_FOUND, "there is no such rule");
    if (!item->is_leaving)
        leaving->places[leaving->count++] = (uint32_t) (item - leaving->session->rules.items);
    item->is_leaving = true;
    return 0;
}

static void unmark_all(const struct leaving *leaving)
{
    for (uint32_t i = 0; i < leaving->count; i++)
        item_at(leaving, i)->is_leaving = false;
}

/* Lets the driver forget the rules that it keeps itself. One that it does not forget stays. */
static uint32_t forget_launches(const struct leaving *leaving)
{
    uint32_t error = 0;
    for (uint32_t i = 0; i < leaving->count; i++) {
        struct cbpi_rule_item *item = item_at(leaving, i);
        if (!cbpi_rule_is_kept_by_driver(leaving->session, item))
            continue;
        if (error == 0)
            error = cbpi_rules_forget_launch(leaving->session, item);
        if (error == CBP_ERROR_BROKEN_PIPE)
            return 0;
        item->is_leaving = error == 0;
    }
    return error;
}

static bool some_are_in_sets(const struct leaving *leaving)
{
    for (uint32_t i = 0; i < leaving->count; i++)
        if (!cbpi_rule_is_kept_by_driver(leaving->session, item_at(leaving, i)))
            return true;
    return false;
}

/* Tells the driver: the rules of the sets go together or not at all. If the driver has gone, the rules have
 * gone with it. */
static uint32_t tell_driver(const struct leaving *leaving)
{
    uint32_t error = some_are_in_sets(leaving) ? cbpi_rules_change(leaving->session, NULL) : 0;
    if (error == CBP_ERROR_BROKEN_PIPE)
        return 0;
    if (error == 0)
        return forget_launches(leaving);
    unmark_all(leaving);
    return error;
}

static int last_first(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *) left, b = *(const uint32_t *) right;
    return (a < b) - (a > b);
}

/* Removes the marked rules, the last first: no rule that is still to go then moves into the place of one that
 * goes. */
static void remove_marked(const struct leaving *leaving)
{
    qsort(leaving->places, leaving->count, sizeof *leaving->places, last_first);
    for (uint32_t i = 0; i < leaving->count; i++)
        if (item_at(leaving, i)->is_leaving)
            cbpi_rule_list_remove(&leaving->session->rules, item_at(leaving, i));
}

static uint32_t take_out(struct leaving *leaving, uint32_t action, const char *const *patterns,
                         const uint64_t *pattern_sizes, uint32_t pattern_count, const uint32_t *process_ids,
                         uint32_t process_count)
{
    uint32_t error = 0;
    for (uint32_t i = 0; error == 0 && i < pattern_count; i++) {
        const struct cbpi_rule wanted = {.match = CBP_RULE_MATCH_NAME,
                                         .action = action,
                                         .pattern = patterns[i],
                                         .pattern_size = (uint32_t) pattern_sizes[i]};
        error = mark(leaving, &wanted);
    }
    for (uint32_t i = 0; error == 0 && i < process_count; i++) {
        const struct cbpi_rule wanted = cbpi_rule_for_process(process_ids[i], action);
        error = mark(leaving, &wanted);
    }
    if (error != 0) {
        unmark_all(leaving);
        return error;
    }
    if (cbp_load_u32(&leaving->session->state) == CBPI_STATE_ACTIVE)
        error = tell_driver(leaving);
    remove_marked(leaving);
    return error;
}

uint32_t cbp_rules_remove(struct cbp_session *session, uint32_t action, const char *const *patterns,
                          const uint64_t *pattern_sizes, uint32_t pattern_count, const uint32_t *process_ids,
                          uint32_t process_count)
{
    struct leaving leaving = {.session = session};
    uint32_t error = cbpi_session_check(session);
    for (uint32_t i = 0; error == 0 && i < pattern_count; i++)
        error = cbpi_rules_check_pattern(patterns[i], pattern_sizes[i]);
    if (error != 0)
        return error;
    leaving.places = malloc(((size_t) pattern_count + process_count + 1) * sizeof *leaving.places);
    if (!leaving.places)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for so many rules");
    cbpi_mutex_lock(&session->control);
    error = take_out(&leaving, action, patterns, pattern_sizes, pattern_count, process_ids, process_count);
    cbpi_mutex_unlock(&session->control);
    free(leaving.places);
    return error;
}

uint32_t cbp_rule_remove_process(struct cbp_session *session, uint32_t process_id, uint32_t action)
{
    return cbp_rules_remove(session, action, NULL, NULL, 0, &process_id, 1);
}

uint32_t cbp_rule_remove_name(struct cbp_session *session, const char *pattern, uint64_t pattern_size,
                              uint32_t action)
{
    return cbp_rules_remove(session, action, &pattern, &pattern_size, 1, NULL, 0);
}
