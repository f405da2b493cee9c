/* Implements played_processes.h. */
#include "played_processes.h"

#include "cbp_wtf8.h"
#include "errors.h"
#include "memory.h"

#include <stdlib.h>
#include <string.h>

/* ---- What the policy wants ---- */

static void *allocate(size_t size, bool surely)
{
    (void) surely;
    return calloc(1, size);
}

/* Gives the units of a name. A text that is not WTF-8 is the name of no process. */
static const void *name_units(void *context, const char *name, uint32_t size, size_t *count)
{
    struct cbpi_population *population = context;
    *count = size;
    if (CBP_COMPARE_SYSTEM != CBP_COMPARE_UTF16)
        return name;
    uint16_t *units = cbpi_grow(population->units, sizeof *units, size, &population->unit_capacity);
    if (!units)
        return NULL;
    population->units = units;
    *count = cbpd_wtf8_decode(name, size, population->units);
    return *count != SIZE_MAX ? population->units : NULL;
}

/* ---- Processes ---- */

void cbpi_population_update(struct cbpi_population *population, const struct cbpi_session_settings *settings)
{
    uint32_t place;
    _Static_assert(CBPI_SCRIPT_SESSION == 0, "settings have no session id");
    (void) cbpd_set_session(&population->policy, 0, &settings->policy, &place);
}

uint32_t cbpi_population_init(struct cbpi_population *population,
                              const struct cbpi_session_settings *settings)
{
    population->host = (struct cbpd_host){.allocate = allocate,
                                          .release = free,
                                          .process_size = sizeof(struct cbpi_member),
                                          .name_comparison = CBP_COMPARE_SYSTEM,
                                          .name_units = name_units,
                                          .context = population};
    if (!cbpd_policy_init(&population->policy, &population->host))
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a script's processes");
    cbpi_population_update(population, settings);
    return 0;
}

void cbpi_population_end(struct cbpi_population *population, struct cbpd_process *process)
{
    if (process->ended)
        return;
    cbpd_end_process(&population->policy, process);
    cbpd_release_process(&population->policy, process);
}

void cbpi_population_execute(struct cbpi_population *population, struct cbpd_process *process,
                             const struct cbpd_image_file *file)
{
    struct cbpd_image *image = cbpd_make_image(&population->policy, file, 1, false);
    if (image)
        cbpd_execute(&population->policy, process, image, NULL);
}

void cbpi_population_free(struct cbpi_population *population)
{
    struct cbpd_policy *policy = &population->policy;
    while (policy->processes)
        cbpi_population_end(population, policy->processes);
    cbpd_release_list(policy, population->bound);
    cbpd_policy_free(policy);
    free(population->units);
}

/* ---- Rules without a start time ---- */

static bool is_in_force(const struct cbpd_policy *policy, uint32_t rule_id)
{
    for (uint32_t part = 0; part < CBP_RULES_PART_COUNT; part++) {
        const struct cbpd_rule_set *set = policy->rules[CBPI_SCRIPT_SESSION][part];
        if (set && cbpd_ruleset_find(set->block, rule_id) < cbpd_ruleset_rule_count(set->block))
            return true;
    }
    return false;
}

static bool list_has(const struct cbpd_rule_list *list, uint32_t rule_id)
{
    for (uint32_t i = 0; list && i < list->count; i++)
        if (list->refs[i].rule_id == rule_id)
            return true;
    return false;
}

/* Adds the rule to the list, and forgets rules that are not in force any more. Without memory it is left out.
 */
static void note(const struct cbpd_policy *policy, uint32_t rule_id, struct cbpd_rule_list **list)
{
    const struct cbpd_rule_list *old = *list;
    uint32_t count = 0, capacity = (old ? old->count : 0) + 1;
    struct cbpd_rule_ref *refs = malloc(capacity * sizeof *refs);
    if (!refs)
        return;
    for (uint32_t i = 0; old && i < old->count; i++)
        if (is_in_force(policy, old->refs[i].rule_id))
            refs[count++] = old->refs[i];
    refs[count++] =
        (struct cbpd_rule_ref){.place = CBPI_SCRIPT_SESSION,
                               .session_serial = (uint32_t) policy->sessions[CBPI_SCRIPT_SESSION].opened,
                               .rule_id = rule_id};
    struct cbpd_rule_list *made = cbpd_make_list(policy, refs, count);
    free(refs);
    if (made == cbpd_unknown_rules())
        return;
    cbpd_release_list(policy, *list);
    *list = made;
}

bool cbpi_population_is_of_earlier(const struct cbpi_population *population, uint32_t rule_id,
                                   uint32_t process_id)
{
    const struct cbpd_process *process = cbpd_find_process(&population->policy, process_id);
    return list_has(population->bound, rule_id) && !(process && list_has(process->own, rule_id));
}

static void bind(struct cbpi_population *population, uint32_t rule_id, struct cbpd_process *process)
{
    note(&population->policy, rule_id, &population->bound);
    note(&population->policy, rule_id, &process->own);
    cbpd_rename_standing(process);
}

/* Gives a new process the rules that have waited for its id. */
static void bind_waiting(struct cbpi_population *population, struct cbpd_process *process)
{
    for (uint32_t part = 0; part < CBP_RULES_PART_COUNT; part++) {
        const struct cbpd_rule_set *set = population->policy.rules[CBPI_SCRIPT_SESSION][part];
        uint32_t count =
            set && set->match_counts[CBP_RULE_MATCH_PROCESS] > 0 ? cbpd_ruleset_rule_count(set->block) : 0;
        for (uint32_t i = 0; i < count; i++) {
            uint32_t process_id, rule_id = cbpd_ruleset_rule_at(set->block, i)->rule_id;
            uint64_t start_time;
            cbpd_ruleset_process_of(set->block, i, &process_id, &start_time);
            if (process_id == process->pid && start_time == 0 && !list_has(population->bound, rule_id))
                bind(population, rule_id, process);
        }
    }
}

/* Gives the new rules of a set to the processes that they are for, if those live. */
static void bind_new(struct cbpi_population *population, const struct cbpd_rule_set *set)
{
    const struct cbpd_policy *policy = &population->policy;
    uint32_t newer_than = policy->sessions[CBPI_SCRIPT_SESSION].last_rule_id;
    for (uint32_t i = cbpd_ruleset_rule_count(set->block); i-- > 0;) {
        const struct cbp_ruleset_rule *rule = cbpd_ruleset_rule_at(set->block, i);
        uint32_t process_id;
        uint64_t start_time;
        if (rule->rule_id <= newer_than)
            return;
        cbpd_ruleset_process_of(set->block, i, &process_id, &start_time);
        struct cbpd_process *process =
            process_id != 0 && start_time == 0 ? cbpd_find_process(policy, process_id) : NULL;
        if (process)
            bind(population, rule->rule_id, process);
    }
}

struct cbpd_process *cbpi_population_add(struct cbpi_population *population, uint32_t process_id,
                                         uint64_t start_time, struct cbpd_process *parent)
{
    struct cbpd_policy *policy = &population->policy;
    struct cbpd_process *before = cbpd_find_process(policy, process_id);
    struct cbpd_process *process = cbpd_add_process(policy, process_id, parent);
    if (!process)
        return NULL;
    if (before)
        cbpi_population_end(population, before); /* its end is not in the script */
    process->reference_count = 1;
    process->start_time = start_time;
    bind_waiting(population, process);
    if (parent) {
        process->creator_tenure = parent->tenure;
        process->image = cbpd_share_image(parent->image);
        cbpd_inherit_rules(policy, process, parent);
    }
    return process;
}

uint32_t cbpi_population_set_rules(struct cbpi_population *population, const struct cbpi_rules_change *change)
{
    const struct cbp_rules request = {.part = change->part, .gone_rule_id = change->gone_rule_id};
    struct cbpd_rule_set *set;
    void *block = malloc(change->size);
    if (!block)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for the rules");
    memcpy(block, change->set, change->size);
    uint32_t error = cbpd_make_rule_set(&population->host, block, change->size, &set);
    if (error != 0)
        return cbpi_fail(error, "no memory for the rules");
    bind_new(population, set);
    cbpd_install_rules(&population->policy, &request, CBPI_SCRIPT_SESSION, set);
    return 0;
}
