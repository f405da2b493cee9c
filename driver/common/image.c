/* What processes execute: names, shared by all that execute the same since a common execution. */
#include <stdlib.h>
#include <string.h>

#include "supervisor.h"

static uint32_t match_name(const char *name, uint32_t name_size, struct rule_set *set)
{
    size_t count;
    const void *units = name_size > 0 ? name_units(name, name_size, &count) : NULL;
    return units != NULL ? cbp_ruleset_match_name(set->block, units, count, set->matches) : 0;
}

static bool is_allowed(const struct rule_set *set)
{
    uint32_t count = set->counts[CBP_ACTION_ALLOW] > 0 ? cbp_ruleset_rule_count(set->block) : 0;
    for (uint32_t i = 0; i < count && (i = cbp_ruleset_next(set->block, set->matches, i)) < count; i++)
        if (cbp_ruleset_rule_at(set->block, i)->action == CBP_ACTION_ALLOW)
            return true;
    return false;
}

/* What is refused is refused by either name. What is allowed is allowed by the path of the file alone, and
 * only if that path leads to the file in our eyes, too: the process chooses every other name itself. */
uint32_t match_image_names(const struct image *image, struct rule_set *set)
{
    if (set->match_counts[CBP_RULE_MATCH_NAME] == 0)
        return 0;
    uint32_t count = match_name(image->given, image->given_size, set);
    if (set->counts[CBP_ACTION_ALLOW] > 0)
        count -= cbp_ruleset_unmark_allowing(set->block, set->matches);
    count += match_name(image->path, image->path_size, set);
    if (is_allowed(set) && !path_leads_to_file(image))
        count -= cbp_ruleset_unmark_allowing(set->block, set->matches);
    return count;
}

struct image *make_image(const char *path, uint32_t path_size, const char *given, uint32_t given_size)
{
    struct image *image = calloc(1, sizeof *image + path_size + given_size + 2);
    if (image == NULL)
        return NULL;
    image->reference_count = 1;
    image->path = (char *) (image + 1);
    image->path_size = path_size;
    image->given = image->path + path_size + 1;
    image->given_size = given_size;
    memcpy(image->path, path, path_size);
    if (given_size > 0)
        memcpy(image->given, given, given_size);
    return image;
}

struct image *share_image(struct image *image)
{
    if (image != NULL)
        image->reference_count++;
    return image;
}

void release_image(struct image *image)
{
    if (image == NULL || --image->reference_count > 0)
        return;
    release_rule_list(image->matches);
    free(image);
}
