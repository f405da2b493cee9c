/* A session's rules: the list that outlives a stop, and its copy on the driver's side while active. What
 * rules mean is cbp_rules.h; who matches them is the driver's business. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

#define EVERY_PROCESS UINT32_MAX

static uint32_t reserve(struct cbpi_rule_list *rules)
{
    if (rules->count < rules->capacity)
        return 0;
    uint32_t capacity = rules->capacity ? 2 * rules->capacity : 8;
    struct cbpi_rule *items = realloc(rules->items, capacity * sizeof *items);
    if (!items)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for another rule");
    rules->items = items;
    rules->capacity = capacity;
    return 0;
}

/* Whether two rules are about the same process or pattern, with the same action. A process's old rule gives
 * way to a new one even when the number has passed to another process: the old one can never match again. */
static int is_same(const struct cbpi_rule *a, const struct cbpi_rule *b)
{
    return a->match == b->match && a->action == b->action && a->process_id == b->process_id &&
           a->pattern_size == b->pattern_size &&
           (a->pattern_size == 0 || memcmp(a->pattern, b->pattern, a->pattern_size) == 0);
}

static struct cbpi_rule *find(const struct cbpi_rule_list *rules, const struct cbpi_rule *wanted)
{
    for (uint32_t i = 0; i < rules->count; i++)
        if (is_same(&rules->items[i], wanted))
            return &rules->items[i];
    return NULL;
}

uint32_t cbpi_rules_next_id(struct cbp_session *session)
{
    return ++session->rules.last_id;
}

/* Puts rule into the list in place of the same older one; the older one also leaves the driver. */
static void enter(struct cbp_session *session, const struct cbpi_rule *rule)
{
    struct cbpi_rule_list *rules = &session->rules;
    struct cbpi_rule *old = find(rules, rule);
    if (!old) {
        rules->items[rules->count++] = *rule;
        return;
    }
    if (cbp_load_u32(&session->state) == CBPI_STATE_ACTIVE)
        session->ops->remove_rule(session->transport, old->rule_id);
    free((void *) (uintptr_t) old->pattern);
    *old = *rule;
}

/* The driver gets the new rule before it loses the old one, so that nothing slips through in between. The
 * pattern becomes the list's. */
static uint32_t add(struct cbp_session *session, struct cbpi_rule *rule)
{
    cbpi_mutex_lock(&session->control);
    uint32_t error = reserve(&session->rules);
    if (error != 0)
        goto cleanup;
    rule->rule_id = cbpi_rules_next_id(session);
    if (cbp_load_u32(&session->state) == CBPI_STATE_ACTIVE)
        error = session->ops->add_rule(session->transport, rule);
    if (error == 0)
        enter(session, rule);
cleanup:
    cbpi_mutex_unlock(&session->control);
    return error;
}

static uint32_t take_out(struct cbp_session *session, const struct cbpi_rule *wanted)
{
    uint32_t error = 0;
    cbpi_mutex_lock(&session->control);
    struct cbpi_rule_list *rules = &session->rules;
    struct cbpi_rule *rule = find(rules, wanted);
    if (!rule)
        error = cbpi_fail(CBP_ERROR_NOT_FOUND, "there is no such rule");
    else if (cbp_load_u32(&session->state) == CBPI_STATE_ACTIVE)
        error = session->ops->remove_rule(session->transport, rule->rule_id);
    if (error == CBP_ERROR_BROKEN_PIPE)
        error = 0; /* the driver has gone, and the rule with it */
    if (error == 0) {
        free((void *) (uintptr_t) rule->pattern);
        memmove(rule, rule + 1, (size_t) (&rules->items[rules->count] - (rule + 1)) * sizeof *rule);
        rules->count--;
    }
    cbpi_mutex_unlock(&session->control);
    return error;
}

/* The driver that the session uses, or will use when it is started. */
static const struct cbpi_transport_ops *driver_of(struct cbp_session *session)
{
    cbpi_mutex_lock(&session->mutex);
    uint32_t driver = session->config.driver;
    cbpi_mutex_unlock(&session->mutex);
    return cbpi_transport_find(cbpi_driver_names[driver]);
}

static uint32_t find_start_time(struct cbp_session *session, uint32_t process_id, uint64_t *start_time)
{
    const struct cbpi_transport_ops *ops = driver_of(session);
    return ops->process_start_time ? ops->process_start_time(process_id, start_time)
                                   : cbpi_process_start_time(process_id, start_time);
}

static int lives(const struct cbp_session *session, const struct cbpi_rule *rule)
{
    uint64_t start_time;
    return rule->match != CBP_RULE_MATCH_PROCESS || session->ops->process_start_time ||
           (cbpi_process_start_time(rule->process_id, &start_time) == 0 && start_time == rule->start_time);
}

uint32_t cbpi_rules_push(struct cbp_session *session)
{
    for (uint32_t i = 0; i < session->rules.count; i++) {
        const struct cbpi_rule *rule = &session->rules.items[i];
        uint32_t error = lives(session, rule) ? session->ops->add_rule(session->transport, rule) : 0;
        if (error == CBP_ERROR_INVALID_PARAMETER && !lives(session, rule))
            error = 0; /* it ended while it was told to the driver */
        if (error != 0)
            return error;
    }
    return 0;
}

void cbpi_rules_free(struct cbpi_rule_list *rules)
{
    for (uint32_t i = 0; i < rules->count; i++)
        free((void *) (uintptr_t) rules->items[i].pattern);
    free(rules->items);
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
    uint32_t error = reserve(&session->rules);
    if (error == 0 && epoch != session->epoch && cbp_load_u32(&session->state) == CBPI_STATE_ACTIVE)
        error = session->ops->add_rule(session->transport, &rule);
    if (error == 0)
        enter(session, &rule);
    cbpi_mutex_unlock(&session->control);
    return error;
}

static uint32_t check_action(uint32_t flags, uint32_t action, uint32_t action_value)
{
    int takes_value = action == CBP_ACTION_DENY || action == CBP_ACTION_STRIP;
    if ((flags & ~(uint32_t) (CBP_RULE_FLAG_CHILDREN | CBP_RULE_FLAG_ATTACH)) != 0 ||
        action > CBP_ACTION_STRIP)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "flags are RULE_FLAG_ bits, action is one of ACTION_");
    if (takes_value != (action_value != 0))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER,
                         "the action's value is a code for deny, rights for strip, and else 0");
    return 0;
}

static uint32_t check_pattern(const char *pattern, uint64_t pattern_size)
{
    if (!pattern || pattern_size == 0 || pattern_size > CBP_PATTERN_SIZE_MAX)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "a pattern has 1 to %u bytes",
                         (unsigned) CBP_PATTERN_SIZE_MAX);
    if (memchr(pattern, 0, (size_t) pattern_size))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "a pattern has no NUL");
    return 0;
}

static struct cbpi_rule process_rule(uint32_t process_id, uint32_t action)
{
    return (struct cbpi_rule){.match =
                                  process_id == EVERY_PROCESS ? CBP_RULE_MATCH_ALL : CBP_RULE_MATCH_PROCESS,
                              .process_id = process_id == EVERY_PROCESS ? 0 : process_id,
                              .action = action};
}

uint32_t cbp_rule_add_process(struct cbp_session *session, uint32_t process_id, uint32_t flags,
                              uint32_t action, uint32_t action_value)
{
    struct cbpi_rule rule = process_rule(process_id, action);
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
        error = check_pattern(pattern, pattern_size);
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

uint32_t cbp_rule_remove_process(struct cbp_session *session, uint32_t process_id, uint32_t action)
{
    struct cbpi_rule wanted = process_rule(process_id, action);
    uint32_t error = cbpi_session_check(session);
    return error ? error : take_out(session, &wanted);
}

uint32_t cbp_rule_remove_name(struct cbp_session *session, const char *pattern, uint64_t pattern_size,
                              uint32_t action)
{
    struct cbpi_rule wanted = {.match = CBP_RULE_MATCH_NAME,
                               .action = action,
                               .pattern = pattern,
                               .pattern_size = (uint32_t) pattern_size};
    uint32_t error = cbpi_session_check(session);
    if (error == 0)
        error = check_pattern(pattern, pattern_size);
    return error ? error : take_out(session, &wanted);
}
