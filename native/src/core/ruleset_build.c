/* Implements ruleset_build.h. It works on drafts, one for each different pattern, and writes the block at the
 * end, when the order of the patterns is known. */
#include "ruleset_build.h"

#include "cbp_ruleset_layout.h"
#include "cbp_wtf8.h"

#include <stdlib.h>
#include <string.h>

struct draft {
    struct cbp_ruleset_pattern pattern; /* its text is where it stands in the build's units */
    struct cbp_ruleset_key key;
    struct cbp_ruleset_key other; /* its other key, if it has two; else the size is 0 */
    uint32_t text_hash;
    uint32_t last_rule; /* index + 1 */
    uint32_t place;     /* in the block */
};

struct build {
    struct cbp_ruleset header;
    const struct cbpi_rule **sorted; /* by id */
    struct cbp_ruleset_rule *rules;  /* in the same order */
    struct cbp_ruleset_process *processes;
    struct draft *drafts;
    uint32_t *slots; /* open addressing by text_hash: number of a draft + 1 */
    uint32_t slot_mask;
    uint32_t *buckets; /* as in the block; until the patterns are placed, how many each key would draw */
    void *units;
    uint32_t unit_count;
};

static uint32_t bits_for(uint64_t value, uint32_t least)
{
    uint32_t bits = least;
    while ((uint64_t) 1 << bits < value)
        bits++;
    return bits;
}

static struct cbp_text text_of(const struct build *build, const struct cbp_ruleset_pattern *pattern)
{
    size_t unit_size = build->header.comparison == CBP_COMPARE_UTF16 ? 2 : 1;
    return (struct cbp_text){(char *) build->units + pattern->text * unit_size, pattern->size,
                             build->header.comparison};
}

static int by_id(const void *left, const void *right)
{
    uint32_t a = (*(const struct cbpi_rule *const *) left)->rule_id;
    uint32_t b = (*(const struct cbpi_rule *const *) right)->rule_id;
    return (a > b) - (a < b);
}

/* Sorts the rules and makes their records, except owner and next. */
static uint32_t take_rules(struct build *build, const struct cbpi_rule *rules)
{
    uint32_t count = build->header.rule_count, last_id = 0;
    bool is_sorted = true;
    for (uint32_t i = 0; i < count; i++) {
        build->sorted[i] = &rules[i];
        is_sorted = is_sorted && (i == 0 || rules[i].rule_id > rules[i - 1].rule_id);
    }
    if (!is_sorted)
        qsort(build->sorted, count, sizeof(struct cbpi_rule *), by_id);
    for (uint32_t i = 0; i < count; i++) {
        const struct cbpi_rule *rule = build->sorted[i];
        bool takes_value = rule->action == CBP_ACTION_DENY || rule->action == CBP_ACTION_STRIP;
        if (rule->rule_id == last_id || rule->match > CBP_RULE_MATCH_NAME ||
            rule->action > CBP_ACTION_STRIP || takes_value != (rule->action_value != 0) ||
            (rule->flags & ~(uint32_t) (CBP_RULE_FLAG_CHILDREN | CBP_RULE_FLAG_ATTACH)) != 0)
            return CBP_ERROR_INVALID_PARAMETER;
        last_id = rule->rule_id;
        build->rules[i] = (struct cbp_ruleset_rule){.rule_id = rule->rule_id,
                                                    .match = (uint8_t) rule->match,
                                                    .flags = (uint8_t) rule->flags,
                                                    .action = (uint8_t) rule->action,
                                                    .action_value = rule->action_value};
    }
    return 0;
}

/* Appends rule number index to the chain that begins at *first and ends at *last, both index + 1. */
static void chain(struct build *build, uint32_t *first, uint32_t *last, uint32_t index)
{
    if (*first == 0)
        *first = index + 1;
    else
        build->rules[*last - 1].next = index + 1;
    *last = index + 1;
}

/* Appends a rule's pattern, folded, to the units; its place and size go to *pattern. */
static uint32_t take_text(struct build *build, const struct cbpi_rule *rule,
                          struct cbp_ruleset_pattern *pattern)
{
    size_t count = rule->pattern_size, most = CBP_PATTERN_SIZE_MAX;
    if (count == 0 || memchr(rule->pattern, 0, count))
        return CBP_ERROR_INVALID_PARAMETER;
    if (build->header.comparison == CBP_COMPARE_UTF16) {
        uint16_t *units = (uint16_t *) build->units + build->unit_count;
        most = CBP_RULESET_UTF16_MAX;
        count = cbpd_wtf8_decode(rule->pattern, rule->pattern_size, units);
        for (size_t i = 0; count != SIZE_MAX && i < count; i++)
            units[i] = (uint16_t) cbp_fold_unit(units[i]);
    } else {
        memcpy((char *) build->units + build->unit_count, rule->pattern, count);
    }
    if (count > most)
        return CBP_ERROR_INVALID_PARAMETER;
    *pattern = (struct cbp_ruleset_pattern){.text = build->unit_count, .size = (uint16_t) count};
    return 0;
}

static bool has_text(const struct build *build, const struct draft *draft, uint32_t hash,
                     const struct cbp_text *text)
{
    struct cbp_text own = text_of(build, &draft->pattern);
    size_t unit_size = text->comparison == CBP_COMPARE_UTF16 ? 2 : 1;
    return draft->text_hash == hash && own.size == text->size &&
           memcmp(own.units, text->units, text->size * unit_size) == 0;
}

/* Gives the draft of this pattern, a new one if there is none; pattern stands at the end of the units. */
static struct draft *draft_of(struct build *build, const struct cbp_ruleset_pattern *pattern)
{
    struct cbp_text text = text_of(build, pattern);
    uint32_t hash = CBP_RULESET_HASH_START;
    for (size_t i = 0; i < text.size; i++)
        hash = cbp_ruleset_hash_unit(hash, cbp_text_unit(&text, i));
    hash = cbp_ruleset_hash_end(hash, 0);
    uint32_t slot = hash & build->slot_mask;
    for (; build->slots[slot] != 0; slot = (slot + 1) & build->slot_mask)
        if (has_text(build, &build->drafts[build->slots[slot] - 1], hash, &text))
            return &build->drafts[build->slots[slot] - 1];
    struct draft *draft = &build->drafts[build->header.pattern_count++];
    *draft = (struct draft){.pattern = *pattern, .text_hash = hash};
    build->slots[slot] = build->header.pattern_count;
    build->unit_count += pattern->size;
    return draft;
}

/* Gives each rule its owner: none, a draft, or for now a process of its own. */
static uint32_t take_owners(struct build *build)
{
    uint32_t last_for_all = 0;
    for (uint32_t i = 0; i < build->header.rule_count; i++) {
        const struct cbpi_rule *rule = build->sorted[i];
        struct cbp_ruleset_pattern pattern;
        if (rule->match == CBP_RULE_MATCH_ALL) {
            chain(build, &build->header.first_rule, &last_for_all, i);
        } else if (rule->match == CBP_RULE_MATCH_PROCESS) {
            build->processes[build->header.process_count++] =
                (struct cbp_ruleset_process){rule->start_time, rule->process_id, i + 1};
        } else {
            uint32_t error = take_text(build, rule, &pattern);
            if (error != 0)
                return error;
            struct draft *draft = draft_of(build, &pattern);
            chain(build, &draft->pattern.first_rule, &draft->last_rule, i);
            build->rules[i].owner = (uint32_t) (draft - build->drafts);
        }
    }
    return 0;
}

static int by_process(const void *left, const void *right)
{
    const struct cbp_ruleset_process *a = left, *b = right;
    if (a->process_id != b->process_id)
        return a->process_id < b->process_id ? -1 : 1;
    if (a->start_time != b->start_time)
        return a->start_time < b->start_time ? -1 : 1;
    return (a->first_rule > b->first_rule) - (a->first_rule < b->first_rule);
}

/* Puts the rules for the same process together. */
static void merge_processes(struct build *build)
{
    struct cbp_ruleset_process *processes = build->processes;
    uint32_t count = 0, last = 0;
    qsort(processes, build->header.process_count, sizeof *processes, by_process);
    for (uint32_t i = 0; i < build->header.process_count; i++) {
        struct cbp_ruleset_process own = processes[i];
        if (count == 0 || processes[count - 1].process_id != own.process_id ||
            processes[count - 1].start_time != own.start_time)
            processes[count++] = (struct cbp_ruleset_process){own.start_time, own.process_id, 0};
        chain(build, &processes[count - 1].first_rule, &last, own.first_rule - 1);
        build->rules[own.first_rule - 1].owner = count - 1;
    }
    build->header.process_count = count;
}

static uint32_t *crowd(struct build *build, const struct cbp_ruleset_key *key)
{
    return &build->buckets[key->hash >> (32 - build->header.bucket_bits)];
}

/* Finds the keys of a pattern. */
static void find_keys(struct build *build, struct draft *draft)
{
    struct cbp_text text = text_of(build, &draft->pattern);
    if (cbpd_ruleset_describe(&text, CBP_RULESET_EXACT, &draft->key) ||
        cbpd_ruleset_describe(&text, CBP_RULESET_NO_KEY, &draft->key))
        return;
    if (!cbpd_ruleset_describe(&text, CBP_RULESET_FILE_PREFIX, &draft->other))
        cbpd_ruleset_describe(&text, CBP_RULESET_PATH_PREFIX, &draft->other);
    if (!cbpd_ruleset_describe(&text, CBP_RULESET_SUFFIX, &draft->key)) {
        draft->key = draft->other;
        draft->other.size = 0;
    }
    ++*crowd(build, &draft->key);
    if (draft->other.size != 0)
        ++*crowd(build, &draft->other);
}

/* Keeps one key of each pattern: where it has two, the one that fewer patterns share. */
static void choose_keys(struct build *build)
{
    for (uint32_t i = 0; i < build->header.pattern_count; i++)
        find_keys(build, &build->drafts[i]);
    for (uint32_t i = 0; i < build->header.pattern_count; i++) {
        struct draft *draft = &build->drafts[i];
        if (draft->other.size != 0 && *crowd(build, &draft->other) < *crowd(build, &draft->key))
            draft->key = draft->other;
        draft->pattern.hash = draft->key.hash;
        draft->pattern.kind = (uint8_t) draft->key.kind;
        draft->pattern.is_path = draft->key.is_path;
    }
}

static uint32_t bucket_of(const struct build *build, const struct draft *draft)
{
    if (draft->key.kind == CBP_RULESET_NO_KEY)
        return (uint32_t) 1 << build->header.bucket_bits;
    return draft->key.hash >> (32 - build->header.bucket_bits);
}

/* Sorts the drafts by bucket, by counting; afterwards buckets is what the block has. */
static void place_patterns(struct build *build)
{
    uint32_t bucket_count = (uint32_t) 1 << build->header.bucket_bits, end = 0;
    memset(build->buckets, 0, ((size_t) bucket_count + 1) * sizeof *build->buckets);
    for (uint32_t i = 0; i < build->header.pattern_count; i++)
        build->buckets[bucket_of(build, &build->drafts[i])]++;
    for (uint32_t i = 0; i <= bucket_count; i++) {
        end += build->buckets[i];
        build->buckets[i] = end - build->buckets[i];
    }
    for (uint32_t i = 0; i < build->header.pattern_count; i++)
        build->drafts[i].place = build->buckets[bucket_of(build, &build->drafts[i])]++;
    /* Each bucket has moved on to its end, which is where the next one begins. */
    memmove(build->buckets + 1, build->buckets, bucket_count * sizeof *build->buckets);
    build->buckets[0] = 0;
}

static void *section(struct cbp_ruleset *set, enum cbp_ruleset_section number)
{
    return (char *) set + set->offsets[number];
}

static void note_key(struct cbp_ruleset *set, const struct cbp_ruleset_key *key)
{
    uint64_t *filter = section(set, CBP_RULESET_FILTER);
    if (key->kind == CBP_RULESET_NO_KEY)
        return;
    filter[key->hash >> (32 - set->filter_bits)] |= cbp_ruleset_filter_bits(key->hash);
    set->key_sizes[key->kind] |= (uint64_t) 1 << (key->size - 1u);
}

/* Writes the patterns and their texts, in the order of their places, and the owners of the rules. */
static void write_patterns(const struct build *build, struct cbp_ruleset *set)
{
    struct cbp_ruleset_pattern *patterns = section(set, CBP_RULESET_PATTERNS);
    struct cbp_ruleset_rule *rules = section(set, CBP_RULESET_RULES);
    uint64_t *pairs = section(set, CBP_RULESET_PAIRS);
    size_t unit_size = set->comparison == CBP_COMPARE_UTF16 ? 2 : 1;
    char *texts = section(set, CBP_RULESET_TEXTS);
    uint32_t text_end = 0;
    for (uint32_t i = 0; i < set->pattern_count; i++) {
        const struct draft *draft = &build->drafts[i];
        patterns[draft->place] = draft->pattern;
        pairs[draft->place] = draft->key.pairs;
        note_key(set, &draft->key);
    }
    for (uint32_t i = 0; i < set->pattern_count; i++) {
        struct cbp_text text = text_of(build, &patterns[i]);
        memcpy(texts + text_end * unit_size, text.units, text.size * unit_size);
        patterns[i].text = text_end;
        text_end += patterns[i].size;
    }
    for (uint32_t i = 0; i < set->rule_count; i++)
        if (rules[i].match == CBP_RULE_MATCH_NAME)
            rules[i].owner = build->drafts[rules[i].owner].place;
}

static uint32_t write_block(struct build *build, struct cbp_ruleset **set, size_t *size)
{
    struct cbp_ruleset *header = &build->header, *block;
    header->text_size = build->unit_count;
    header->size = cbpd_ruleset_lay_out(header, header->offsets);
    block = calloc(1, header->size);
    if (!block)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    *block = *header;
    memcpy(section(block, CBP_RULESET_RULES), build->rules, header->rule_count * sizeof *build->rules);
    memcpy(section(block, CBP_RULESET_PROCESSES), build->processes,
           header->process_count * sizeof *build->processes);
    memcpy(section(block, CBP_RULESET_BUCKETS), build->buckets,
           (((size_t) 1 << header->bucket_bits) + 1) * sizeof *build->buckets);
    write_patterns(build, block);
    *set = block;
    *size = header->size;
    return 0;
}

/* Allocates memory for count rules of which name_count have patterns, of units_size bytes in all. */
static uint32_t prepare(struct build *build, uint32_t count, uint32_t name_count, size_t units_size)
{
    uint32_t slot_count = (uint32_t) 1 << bits_for(2 * (uint64_t) name_count, 1);
    build->header.filter_bits = bits_for(name_count / 4, CBP_RULESET_FILTER_BITS_MIN);
    build->header.bucket_bits = bits_for(name_count, CBP_RULESET_BUCKET_BITS_MIN);
    build->slot_mask = slot_count - 1;
    build->sorted = calloc((size_t) count + 1, sizeof *build->sorted);
    build->rules = calloc((size_t) count + 1, sizeof *build->rules);
    build->processes = calloc((size_t) (count - name_count) + 1, sizeof *build->processes);
    build->drafts = calloc((size_t) name_count + 1, sizeof *build->drafts);
    build->slots = calloc(slot_count, sizeof *build->slots);
    build->buckets = calloc(((size_t) 1 << build->header.bucket_bits) + 1, sizeof *build->buckets);
    build->units = malloc(units_size + 1);
    return build->sorted && build->rules && build->processes && build->drafts && build->slots &&
                   build->buckets && build->units
               ? 0
               : CBP_ERROR_NOT_ENOUGH_MEMORY;
}

static void dispose(struct build *build)
{
    free(build->sorted);
    free(build->rules);
    free(build->processes);
    free(build->drafts);
    free(build->slots);
    free(build->buckets);
    free(build->units);
}

uint32_t cbpi_ruleset_build(uint32_t comparison, const struct cbpi_rule *rules, uint32_t count,
                            struct cbp_ruleset **set, size_t *size)
{
    struct build build = {.header = {.magic = CBP_RULESET_MAGIC,
                                     .version = CBP_RULESET_VERSION,
                                     .comparison = comparison,
                                     .rule_count = count}};
    uint32_t name_count = 0;
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        name_count += rules[i].match == CBP_RULE_MATCH_NAME;
        bytes += rules[i].match == CBP_RULE_MATCH_NAME ? rules[i].pattern_size : 0;
    }
    if (count > CBP_RULESET_RULE_MAX || bytes > CBP_RULESET_TEXT_MAX)
        return CBP_ERROR_INVALID_PARAMETER;
    uint32_t error = prepare(&build, count, name_count, 2 * bytes);
    if (error != 0)
        goto cleanup;
    error = take_rules(&build, rules);
    if (error == 0)
        error = take_owners(&build);
    if (error != 0)
        goto cleanup;
    merge_processes(&build);
    choose_keys(&build);
    place_patterns(&build);
    error = write_block(&build, set, size);
cleanup:
    dispose(&build);
    return error;
}
