/* Makes rules for tests. */
#include "actor.h"

struct cbpi_rule rule_by_name(uint32_t rule_id, const char *pattern, uint32_t action, uint32_t value)
{
    return (struct cbpi_rule){.rule_id = rule_id,
                              .match = CBP_RULE_MATCH_NAME,
                              .action = action,
                              .action_value = value,
                              .pattern = pattern,
                              .pattern_size = (uint32_t) strlen(pattern)};
}

struct cbpi_rule rule_for_all(uint32_t rule_id, uint32_t action, uint32_t value)
{
    return (struct cbpi_rule){
        .rule_id = rule_id, .match = CBP_RULE_MATCH_ALL, .action = action, .action_value = value};
}

struct cbpi_rule rule_for_process(uint32_t rule_id, uint32_t pid, uint32_t action, uint32_t value)
{
    return (struct cbpi_rule){.rule_id = rule_id,
                              .match = CBP_RULE_MATCH_PROCESS,
                              .process_id = pid,
                              .action = action,
                              .action_value = value};
}
