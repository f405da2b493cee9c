/* Fuzzes the validation of compiled rule sets, and matching in those that pass: nothing outside of a block, a
 * name or a bitmap is touched, and a block that passes finds what holding each of its patterns against the
 * name finds. The input is a block as it is (first byte odd), or patterns to build one from, a name, and
 * changes to make in the block: see build(). */
#include "cbp_ruleset_layout.h"
#include "ruleset_build.h"
#include <stdlib.h>
#include <string.h>

#define RULE_MAX 64u

enum mode { MODE_RAW = 1, MODE_UTF16 = 2 };

struct input {
    const uint8_t *at, *end;
};

/* The bytes up to the next line feed, which is taken too. */
static struct input line_of(struct input *input)
{
    struct input line = {input->at, input->end};
    if (line.at == line.end)
        return line;
    const uint8_t *feed = memchr(line.at, '\n', (size_t) (line.end - line.at));
    line.end = feed ? feed : line.end;
    input->at = feed ? feed + 1 : line.end;
    return line;
}

/* A rule from a line: '#' and a digit, a process; '%', all processes; else a pattern. */
static struct cbpi_rule rule_of(const struct input *line, uint32_t rule_id)
{
    size_t size = (size_t) (line->end - line->at);
    struct cbpi_rule rule = {.rule_id = rule_id, .match = CBP_RULE_MATCH_NAME, .action = rule_id % 3};
    if (size == 2 && line->at[0] == '#') {
        rule.match = CBP_RULE_MATCH_PROCESS;
        rule.process_id = line->at[1] & 3u;
        rule.start_time = line->at[1] >> 2 & 3u;
    } else if (size == 1 && line->at[0] == '%') {
        rule.match = CBP_RULE_MATCH_ALL;
    } else {
        rule.pattern = (const char *) line->at;
        rule.pattern_size = (uint32_t) size;
    }
    return rule;
}

/* The changes: their number, then for each where (two bytes) and what is added to the byte there. The lines:
 * the name, then the rules. */
static struct cbp_ruleset *build(struct input *input, uint32_t comparison, struct input *name, size_t *size)
{
    struct cbpi_rule rules[RULE_MAX];
    struct cbp_ruleset *set = NULL;
    const uint8_t *changes = input->at + 1;
    size_t change_count = input->at < input->end ? *input->at & 7u : 0;
    uint32_t count = 0;
    if ((size_t) (input->end - input->at) < 1 + 3 * change_count)
        return NULL;
    input->at = changes + 3 * change_count;
    *name = line_of(input);
    for (; count < RULE_MAX && input->at < input->end; count++) {
        struct input line = line_of(input);
        rules[count] = rule_of(&line, 3 * count + 1);
    }
    if (cbpi_ruleset_build(comparison, rules, count, &set, size) != 0)
        return NULL;
    if (cbpd_ruleset_validate(set, *size) != 0)
        abort();
    for (size_t i = 0; i < change_count; i++) {
        size_t at = (changes[3 * i] | (size_t) changes[3 * i + 1] << 8) % *size;
        ((uint8_t *) set)[at] = (uint8_t) (((uint8_t *) set)[at] + changes[3 * i + 2]);
    }
    return set;
}

static struct cbp_text scope_of(const struct cbp_ruleset_pattern *pattern, const struct cbp_text *name)
{
    return pattern->is_path ? *name : cbpd_text_file_name(name);
}

/* Whether the rule with this index should be marked for this name. */
static int is_expected(const struct cbp_ruleset *set, uint32_t index, const struct cbp_text *name)
{
    const struct cbp_ruleset_pattern *patterns = cbp_ruleset_section(set, CBP_RULESET_PATTERNS);
    const struct cbp_ruleset_rule *rule = cbpd_ruleset_rule_at(set, index);
    if (rule->match != CBP_RULE_MATCH_NAME)
        return 0;
    struct cbp_text pattern = cbp_ruleset_text(set, &patterns[rule->owner]);
    struct cbp_text scope = scope_of(&patterns[rule->owner], name);
    return cbpd_pattern_matches(&pattern, &scope);
}

static void match(const struct cbp_ruleset *set, const struct cbp_text *name)
{
    uint32_t count = cbpd_ruleset_rule_count(set), marked = 0, word_count = cbpd_ruleset_word_count(set);
    uint64_t *matches = word_count ? calloc(word_count, sizeof *matches) : NULL;
    struct cbp_stance stance = {0};
    uint32_t added = cbpd_ruleset_match_name(set, name->units, name->size, matches);
    for (uint32_t i = 0; i < count; i++) {
        int is_marked = cbpd_ruleset_next(set, matches, i) == i;
        marked += (uint32_t) is_marked;
        if (is_marked != is_expected(set, i, name))
            abort();
    }
    if (marked != added || cbpd_ruleset_match_name(set, name->units, name->size, matches) != 0)
        abort();
    for (uint32_t id = 0; id < 4; id++)
        added += cbpd_ruleset_match_process(set, id, id, matches);
    cbpd_ruleset_add_stance(set, matches, &stance);
    if (added > count || (count != 0 && cbpd_ruleset_find(set, cbpd_ruleset_rule_at(set, 0)->rule_id) != 0))
        abort();
    free(matches);
}

/* The name and the patterns' own texts are looked up, each in a block of exactly its size. */
static void match_all(const struct cbp_ruleset *set, const struct input *name)
{
    const struct cbp_ruleset_pattern *patterns = cbp_ruleset_section(set, CBP_RULESET_PATTERNS);
    size_t unit_size = set->comparison == CBP_COMPARE_UTF16 ? 2 : 1;
    for (uint32_t i = 0; i <= set->pattern_count && i < RULE_MAX; i++) {
        struct cbp_text text = {name->at, (size_t) (name->end - name->at) / unit_size, set->comparison};
        if (i < set->pattern_count)
            text = cbp_ruleset_text(set, &patterns[i]);
        void *units = malloc(text.size * unit_size);
        if (units && text.size != 0)
            memcpy(units, text.units, text.size * unit_size);
        text.units = units;
        if (units || text.size == 0)
            match(set, &text);
        free(units);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct input no_name;
    if (size == 0)
        return 0;
    struct input input = {data + 1, data + size}, name = no_name;
    struct cbp_ruleset *set;
    size_t set_size = size - 1;
    if (data[0] & MODE_RAW) {
        set = malloc(set_size ? set_size : 1);
        if (set)
            memcpy(set, data + 1, set_size);
    } else {
        set = build(&input, data[0] & MODE_UTF16 ? CBP_COMPARE_UTF16 : CBP_COMPARE_BYTES, &name, &set_size);
    }
    if (set && cbpd_ruleset_validate(set, set_size) == 0)
        match_all(set, &name);
    free(set);
    return 0;
}
