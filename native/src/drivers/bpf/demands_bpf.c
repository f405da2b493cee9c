/* Implements demands_bpf.h. */
#include "demands_bpf.h"

#include "cbp_ruleset_layout.h"
#include "errors.h"

#include <stdlib.h>
#include <string.h>

struct survey {
    const struct cbpi_machine *machine;
    bool asks_of_creations; /* or denies them */
    bool is_broad;          /* some rule about creations is not for exact paths */
    bool wants_handles, wants_gate;
    struct cbpi_demands *demands;
    uint32_t capacity;
    bool is_lacking;
};

static void add_path(struct survey *survey, const char *path, uint32_t size)
{
    struct cbpi_demands *demands = survey->demands;
    if (demands->paths_size + size + 1 > survey->capacity) {
        uint32_t capacity = 2 * (demands->paths_size + size + 1);
        char *grown = realloc(demands->paths, capacity);
        if (!grown) {
            survey->is_lacking = true;
            return;
        }
        demands->paths = grown;
        survey->capacity = capacity;
    }
    memcpy(demands->paths + demands->paths_size, path, size);
    demands->paths[demands->paths_size + size] = '\0';
    demands->paths_size += size + 1;
}

/* Says whether the pattern names one file, by an absolute path. */
static bool is_exact_path(const struct cbp_text *text)
{
    const char *bytes = text->units;
    return text->size > 0 && bytes[0] == '/' && !memchr(bytes, '*', text->size) &&
           !memchr(bytes, '?', text->size);
}

static bool concerns_creation(const struct cbp_ruleset_rule *rule, uint32_t events)
{
    return rule->action == CBP_ACTION_DENY ||
           (rule->action == CBP_ACTION_ASK && (events & CBP_PROC_EVT_PROCESS_CREATION) != 0);
}

static void survey_rule(struct survey *survey, const struct cbp_ruleset *set,
                        const struct cbp_ruleset_rule *rule, uint32_t events)
{
    if (rule->action > CBP_ACTION_STRIP)
        return; /* it has been taken out */
    survey->wants_handles |= (events & CBPD_HANDLE_OPERATIONS) != 0 || rule->action == CBP_ACTION_STRIP;
    survey->wants_gate |= rule->action == CBP_ACTION_DENY || (rule->action == CBP_ACTION_ASK && events != 0);
    if (!concerns_creation(rule, events))
        return;
    survey->asks_of_creations = true;
    const struct cbp_ruleset_pattern *patterns = cbp_ruleset_section(set, CBP_RULESET_PATTERNS);
    if (rule->match != CBP_RULE_MATCH_NAME || (rule->flags & CBP_RULE_FLAG_CHILDREN) != 0) {
        survey->is_broad = true;
        return;
    }
    const struct cbp_text text = cbp_ruleset_text(set, &patterns[rule->owner]);
    if (is_exact_path(&text))
        add_path(survey, text.units, (uint32_t) text.size);
    else
        survey->is_broad = true;
}

static void survey_set(struct survey *survey, const struct cbpd_rule_set *set, uint32_t place)
{
    uint32_t events = survey->machine->policy.sessions[place].settings.events;
    for (uint32_t i = 0; i < cbpd_ruleset_rule_count(set->block); i++)
        survey_rule(survey, set->block, cbpd_ruleset_rule_at(set->block, i), events);
}

/* Gives the set that is in force once the coming rules are. */
static const struct cbpd_rule_set *set_of(const struct cbpi_machine *machine,
                                          const struct cbpi_coming_rules *coming, uint32_t place,
                                          uint32_t part)
{
    if (!coming || coming->place != place)
        return machine->policy.rules[place][part];
    if (coming->part == part)
        return coming->set;
    return coming->part == CBP_RULES_PART_MAIN ? NULL : machine->policy.rules[place][part];
}

/* Adds the paths of HoldPaths. False: a session has none, so every file system is meant. */
static bool add_hold_paths(struct survey *survey)
{
    const struct cbpd_policy *policy = &survey->machine->policy;
    survey->demands->paths_size = 0;
    for (uint32_t i = 0; i < policy->session_count; i++) {
        const char *at = survey->machine->sessions[policy->order[i]]->hold_paths;
        if (!*at)
            return false;
        while (*at) {
            uint32_t size = (uint32_t) strcspn(at, ":");
            if (size > 0)
                add_path(survey, at, size);
            at += size + (at[size] == ':');
        }
    }
    return true;
}

static bool refuses_by_kill(const struct cbpi_machine *machine)
{
    const struct cbpd_policy *policy = &machine->policy;
    for (uint32_t i = 0; i < policy->session_count; i++)
        if (policy->sessions[policy->order[i]].settings.refuse_with != CBP_REFUSE_WITH_KILL)
            return false;
    return (machine->guard.abilities & CBP_GUARD_CAN_GATE) != 0;
}

static void choose_marks(struct survey *survey)
{
    struct cbpi_demands *demands = survey->demands;
    bool can_hold = (survey->machine->guard.abilities & CBP_GUARD_CAN_HOLD_FILES) != 0;
    if (!survey->asks_of_creations || !can_hold || refuses_by_kill(survey->machine))
        demands->marks = CBP_GUARD_MARKS_NONE;
    else if (!survey->is_broad)
        demands->marks = CBP_GUARD_MARKS_FILES;
    else
        demands->marks = add_hold_paths(survey) ? CBP_GUARD_MARKS_FILESYSTEMS : CBP_GUARD_MARKS_EVERYTHING;
    if (demands->marks == CBP_GUARD_MARKS_NONE || demands->marks == CBP_GUARD_MARKS_EVERYTHING)
        demands->paths_size = 0;
}

uint32_t cbpi_demands_of(const struct cbpi_machine *machine, const struct cbpi_coming_rules *coming,
                         struct cbpi_demands *demands)
{
    const struct cbpd_policy *policy = &machine->policy;
    struct survey survey = {.machine = machine, .demands = demands};
    *demands = (struct cbpi_demands){.programs = CBP_GUARD_PROGRAM_PROCESSES};
    for (uint32_t i = 0; i < policy->session_count; i++)
        for (uint32_t part = 0; part < CBP_RULES_PART_COUNT; part++) {
            const struct cbpd_rule_set *set = set_of(machine, coming, policy->order[i], part);
            if (set)
                survey_set(&survey, set, policy->order[i]);
        }
    choose_marks(&survey);
    if (survey.wants_handles && machine->guard.abilities & CBP_GUARD_CAN_SEE_HANDLES)
        demands->programs |= CBP_GUARD_PROGRAM_HANDLES;
    if (survey.wants_gate && machine->guard.abilities & CBP_GUARD_CAN_GATE)
        demands->programs |= CBP_GUARD_PROGRAM_GATE;
    if (!survey.is_lacking)
        return 0;
    free(demands->paths);
    demands->paths = NULL;
    return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for the paths of rules");
}
