/* Keeps a session's rules, in a list that outlives a stop, and has the calls that add to it (rule_removal.c
 * has those that remove). cbp_rules.h says what rules mean, rule_parts.c what the driver has of them, and the
 * driver matches them. */
#include "core.h"

#include "cbp_pattern.h"
#include "cbp_wtf8.h"

#include <stdlib.h>
#include <string.h>

#define EVERY_PROCESS UINT32_MAX

static bool is_active(const struct cbp_session *session)
{
    return cbp_load_u32(&session->state) == CBPI_STATE_ACTIVE;
}

static struct cbpi_rule_item *find_replaced(const struct cbp_session *session, const struct cbpi_rule *rule)
{
    return cbpi_rule_list_find_replaced(&session->rules, rule, session->epoch);
}

/* Tells the driver, while active, of one rule more (may be NULL) and one less (may be NULL). */
static uint32_t change(struct cbp_session *session, const struct cbpi_rule *added,
                       struct cbpi_rule_item *leaving)
{
    if (leaving)
        leaving->is_leaving = true;
    uint32_t error = cbpi_rules_change(session, added);
    if (leaving)
        leaving->is_leaving = false;
    return error;
}

/* Enters the rule. A launch's rule gives way only after the driver has the rule that replaces it. If the
 * driver keeps it none the less, it ends with the launch's processes. The driver keeps an earlier process's
 * rule for that one's descendants. */
static void enter(struct cbp_session *session, const struct cbpi_rule *rule, uint64_t launch_epoch)
{
    struct cbpi_rule_item *old = find_replaced(session, rule);
    if (old && is_active(session) && cbpi_rule_is_kept_by_driver(session, old) &&
        old->rule.start_time == rule->start_time)
        cbpi_rules_forget_launch(session, old);
    cbpi_rule_list_enter(&session->rules, rule, old, launch_epoch);
}

/* Marks the rules for that number whose processes had it earlier, where only the driver knows that. */
static void find_earlier(struct cbp_session *session, const struct cbpi_rule *rule)
{
    if (rule->match != CBP_RULE_MATCH_PROCESS || !is_active(session))
        return;
    const struct cbpi_process_ops *processes = cbpi_driver_processes(session->driver);
    struct cbpi_rule_item *at = NULL;
    while ((at = cbpi_rule_list_next(&session->rules, rule, at)))
        at->is_earlier |= processes->is_of_earlier(session->transport, at->rule.rule_id, rule->process_id);
}

static uint32_t reserve(struct cbp_session *session, const struct cbpi_rule *rule)
{
    return find_replaced(session, rule) ? 0 : cbpi_rule_list_reserve(&session->rules, rule->pattern_size);
}

/* Adds the rule; its pattern becomes the list's. */
static uint32_t add(struct cbp_session *session, struct cbpi_rule *rule)
{
    cbpi_mutex_lock(&session->control);
    find_earlier(session, rule);
    uint32_t error = reserve(session, rule);
    if (error != 0)
        goto cleanup;
    rule->rule_id = ++session->rules.last_id;
    if (cbpi_demands_are_due(session))
        error = cbpi_demands_check_action(session->driver, session->capabilities, rule->action);
    if (error == 0 && is_active(session))
        error = change(session, rule, find_replaced(session, rule));
    if (error == 0)
        enter(session, rule, 0);
cleanup:
    cbpi_mutex_unlock(&session->control);
    return error;
}

/* Asks the driver that the session uses, or will use when it is started. */
static uint32_t find_start_time(struct cbp_session *session, uint32_t process_id, uint64_t *start_time)
{
    cbpi_mutex_lock(&session->control);
    cbpi_mutex_lock(&session->mutex);
    const char *name = cbpi_driver_names[session->config.driver];
    cbpi_mutex_unlock(&session->mutex);
    const struct cbpi_driver *driver = cbpi_driver_find(name, session->product_guid);
    cbpi_mutex_unlock(&session->control);
    return cbpi_driver_processes(driver)->start_time(process_id, start_time);
}

uint32_t cbpi_rules_adopt(struct cbp_session *session, uint32_t rule_id, uint64_t epoch, uint32_t process_id,
                          uint64_t start_time)
{
    struct cbpi_rule rule = {.rule_id = rule_id,
                             .match = CBP_RULE_MATCH_PROCESS,
                             .flags = CBP_RULE_FLAG_CHILDREN,
                             .action = CBP_ACTION_ASK,
                             .process_id = process_id,
                             .start_time = start_time};
    cbpi_mutex_lock(&session->control);
    bool is_running = epoch == session->epoch;
    uint32_t error = reserve(session, &rule);
    struct cbpi_rule_item *old = find_replaced(session, &rule);
    if (!is_running)
        rule.rule_id = ++session->rules.last_id;
    if (error == 0 && is_active(session)) {
        if (!is_running)
            error = change(session, &rule, old);
        else if (old && !cbpi_rule_is_kept_by_driver(session, old))
            error = change(session, NULL, old);
    }
    if (error == 0)
        enter(session, &rule, is_running ? epoch : 0);
    cbpi_mutex_unlock(&session->control);
    return error;
}

static uint32_t check_action(uint32_t flags, uint32_t action, uint32_t action_value)
{
    bool takes_value = action == CBP_ACTION_DENY || action == CBP_ACTION_STRIP;
    if ((flags & ~(uint32_t) (CBP_RULE_FLAG_CHILDREN | CBP_RULE_FLAG_ATTACH)) != 0 ||
        action > CBP_ACTION_STRIP)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "flags are RULE_FLAG_ bits, action is one of ACTION_");
    if (takes_value != (action_value != 0))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER,
                         "the action's value is a code for deny, rights for strip, and else 0");
    return 0;
}

/* Checks that the pattern is UTF-8: a text that is not could not be compared with anything. */
static uint32_t check_units(const char *pattern, size_t pattern_size)
{
    uint16_t units[CBP_PATTERN_SIZE_MAX];
    if (cbpd_wtf8_decode(pattern, pattern_size, units) == SIZE_MAX)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "the pattern is not UTF-8");
    return 0;
}

uint32_t cbpi_rules_check_pattern(const char *pattern, uint64_t pattern_size)
{
    uint32_t error = cbpi_check_pattern(pattern, pattern_size);
    bool has_units = error == 0 && CBP_COMPARE_SYSTEM == CBP_COMPARE_UTF16;
    return has_units ? check_units(pattern, (size_t) pattern_size) : error;
}

struct cbpi_rule cbpi_rule_for_process(uint32_t process_id, uint32_t action)
{
    return (struct cbpi_rule){.match =
                                  process_id == EVERY_PROCESS ? CBP_RULE_MATCH_ALL : CBP_RULE_MATCH_PROCESS,
                              .process_id = process_id == EVERY_PROCESS ? 0 : process_id,
                              .action = action};
}

uint32_t cbp_rule_add_process(struct cbp_session *session, uint32_t process_id, uint32_t flags,
                              uint32_t action, uint32_t action_value)
{
    struct cbpi_rule rule = cbpi_rule_for_process(process_id, action);
    uint32_t error = cbpi_session_check(session);
    if (error == 0)
        error = check_action(flags, action, action_value);
    if (error == 0 && rule.match == CBP_RULE_MATCH_ALL && action == CBP_ACTION_IGNORE)
        error = cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "a rule cannot ignore every process");
    if (error == 0 && rule.match == CBP_RULE_MATCH_PROCESS)
        error = find_start_time(session, process_id, &rule.start_time);
    if (error != 0)
        return error;
    rule.flags = flags;
    rule.action_value = action_value;
    return add(session, &rule);
}

uint32_t cbp_rule_add_name(struct cbp_session *session, const char *pattern, uint64_t pattern_size,
                           uint32_t flags, uint32_t action, uint32_t action_value)
{
    struct cbpi_rule rule = {.match = CBP_RULE_MATCH_NAME,
                             .flags = flags,
                             .action = action,
                             .action_value = action_value,
                             .pattern_size = (uint32_t) pattern_size};
    uint32_t error = cbpi_session_check(session);
    if (error == 0)
        error = check_action(flags, action, action_value);
    if (error == 0)
        error = cbpi_rules_check_pattern(pattern, pattern_size);
    if (error != 0)
        return error;
    char *copy = malloc((size_t) pattern_size);
    if (!copy)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for another rule");
    rule.pattern = memcpy(copy, pattern, (size_t) pattern_size);
    error = add(session, &rule);
    if (error != 0)
        free(copy);
    return error;
}
