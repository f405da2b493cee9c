/* Shares what several files of the policy need to work out the rules of a process: lists in the making, and
 * the rules of one set that match one process. policy.h offers the finished lists. */
#ifndef CBPD_LISTS_H
#define CBPD_LISTS_H

#include "policy.h"

/* ---- lists.c ---- */
void cbpd_begin_gathering(struct cbpd_policy *policy);
void cbpd_gather(struct cbpd_policy *policy, struct cbpd_rule_ref ref);
/* The unknown rules make the gathered list incomplete; NULL adds nothing. */
void cbpd_gather_list(struct cbpd_policy *policy, const struct cbpd_rule_list *list);
bool cbpd_is_gathered(const struct cbpd_policy *policy, const struct cbpd_rule_ref *ref);
/* Gives the gathered list, or the one at hand if both have the same rules. NULL: it is empty. */
struct cbpd_rule_list *cbpd_take_gathered(struct cbpd_policy *policy, struct cbpd_rule_list *at_hand);

struct cbpd_rule_ref cbpd_make_ref(const struct cbpd_policy *policy, uint32_t place, uint32_t rule_id,
                                   bool is_launch);
bool cbpd_is_same_ref(const struct cbpd_rule_ref *a, const struct cbpd_rule_ref *b);
bool cbpd_has_ref(const struct cbpd_rule_list *list, const struct cbpd_rule_ref *ref);
/* Says whether the session may still have a rule that a process remembers. */
bool cbpd_is_of_session(const struct cbpd_policy *policy, const struct cbpd_rule_ref *ref, uint32_t place);

/* ---- images.c ---- */
/* Marks the rules of the set that match one of the image's names, except those that allow. Gives how many. */
uint32_t cbpd_match_names(const struct cbpd_image *image, struct cbpd_rule_set *set);
uint32_t cbpd_match_allowing(const struct cbpd_image_file *file, struct cbpd_rule_set *set);
void cbpd_clear_matches(struct cbpd_rule_set *set); /* clears all marks */

/* ---- rule_sets.c ---- */
void cbpd_remove_session_rules(struct cbpd_policy *policy, uint32_t place);

/* ---- standing.c ---- */
/* Matches every session's rules with an image's names, once for each generation of the rules. It uses the
 * sets' matches, and gathers. */
void cbpd_match_image(struct cbpd_policy *policy, struct cbpd_image *image);
/* Marks the rules of the set that a list remembers and that have these flags and no id below first_id. */
void cbpd_mark_list(const struct cbpd_policy *policy, struct cbpd_rule_set *set, uint32_t place,
                    const struct cbpd_rule_list *list, uint32_t first_id, uint32_t flags);
/* Marks the rules that match the process itself under this image (NULL: none), which has been matched
 * already. Rules that go by names count only if their ids are not below first_id. */
void cbpd_mark_own(const struct cbpd_policy *policy, struct cbpd_rule_set *set, uint32_t place,
                   const struct cbpd_process *process, const struct cbpd_image *image, uint32_t first_id);
/* Gathers the marked rules that children inherit, from that index on. */
void cbpd_gather_for_children(struct cbpd_policy *policy, const struct cbpd_rule_set *set, uint32_t place,
                              uint32_t first);
void cbpd_release_standing(const struct cbpd_policy *policy, struct cbpd_process *process);

/* ---- lines.c ---- */
/* Living descendants inherit a set that has taken effect: its rules with ids above newer_than. */
void cbpd_bequeath_to_living(struct cbpd_policy *policy, uint32_t place, struct cbpd_rule_set *set,
                             uint32_t newer_than);

#endif
