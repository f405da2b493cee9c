/* The sessions' rules and what they add up to for each process. Knows no stops and no messages but a rule's.
 *
 * A process's stance in a session sums up the rules that match it: those it inherited, those that match its
 * image, those for its id and those for all. Names are matched once for each image and change of the rules.
 */
#include <stdlib.h>
#include <string.h>

#include "supervisor.h"

void release_rule_list(struct rule_list *list)
{
    if (list != NULL && --list->reference_count == 0)
        free(list);
}

static struct rule_list *share_rule_list(struct rule_list *list)
{
    if (list != NULL)
        list->reference_count++;
    return list;
}

static bool list_has(const struct rule_list *list, const struct rule *rule)
{
    for (uint32_t i = 0; list != NULL && i < list->count; i++)
        if (list->rules[i] == rule)
            return true;
    return false;
}

/* The list with one more rule: a new list, because lists are shared. Without memory the rule is left out. */
static struct rule_list *list_with(struct rule_list *list, struct rule *rule)
{
    uint32_t count = list != NULL ? list->count : 0;
    struct rule_list *longer = malloc(sizeof *longer + (count + 1) * sizeof longer->rules[0]);
    if (longer == NULL)
        return list;
    longer->reference_count = 1;
    longer->count = count + 1;
    if (list != NULL)
        memcpy(longer->rules, list->rules, count * sizeof list->rules[0]);
    longer->rules[count] = rule;
    release_rule_list(list);
    return longer;
}

static struct rule_list *list_without(struct rule_list *list, const struct rule *rule)
{
    if (!list_has(list, rule))
        return list;
    struct rule_list *shorter = NULL;
    for (uint32_t i = 0; i < list->count; i++)
        if (list->rules[i] != rule)
            shorter = list_with(shorter, list->rules[i]);
    release_rule_list(list);
    return shorter;
}

static bool matches_image(const struct rule *rule, const struct image *image)
{
    return rule->match == CBP_RULE_MATCH_NAME && image != NULL &&
           image_goes_by(image, rule->pattern, rule->pattern_size);
}

static bool matches_directly(const struct rule *rule, const struct process *process,
                             const struct image *image)
{
    switch (rule->match) {
    case CBP_RULE_MATCH_ALL:
        return true;
    case CBP_RULE_MATCH_PROCESS:
        return rule->process_id == process->pid && rule->start_time == process->start_time;
    default:
        return matches_image(rule, image);
    }
}

static void match_image(struct image *image)
{
    if (image->rules_generation == self.rules_generation)
        return;
    image->rules_generation = self.rules_generation;
    image->match_count = 0;
    for (struct rule *rule = self.rules; rule != NULL; rule = rule->next) {
        if (!matches_image(rule, image))
            continue;
        struct rule **longer = realloc(image->matches, (image->match_count + 1) * sizeof *longer);
        if (longer == NULL)
            return;
        image->matches = longer;
        image->matches[image->match_count++] = rule;
    }
}

static void add_stance(struct cbp_stance *stances, const struct rule *rule)
{
    cbp_stance_add(&stances[rule->session_id], rule->action, rule->action_value);
}

void stances_under_image(const struct process *process, struct image *image, struct cbp_stance *stances)
{
    memset(stances, 0, CBP_SESSION_MAX * sizeof *stances);
    for (uint32_t i = 0; process->inherited != NULL && i < process->inherited->count; i++)
        add_stance(stances, process->inherited->rules[i]);
    if (image != NULL) {
        match_image(image);
        for (uint32_t i = 0; i < image->match_count; i++)
            add_stance(stances, image->matches[i]);
    }
    for (struct rule *rule = self.rules; rule != NULL; rule = rule->next)
        if (rule->match != CBP_RULE_MATCH_NAME && matches_directly(rule, process, image))
            add_stance(stances, rule);
}

static struct rule_list *bequeath(struct rule_list *bequest, struct rule *rule)
{
    return rule->children && !list_has(bequest, rule) ? list_with(bequest, rule) : bequest;
}

/* Whether a rule concerns an attached process, or may when it executes another program. */
static bool is_of_concern(const struct process *process)
{
    for (uint32_t id = 0; id < CBP_SESSION_MAX && self.broad_rule_count == 0; id++) {
        const struct cbp_stance *stance = &process->stances[id];
        if (stance->asked || stance->allowed || stance->deny_code != 0 || stance->strip_mask != 0)
            return true;
    }
    return self.broad_rule_count > 0;
}

/* A child's first execution is an operation of its creator's. */
static bool is_creation_of_concern(const struct process *process)
{
    return !process->executed && process->parent != NULL && is_of_concern(process->parent);
}

void evaluate_process(struct process *process)
{
    stances_under_image(process, process->image, process->stances);
    process->released = process->attached && !is_of_concern(process) && !is_creation_of_concern(process);
    struct rule_list *bequest = share_rule_list(process->inherited);
    for (uint32_t i = 0; process->image != NULL && i < process->image->match_count; i++)
        bequest = bequeath(bequest, process->image->matches[i]);
    for (struct rule *rule = self.rules; rule != NULL; rule = rule->next)
        if (rule->match != CBP_RULE_MATCH_NAME && matches_directly(rule, process, NULL))
            bequest = bequeath(bequest, rule);
    release_rule_list(process->bequest);
    process->bequest = bequest;
}

void evaluate_all(void)
{
    for (struct process *process = self.processes; process != NULL; process = process->next)
        evaluate_process(process);
}

void inherit_rules(struct process *child, const struct process *parent)
{
    child->inherited = share_rule_list(parent->bequest);
    evaluate_process(child);
}

/* Descendants that live when a rule is added inherit it from whichever ancestor it matches, dead ones too. */
static void bequeath_to_living(struct rule *rule)
{
    for (struct process *process = self.processes; process != NULL; process = process->next)
        for (struct process *ancestor = process->parent; ancestor != NULL; ancestor = ancestor->parent)
            if (matches_directly(rule, ancestor, ancestor->image)) {
                process->inherited = list_with(process->inherited, rule);
                break;
            }
}

static void count_rule(const struct rule *rule, uint32_t step)
{
    self.rule_counts[rule->action] += step;
    if (rule->match != CBP_RULE_MATCH_PROCESS)
        self.broad_rule_count += step;
    if (rule->action == CBP_ACTION_STRIP)
        self.strip_mask |= rule->action_value;
}

static void install_rule(struct rule *rule)
{
    rule->next = self.rules;
    self.rules = rule;
    self.rules_generation++;
    count_rule(rule, 1);
    if (rule->children)
        bequeath_to_living(rule);
    evaluate_all();
}

/* Running processes come first: if they cannot be had, there is no rule. */
static uint32_t attach_for(const struct cbp_rule *message)
{
    bool children = (message->flags & CBP_RULE_FLAG_CHILDREN) != 0;
    if ((message->flags & CBP_RULE_FLAG_ATTACH) == 0)
        return 0;
    if (message->match == CBP_RULE_MATCH_PROCESS)
        return attach_process(message->process_id, message->start_time, children);
    if (message->match == CBP_RULE_MATCH_NAME)
        attach_matching((const char *) message + message->pattern_offset, message->pattern_size, children);
    return 0;
}

uint32_t add_rule(const struct cbp_rule *message)
{
    uint32_t error = attach_for(message);
    if (error != 0)
        return error;
    struct rule *rule = calloc(1, sizeof *rule + message->pattern_size);
    if (rule == NULL)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    rule->session_id = message->session_id;
    rule->rule_id = message->rule_id;
    rule->match = message->match;
    rule->children = message->flags & CBP_RULE_FLAG_CHILDREN;
    rule->action = message->action;
    rule->action_value = message->action_value;
    rule->process_id = message->process_id;
    rule->start_time = message->start_time;
    rule->pattern_size = message->pattern_size;
    memcpy(rule->pattern, (const char *) message + message->pattern_offset, message->pattern_size);
    install_rule(rule);
    return 0;
}

uint32_t add_launch_rule(uint32_t session_id, uint32_t rule_id, const struct process *process)
{
    struct rule *rule = calloc(1, sizeof *rule);
    if (rule == NULL)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    rule->session_id = session_id;
    rule->rule_id = rule_id;
    rule->match = CBP_RULE_MATCH_PROCESS;
    rule->children = CBP_RULE_FLAG_CHILDREN;
    rule->action = CBP_ACTION_ASK;
    rule->process_id = process->pid;
    rule->start_time = process->start_time;
    install_rule(rule);
    return 0;
}

/* A list keeps plain pointers to rules: the dead processes that descendants keep must forget the rule too. */
static void forget_rule(struct process *process, const struct rule *rule)
{
    for (; process != NULL; process = process->parent) {
        process->inherited = list_without(process->inherited, rule);
        process->bequest = list_without(process->bequest, rule);
    }
}

static void drop_rule(struct rule **link)
{
    struct rule *rule = *link;
    *link = rule->next;
    count_rule(rule, UINT32_MAX);
    for (struct process *process = self.processes; process != NULL; process = process->next)
        forget_rule(process, rule);
    for (struct task *task = self.tasks; task != NULL; task = task->next)
        forget_rule(task->process, rule);
    self.rules_generation++;
    free(rule);
}

static struct rule **find_rule(uint32_t session_id, uint32_t rule_id)
{
    struct rule **link = &self.rules;
    while (*link != NULL && ((*link)->session_id != session_id || (*link)->rule_id != rule_id))
        link = &(*link)->next;
    return link;
}

uint32_t remove_rule(uint32_t session_id, uint32_t rule_id)
{
    struct rule **link = find_rule(session_id, rule_id);
    if (*link == NULL)
        return CBP_ERROR_NOT_FOUND;
    drop_rule(link);
    evaluate_all();
    let_released_go();
    return 0;
}

/* The tree of a launch is gone, all of it: nobody has its rule any more. */
void forget_launch_rule(const struct process *process)
{
    struct rule **link = find_rule(process->launch_session_id, process->launch_rule_id);
    if (process->launch_rule_id == 0 || *link == NULL)
        return;
    struct rule *rule = *link;
    *link = rule->next;
    count_rule(rule, UINT32_MAX);
    free(rule);
}

void remove_session_rules(uint32_t session_id)
{
    for (struct rule **link = &self.rules; *link != NULL;)
        if ((*link)->session_id == session_id)
            drop_rule(link);
        else
            link = &(*link)->next;
    evaluate_all();
    let_released_go();
}
