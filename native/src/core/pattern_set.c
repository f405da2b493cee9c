/* Compares many patterns with one name, for programs that decide by names themselves. */
#include "core.h"

#include "cbp_wtf8.h"
#include "ruleset_build.h"

#include <stdlib.h>

struct cbp_pattern_set {
    struct cbp_ruleset *rules; /* rule id = number of the pattern + 1 */
    uint32_t comparison;
};

static uint32_t make_rules(const char *const *patterns, const uint64_t *pattern_sizes, uint32_t count,
                           struct cbpi_rule *rules)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!patterns[i] || pattern_sizes[i] == 0 || pattern_sizes[i] > CBP_PATTERN_SIZE_MAX)
            return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "pattern %u: a pattern has 1 to %u bytes",
                             (unsigned) i, (unsigned) CBP_PATTERN_SIZE_MAX);
        rules[i] = (struct cbpi_rule){.rule_id = i + 1,
                                      .match = CBP_RULE_MATCH_NAME,
                                      .pattern = patterns[i],
                                      .pattern_size = (uint32_t) pattern_sizes[i]};
    }
    return 0;
}

uint32_t cbp_pattern_set_create(const char *const *patterns, const uint64_t *pattern_sizes, uint32_t count,
                                uint32_t as_on_windows, struct cbp_pattern_set **set)
{
    size_t size;
    if (!set || (count != 0 && (!patterns || !pattern_sizes)) || as_on_windows > 1)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "an argument is NULL, or as_on_windows not 0 or 1");
    struct cbp_pattern_set *made = malloc(sizeof *made);
    struct cbpi_rule *rules = calloc((size_t) count + 1, sizeof *rules);
    uint32_t error = CBP_ERROR_NOT_ENOUGH_MEMORY;
    if (!made || !rules)
        goto cleanup;
    made->comparison = as_on_windows ? CBP_COMPARE_UTF16 : CBP_COMPARE_BYTES;
    error = make_rules(patterns, pattern_sizes, count, rules);
    if (error != 0)
        goto cleanup;
    error = cbpi_ruleset_build(made->comparison, rules, count, &made->rules, &size);
    if (error == 0)
        *set = made;
    else
        cbpi_fail(error, "a pattern has a NUL or is not UTF-8, there are too many, or no memory");
cleanup:
    free(rules);
    if (error != 0)
        free(made);
    return error;
}

uint32_t cbp_pattern_set_match(const struct cbp_pattern_set *set, const char *name, uint64_t name_size,
                               uint32_t *indices, uint32_t capacity, uint32_t *count)
{
    if (!set || (!name && name_size != 0) || (!indices && capacity != 0) || !count)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "an argument is NULL");
    const void *units = name;
    size_t unit_count = (size_t) name_size;
    uint16_t *decoded = NULL;
    uint32_t error = CBP_ERROR_NOT_ENOUGH_MEMORY;
    uint64_t *matches = calloc((size_t) cbpd_ruleset_word_count(set->rules) + 1, sizeof *matches);
    if (!matches)
        goto cleanup;
    if (set->comparison == CBP_COMPARE_UTF16) {
        decoded = malloc(((size_t) name_size + 1) * sizeof *decoded);
        if (!decoded)
            goto cleanup;
        error = CBP_ERROR_INVALID_PARAMETER;
        unit_count = cbpd_wtf8_decode(name, (size_t) name_size, decoded);
        if (unit_count == SIZE_MAX)
            goto cleanup;
        units = decoded;
    }
    cbpd_ruleset_match_name(set->rules, units, unit_count, matches);
    uint32_t rule_count = cbpd_ruleset_rule_count(set->rules), found = 0;
    for (uint32_t i = 0; (i = cbpd_ruleset_next(set->rules, matches, i)) < rule_count; i++)
        if (found++ < capacity)
            indices[found - 1] = i;
    *count = found;
    error = 0;
cleanup:
    free(matches);
    free(decoded);
    return error == 0 ? 0 : cbpi_fail(error, "the name is not UTF-8, or no memory");
}

void cbp_pattern_set_destroy(struct cbp_pattern_set *set)
{
    if (set)
        free(set->rules);
    free(set);
}
