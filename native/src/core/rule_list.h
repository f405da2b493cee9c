/* Keeps a session's rules in memory: each is found, added and removed in a few steps, however many there are.
 * Knows no session and no driver. */
#ifndef CBPI_RULE_LIST_H
#define CBPI_RULE_LIST_H

#include "transport.h"

struct cbpi_rule_item {
    struct cbpi_rule rule; /* its pattern is the list's, to be freed with free() */
    uint64_t launch_epoch; /* which start of the session a launch made it in; 0: no launch did */
    bool is_leaving;       /* it is being taken out, so far as that succeeds */
    bool is_earlier;       /* no start time tells its process apart, and another one has the number now */
    uint32_t hash;
    uint32_t next; /* in its bucket: index + 1; 0: none */
};

struct cbpi_rule_list {
    struct cbpi_rule_item *items; /* in no order */
    uint32_t *buckets;            /* capacity of them: index + 1 of the first item */
    uint32_t count;
    uint32_t capacity; /* 0 or a power of 2 */
    uint32_t last_id;  /* of the rules so far, those of launches included; a new rule gets the next one */
    uint64_t pattern_bytes; /* of all patterns together */
};

/* Finds the rule about this pattern, or about any process that had this number, with that action: the one
 * that was added last, or NULL. */
struct cbpi_rule_item *cbpi_rule_list_find(const struct cbpi_rule_list *list, const struct cbpi_rule *wanted);

/* Gives the first of the rules about this pattern, or about any process that had this number, with that
 * action, or the one that follows after; NULL at the end. */
struct cbpi_rule_item *cbpi_rule_list_next(const struct cbpi_rule_list *list, const struct cbpi_rule *wanted,
                                           const struct cbpi_rule_item *after);

/* Finds the rule that this one replaces: its equal, or the rule of a process that had the number before. The
 * latter stays if descendants have it from the list: it extends to them, and no launch of this epoch has made
 * it, whose rule the driver keeps for them. There is one at most. */
struct cbpi_rule_item *cbpi_rule_list_find_replaced(const struct cbpi_rule_list *list,
                                                    const struct cbpi_rule *added, uint64_t epoch);

/* Makes room for one more rule with a pattern of that size. CBP_ERROR_NOT_ENOUGH_MEMORY, or
 * CBP_ERROR_NO_SYSTEM_RESOURCES if there are as many as a compiled set can have. */
uint32_t cbpi_rule_list_reserve(struct cbpi_rule_list *list, uint32_t pattern_size);

/* Puts rule into the list, in place of replaced, or if that is NULL where there is room. */
void cbpi_rule_list_enter(struct cbpi_rule_list *list, const struct cbpi_rule *rule,
                          struct cbpi_rule_item *replaced, uint64_t launch_epoch);

/* Removes an item; pointers to others are invalid afterwards. */
void cbpi_rule_list_remove(struct cbpi_rule_list *list, struct cbpi_rule_item *item);

void cbpi_rule_list_free(struct cbpi_rule_list *list);

#endif
