/* The compiled rule set: a session's rules in one flat block, which is validated once and then only read by
 * whoever runs it. No libc, no allocation, no lock; knows nothing of processes but their ids. What the block
 * looks like is cbp_ruleset_layout.h; the core builds it (ruleset_build.c).
 *
 * A match marks rules in a bitmap of the caller: bit i is the rule with index i, in the order of rule ids, so
 * that several matches (a process has two names on Linux, its id, rules that it inherited) add up. A block
 * that nobody changes may be used by any number of threads, with a bitmap for each.
 *
 * Bound of cbp_ruleset_match_name() for a name of n units: 2 * n steps for the name, 3 * 64 for its ends, one
 * for each different pattern and for each rule that is marked, and for a pattern of which the name has the
 * key and all pairs of neighbours at most n * k, where k is the size of its longest part without '*'. So a
 * block of any content takes at most n * (units of all its different patterns) steps. */
#ifndef CBP_RULESET_H
#define CBP_RULESET_H

#include "cbp_message.h"
#include "cbp_pattern.h"
#include "cbp_rules.h"

struct cbp_ruleset;

/* A rule in a block. */
struct cbp_ruleset_rule {
    uint32_t rule_id;
    uint32_t action_value;
    uint32_t owner; /* index of its pattern or process, 0 if it is for all */
    uint32_t next;  /* index + 1 of the next rule of that owner; 0: none */
    uint8_t match;  /* CBP_RULE_MATCH_ */
    uint8_t flags;  /* CBP_RULE_FLAG_ bits */
    uint8_t action;
    uint8_t reserved;
};
CBP_ASSERT_SIZE(struct cbp_ruleset_rule, 20);

/* Whether size bytes at block, aligned to 8, are a rule set: 0 or CBP_ERROR_INVALID_DATA, for any bytes
 * whatever. Reads nothing outside of them. Everything is checked, up to the hash of each pattern: a block
 * that passes matches what its patterns and rules say. Time grows with size. */
uint32_t cbp_ruleset_validate(const void *block, size_t size);

/* Below, set is a block that has passed, and matches has cbp_ruleset_word_count(set) words, all 0 before the
 * first match. */
uint32_t cbp_ruleset_rule_count(const struct cbp_ruleset *set);
uint32_t cbp_ruleset_word_count(const struct cbp_ruleset *set);
const struct cbp_ruleset_rule *cbp_ruleset_rule_at(const struct cbp_ruleset *set, uint32_t index);

/* The index of the rule with this id, or the number of rules. Time: log of that number. */
uint32_t cbp_ruleset_find(const struct cbp_ruleset *set, uint32_t rule_id);

/* Marks the rules whose pattern matches this name: size units of the block's comparison. Returns how many
 * were not marked before. */
uint32_t cbp_ruleset_match_name(const struct cbp_ruleset *set, const void *name, size_t size,
                                uint64_t *matches);

/* Marks the rules for this process, and those for all. Returns how many were not marked before. */
uint32_t cbp_ruleset_match_process(const struct cbp_ruleset *set, uint32_t process_id, uint64_t start_time,
                                   uint64_t *matches);

/* Marks the rule with this index, which must be below the number of rules. */
void cbp_ruleset_mark(const struct cbp_ruleset *set, uint32_t index, uint64_t *matches);

/* Takes the mark from all marked rules that allow. Returns how many they were. A name that a process can
 * choose freely, such as the path that it gave to execve, may lead to a refusal and never to a permission. */
uint32_t cbp_ruleset_unmark_allowing(const struct cbp_ruleset *set, uint64_t *matches);

/* Whether the pattern of the rule with this index, if it has one, matches this name. */
int cbp_ruleset_rule_matches(const struct cbp_ruleset *set, uint32_t index, const void *name, size_t size);

/* The process that the rule with this index is for; id and time 0 if it is not for one. */
void cbp_ruleset_process_of(const struct cbp_ruleset *set, uint32_t index, uint32_t *process_id,
                            uint64_t *start_time);

/* Takes the rule with this index out of force: whoever it matches, it does nothing any more and goes on to
 * nobody. The block, which nobody else may use meanwhile, passes no validation after that. */
void cbp_ruleset_retire(struct cbp_ruleset *set, uint32_t index);

/* How names are compared, CBP_COMPARE_. */
uint32_t cbp_ruleset_comparison(const struct cbp_ruleset *set);

/* The first marked index not below from, or the number of rules if there is none. */
uint32_t cbp_ruleset_next(const struct cbp_ruleset *set, const uint64_t *matches, uint32_t from);

/* Adds the marked rules to a stance. */
void cbp_ruleset_add_stance(const struct cbp_ruleset *set, const uint64_t *matches,
                            struct cbp_stance *stance);

#endif
