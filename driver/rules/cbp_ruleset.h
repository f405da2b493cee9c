/* Offers the compiled rule set: a session's rules in one flat block, which is validated once and then only
 * read. No libc, no allocation, no lock. Knows nothing of processes but their ids. cbp_ruleset_layout.h
 * describes the block; the core builds it (ruleset_build.c).
 *
 * A match marks rules in a bitmap of the caller: bit i is the rule with index i, in the order of rule ids. So
 * several matches add up (a process has two names on Linux, its id, rules that it inherited). Any number of
 * threads may use a block that does not change, each with a bitmap of its own.
 *
 * Bound of cbpd_ruleset_match_name() for a name of n units: 2 * n steps for the name, 3 * 64 for its ends, and
 * one for each different pattern and each rule that is marked. A pattern of which the name has the key and
 * all pairs of neighbours takes at most n * k steps, where k is the size of its longest part without '*'. So
 * a block of any content takes at most n * (units of all its different patterns) steps. */
#ifndef CBP_RULESET_H
#define CBP_RULESET_H

#include "cbp_message.h"
#include "cbp_pattern.h"
#include "cbp_rules.h"

struct cbp_ruleset;

/* A block has such rules. */
struct cbp_ruleset_rule {
    uint32_t rule_id;
    uint32_t action_value;
    uint32_t owner; /* index of its pattern or process; 0: it is for all */
    uint32_t next;  /* index + 1 of its owner's next rule; 0: none */
    uint8_t match;  /* CBP_RULE_MATCH_ */
    uint8_t flags;  /* CBP_RULE_FLAG_ bits */
    uint8_t action;
    uint8_t reserved;
};
CBP_ASSERT_SIZE(struct cbp_ruleset_rule, 20);

/* Says whether size bytes at block, aligned to 8, are a rule set: 0 or CBP_ERROR_INVALID_DATA, for any bytes
 * whatever. It reads nothing outside of them and checks everything, up to the hash of each pattern: a block
 * that passes matches what its patterns and rules say. Time grows with size. */
uint32_t cbpd_ruleset_validate(const void *block, size_t size);

/* The functions below take a set that has passed, and matches with cbpd_ruleset_word_count(set) words, all 0
 * before the first match. */
uint32_t cbpd_ruleset_rule_count(const struct cbp_ruleset *set);
uint32_t cbpd_ruleset_word_count(const struct cbp_ruleset *set);
const struct cbp_ruleset_rule *cbpd_ruleset_rule_at(const struct cbp_ruleset *set, uint32_t index);

/* Gives the index of the rule with this id, or the number of rules. Time: log of that number. */
uint32_t cbpd_ruleset_find(const struct cbp_ruleset *set, uint32_t rule_id);

/* Marks the rules whose pattern matches this name: size units of the block's comparison. Returns how many
 * were not marked before. */
uint32_t cbpd_ruleset_match_name(const struct cbp_ruleset *set, const void *name, size_t size,
                                 uint64_t *matches);

/* Marks the rules for this process, and those for all. Returns how many were not marked before. */
uint32_t cbpd_ruleset_match_process(const struct cbp_ruleset *set, uint32_t process_id, uint64_t start_time,
                                    uint64_t *matches);

/* Marks the rule with this index, which must be below the number of rules. */
void cbpd_ruleset_mark(const struct cbp_ruleset *set, uint32_t index, uint64_t *matches);

/* Keeps the marks of rules that allow, or else of all others. Returns how many are left. A name that a process
 * can choose freely, such as the path that it gave to execve, may lead to a refusal and never to a permission. */
uint32_t cbpd_ruleset_keep(const struct cbp_ruleset *set, bool allowing, uint64_t *matches);

/* Gives the process of the rule with this index; id and time are 0 if it is not for one process. */
void cbpd_ruleset_process_of(const struct cbp_ruleset *set, uint32_t index, uint32_t *process_id,
                             uint64_t *start_time);

/* Takes the rule with this index out of force: it still matches, but has no effect, and children do not
 * inherit it. The block must not be in use meanwhile and passes no validation after that. */
void cbpd_ruleset_retire(struct cbp_ruleset *set, uint32_t index);

/* Gives the comparison of names, CBP_COMPARE_. */
uint32_t cbpd_ruleset_comparison(const struct cbp_ruleset *set);

/* Gives the first marked index from this one on, or the number of rules if there is none. */
uint32_t cbpd_ruleset_next(const struct cbp_ruleset *set, const uint64_t *matches, uint32_t from);

/* Adds the marked rules to a stance. */
void cbpd_ruleset_add_stance(const struct cbp_ruleset *set, const uint64_t *matches,
                             struct cbp_stance *stance);

#endif
