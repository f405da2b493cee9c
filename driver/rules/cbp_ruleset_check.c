/* Validates a rule set; see cbp_ruleset.h. Each step may rely on what earlier steps have checked. */
#include "cbp_ruleset_layout.h"

static bool is_within(uint32_t value, uint32_t least, uint32_t most)
{
    return value >= least && value <= most;
}

uint32_t cbpd_ruleset_lay_out(const struct cbp_ruleset *set, uint32_t *offsets)
{
    const uint64_t sizes[CBP_RULESET_SECTION_COUNT] = {
        (uint64_t) set->pattern_count * sizeof(struct cbp_ruleset_pattern),
        (uint64_t) set->pattern_count * sizeof(uint64_t),
        (uint64_t) set->process_count * sizeof(struct cbp_ruleset_process),
        ((uint64_t) 1 << set->filter_bits) * sizeof(uint64_t),
        (((uint64_t) 1 << set->bucket_bits) + 1) * sizeof(uint32_t),
        (uint64_t) set->rule_count * sizeof(struct cbp_ruleset_rule),
        (uint64_t) set->text_size * (set->comparison == CBP_COMPARE_UTF16 ? 2u : 1u),
    };
    uint64_t end = sizeof *set;
    for (uint32_t i = 0; i < CBP_RULESET_SECTION_COUNT; i++) {
        offsets[i] = (uint32_t) end;
        end += sizes[i];
    }
    return (uint32_t) end;
}

static bool header_is_sound(const struct cbp_ruleset *set, size_t size)
{
    uint32_t offsets[CBP_RULESET_SECTION_COUNT];
    if (set->magic != CBP_RULESET_MAGIC || set->version != CBP_RULESET_VERSION || set->size != size ||
        !is_within(set->comparison, CBP_COMPARE_BYTES, CBP_COMPARE_UTF16) ||
        set->rule_count > CBP_RULESET_RULE_MAX || set->process_count > set->rule_count ||
        set->pattern_count > set->rule_count || set->text_size > CBP_RULESET_TEXT_MAX ||
        set->first_rule > set->rule_count ||
        !is_within(set->filter_bits, CBP_RULESET_FILTER_BITS_MIN, CBP_RULESET_FILTER_BITS_MAX) ||
        !is_within(set->bucket_bits, CBP_RULESET_BUCKET_BITS_MIN, CBP_RULESET_BUCKET_BITS_MAX))
        return false;
    if (cbpd_ruleset_lay_out(set, offsets) != size)
        return false;
    for (uint32_t i = 0; i < CBP_RULESET_SECTION_COUNT; i++)
        if (set->offsets[i] != offsets[i])
            return false;
    for (uint32_t i = 0; i < sizeof set->reserved / sizeof set->reserved[0]; i++)
        if (set->reserved[i] != 0)
            return false;
    return true;
}

static bool action_is_sound(const struct cbp_ruleset_rule *rule)
{
    bool takes_value = rule->action == CBP_ACTION_DENY || rule->action == CBP_ACTION_STRIP;
    return rule->action <= CBP_ACTION_STRIP && takes_value == (rule->action_value != 0) &&
           (rule->flags & ~(uint32_t) (CBP_RULE_FLAG_CHILDREN | CBP_RULE_FLAG_ATTACH)) == 0;
}

/* Rule ids must rise and chains lead forwards: so every chain ends. */
static bool rules_are_sound(const struct cbp_ruleset *set)
{
    const struct cbp_ruleset_rule *rules = cbp_ruleset_section(set, CBP_RULESET_RULES);
    uint32_t last_id = 0;
    for (uint32_t i = 0; i < set->rule_count; i++) {
        if (rules[i].rule_id <= last_id || rules[i].match > CBP_RULE_MATCH_NAME ||
            !action_is_sound(&rules[i]) || rules[i].reserved != 0)
            return false;
        if (rules[i].next != 0 && !is_within(rules[i].next, i + 2, set->rule_count))
            return false;
        last_id = rules[i].rule_id;
    }
    return true;
}

/* Counts the rules of a chain. False: it has none, or one that is not this owner's. */
static bool count_chain(const struct cbp_ruleset *set, uint32_t first, uint32_t match, uint32_t owner,
                        uint32_t *total)
{
    const struct cbp_ruleset_rule *rules = cbp_ruleset_section(set, CBP_RULESET_RULES);
    if (!is_within(first, 1, set->rule_count))
        return false;
    for (uint32_t next = first; next != 0; next = rules[next - 1].next, ++*total)
        if (rules[next - 1].match != match || rules[next - 1].owner != owner)
            return false;
    return true;
}

/* Chains of different owners cannot meet. If together they have all rules, each rule is in one. */
static bool chains_are_sound(const struct cbp_ruleset *set)
{
    const struct cbp_ruleset_process *processes = cbp_ruleset_section(set, CBP_RULESET_PROCESSES);
    const struct cbp_ruleset_pattern *patterns = cbp_ruleset_section(set, CBP_RULESET_PATTERNS);
    uint32_t total = 0;
    if (set->first_rule != 0 && !count_chain(set, set->first_rule, CBP_RULE_MATCH_ALL, 0, &total))
        return false;
    for (uint32_t i = 0; i < set->process_count; i++)
        if (!count_chain(set, processes[i].first_rule, CBP_RULE_MATCH_PROCESS, i, &total))
            return false;
    for (uint32_t i = 0; i < set->pattern_count; i++)
        if (!count_chain(set, patterns[i].first_rule, CBP_RULE_MATCH_NAME, i, &total))
            return false;
    return total == set->rule_count;
}

static bool processes_are_sorted(const struct cbp_ruleset *set)
{
    const struct cbp_ruleset_process *processes = cbp_ruleset_section(set, CBP_RULESET_PROCESSES);
    for (uint32_t i = 1; i < set->process_count; i++) {
        const struct cbp_ruleset_process *left = &processes[i - 1], *right = &processes[i];
        if (left->process_id > right->process_id ||
            (left->process_id == right->process_id && left->start_time >= right->start_time))
            return false;
    }
    return true;
}

static bool units_are_sound(const struct cbp_text *text)
{
    for (size_t i = 0; i < text->size; i++) {
        uint32_t unit = cbp_text_unit(text, i);
        if (unit == 0)
            return false;
        if (text->comparison == CBP_COMPARE_UTF16 && ((const uint16_t *) text->units)[i] != unit)
            return false;
    }
    return true;
}

/* Says whether a search finds a pattern with this key in this bucket. The last bucket is for NO_KEY. */
static bool is_reachable(const struct cbp_ruleset *set, const struct cbp_ruleset_key *key, uint32_t bucket)
{
    const uint64_t *filter = cbp_ruleset_section(set, CBP_RULESET_FILTER);
    uint64_t bits = cbp_ruleset_filter_bits(key->hash);
    if (key->kind == CBP_RULESET_NO_KEY)
        return bucket == (uint32_t) 1 << set->bucket_bits;
    return bucket == key->hash >> (32 - set->bucket_bits) &&
           (filter[key->hash >> (32 - set->filter_bits)] & bits) == bits &&
           (set->key_sizes[key->kind] >> (key->size - 1u) & 1) != 0;
}

/* The texts of patterns must follow one another; text_end is the end of the one before. */
static bool pattern_is_sound(const struct cbp_ruleset *set, uint32_t index, uint32_t bucket,
                             uint32_t text_end)
{
    const struct cbp_ruleset_pattern *patterns = cbp_ruleset_section(set, CBP_RULESET_PATTERNS);
    const struct cbp_ruleset_pattern *pattern = &patterns[index];
    const uint64_t *pairs = cbp_ruleset_section(set, CBP_RULESET_PAIRS);
    struct cbp_ruleset_key key;
    uint32_t most = set->comparison == CBP_COMPARE_UTF16 ? CBP_RULESET_UTF16_MAX : CBP_PATTERN_SIZE_MAX;
    if (pattern->text != text_end || !is_within(pattern->size, 1, most) ||
        pattern->size > set->text_size - text_end)
        return false;
    struct cbp_text text = cbp_ruleset_text(set, pattern);
    return units_are_sound(&text) && cbpd_ruleset_describe(&text, pattern->kind, &key) &&
           key.is_path == pattern->is_path && key.hash == pattern->hash && key.pairs == pairs[index] &&
           is_reachable(set, &key, bucket);
}

static bool patterns_are_sound(const struct cbp_ruleset *set)
{
    const struct cbp_ruleset_pattern *patterns = cbp_ruleset_section(set, CBP_RULESET_PATTERNS);
    const uint32_t *buckets = cbp_ruleset_section(set, CBP_RULESET_BUCKETS);
    uint32_t bucket_count = (uint32_t) 1 << set->bucket_bits, pattern = 0, text_end = 0;
    if (buckets[0] != 0)
        return false;
    for (uint32_t bucket = 0; bucket <= bucket_count; bucket++) {
        uint32_t end = bucket < bucket_count ? buckets[bucket + 1] : set->pattern_count;
        if (!is_within(end, pattern, set->pattern_count))
            return false;
        for (; pattern < end; pattern++) {
            if (!pattern_is_sound(set, pattern, bucket, text_end))
                return false;
            text_end += patterns[pattern].size;
        }
    }
    return text_end == set->text_size;
}

uint32_t cbpd_ruleset_validate(const void *block, size_t size)
{
    const struct cbp_ruleset *set = block;
    if (((uintptr_t) block & 7u) != 0 || size < sizeof *set || !header_is_sound(set, size) ||
        !rules_are_sound(set) || !chains_are_sound(set) || !processes_are_sorted(set) ||
        !patterns_are_sound(set))
        return CBP_ERROR_INVALID_DATA;
    return 0;
}
