/* What the files share that work out who has which rules: lists in the making, and the rules of one set that
 * match one process. tree_driver.h offers the lists themselves. */
#ifndef CBP_RULE_LISTS_H
#define CBP_RULE_LISTS_H

#include "tree_driver.h"

/* ---- rule_lists.c ---- */
/* Where the next list is gathered: one at a time. */
struct gathering {
    struct rule_ref *refs;
    uint32_t count, capacity;
    bool is_incomplete; /* something is missing, for want of memory */
};
extern struct gathering gathered;

void begin_gathering(void);
void gather(struct rule_ref ref);
void gather_list(const struct rule_list *list); /* unknown_rules make it incomplete; NULL: nothing */
bool is_gathered(const struct rule_ref *ref);
/* The gathered list: the one at hand, if it says the same. NULL if it is empty. */
struct rule_list *take_gathered(struct rule_list *at_hand);

struct rule_ref make_ref(uint32_t session_id, uint32_t rule_id, bool is_launch);
bool is_same_ref(const struct rule_ref *a, const struct rule_ref *b);
bool has_ref(const struct rule_list *list, const struct rule_ref *ref);
/* Whether a rule that is remembered is one that this session may still have. */
bool is_of_session(const struct rule_ref *ref, uint32_t session_id);

/* ---- rules.c ---- */
/* Matches every session's rules with an image's names, once for each generation of the rules. Uses the sets'
 * matches and gathers. */
void match_image(struct image *image);
/* Marks those rules of the set that a list remembers, if their ids are not below first_id and they have all
 * of these flags. */
void mark_list(struct rule_set *set, uint32_t session_id, const struct rule_list *list, uint32_t first_id,
               uint32_t flags);
/* Marks the rules that match the process itself under this image (NULL: none), which has been matched; of
 * those that go by names only the ones with ids not below first_id. */
void mark_own(struct rule_set *set, uint32_t session_id, const struct process *process,
              const struct image *image, uint32_t first_id);
/* Gathers the marked rules from that index on that go on to children. */
void gather_for_children(const struct rule_set *set, uint32_t session_id, uint32_t first);

#endif
