/* Keeps the driver's copy of a session's rules while the filter is active. It has compiled sets, in two
 * parts, so that one rule more or less among thousands costs little: rules with an id up to main_last_id are
 * in the main part, newer ones in the rest. A rule that leaves is taken out of force in the driver's main
 * part, and disappears from it when that is next compiled. A launch's rule is in neither part: the driver
 * keeps it itself as long as that start of the session lasts. */
#include "core.h"
#include "ruleset_build.h"

#include <stdlib.h>

#define REST_MAX 128u        /* rules in the rest, which each change of it compiles again */
#define MAIN_MIN 1024u       /* up to so many rules are not worth two parts */
#define NOT_KNOWN UINT32_MAX /* for main_last_id: the next change is of the main part */

bool cbpi_rule_is_kept_by_driver(const struct cbp_session *session, const struct cbpi_rule_item *item)
{
    return item->launch_epoch != 0 && item->launch_epoch == session->epoch;
}

/* Compiles the rules for that change and hands them over. */
static uint32_t hand_over(struct cbp_session *session, const struct cbpi_rule *rules, uint32_t count,
                          struct cbpi_rules_change change)
{
    struct cbp_ruleset *set;
    uint32_t error = cbpi_ruleset_build(CBP_COMPARE_SYSTEM, rules, count, &set, &change.size);
    if (error != 0)
        return cbpi_fail(error, "cannot compile the rules: %s", cbp_error_message(error));
    change.set = set;
    error = session->transport->ops->set_rules(session->transport, &change);
    free(set);
    if (error == 0 && change.part == CBP_RULES_PART_MAIN)
        session->main_last_id = session->rules.last_id;
    else if (error == CBP_ERROR_SERVICE_REQUEST_TIMEOUT)
        session->main_last_id = NOT_KNOWN; /* it may still take effect */
    return error;
}

static struct cbpi_rule *make_room(uint32_t count)
{
    struct cbpi_rule *rules = malloc((size_t) count * sizeof *rules + 1);
    if (!rules)
        cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory to compile the rules");
    return rules;
}

static bool lives(const struct cbp_session *session, const struct cbpi_rule_item *item)
{
    const struct cbpi_rule *rule = &item->rule;
    if (item->is_earlier)
        return false;
    return rule->match != CBP_RULE_MATCH_PROCESS ||
           cbpi_driver_processes(session->driver)->lives(rule->process_id, rule->start_time);
}

uint32_t cbpi_rules_push(struct cbp_session *session)
{
    const struct cbpi_rule_list *list = &session->rules;
    uint32_t count = 0, flags = 0, error = 0;
    session->main_last_id = NOT_KNOWN;
    struct cbpi_rule *rules = make_room(list->count);
    if (!rules)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    for (uint32_t i = 0; i < list->count; i++) {
        if (!lives(session, &list->items[i]))
            continue;
        rules[count] = list->items[i].rule;
        flags |= rules[count++].flags;
    }
    const struct cbpi_rules_change change = {
        .part = CBP_RULES_PART_MAIN,
        .attach_rule_id = flags & CBP_RULE_FLAG_ATTACH ? CBP_ATTACH_ALL : CBP_ATTACH_NONE};
    if (count > 0)
        error = hand_over(session, rules, count, change);
    free(rules);
    return error;
}

/* Copies the rules of the sets that are newer than that id and stay; gives their number. */
static uint32_t gather(const struct cbp_session *session, uint32_t newer_than, struct cbpi_rule *rules)
{
    const struct cbpi_rule_list *list = &session->rules;
    uint32_t count = 0;
    for (const struct cbpi_rule_item *at = list->items, *end = at + list->count; at < end; at++)
        if (!at->is_leaving && !cbpi_rule_is_kept_by_driver(session, at) && at->rule.rule_id > newer_than)
            rules[count++] = at->rule;
    return count;
}

/* Says whether a change of the rest is enough, with so many rules more. *gone_rule_id gets the one rule of
 * the main part that it takes out of force, or 0. */
static bool is_of_rest(const struct cbp_session *session, uint32_t added_count, uint32_t *gone_rule_id)
{
    const struct cbpi_rule_list *list = &session->rules;
    uint32_t main_count = 0, rest_count = added_count, gone_count = 0;
    for (const struct cbpi_rule_item *at = list->items, *end = at + list->count; at < end; at++) {
        bool is_main = at->rule.rule_id <= session->main_last_id;
        if (cbpi_rule_is_kept_by_driver(session, at))
            continue;
        if (!at->is_leaving) {
            main_count += is_main;
            rest_count += !is_main;
        } else if (is_main) {
            gone_count++;
            *gone_rule_id = at->rule.rule_id;
        }
    }
    return session->main_last_id != NOT_KNOWN && gone_count <= 1 && main_count > MAIN_MIN &&
           rest_count <= REST_MAX;
}

uint32_t cbpi_rules_change(struct cbp_session *session, const struct cbpi_rule *added)
{
    struct cbpi_rules_change change = {.part = CBP_RULES_PART_REST, .attach_rule_id = CBP_ATTACH_NONE};
    if (added && added->flags & CBP_RULE_FLAG_ATTACH)
        change.attach_rule_id = added->rule_id;
    struct cbpi_rule *rules = make_room(session->rules.count + 1);
    if (!rules)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    if (!is_of_rest(session, added ? 1 : 0, &change.gone_rule_id)) {
        change.part = CBP_RULES_PART_MAIN;
        change.gone_rule_id = 0;
    }
    uint32_t count = gather(session, change.part == CBP_RULES_PART_REST ? session->main_last_id : 0, rules);
    if (added)
        rules[count++] = *added;
    uint32_t error = hand_over(session, rules, count, change);
    free(rules);
    return error;
}

uint32_t cbpi_rules_forget_launch(struct cbp_session *session, const struct cbpi_rule_item *item)
{
    uint32_t error = session->driver->launches->forget(session->transport, item->rule.rule_id);
    return error == CBP_ERROR_NOT_FOUND ? 0 : error; /* its tree has ended */
}
