/* Keeps the names of what processes execute. Processes that share an execution share its image. */
#include <string.h>

#include "lists.h"

void cbpd_clear_matches(struct cbpd_rule_set *set)
{
    memset(set->matches, 0, cbpd_ruleset_word_count(set->block) * sizeof *set->matches);
}

static uint32_t match_name(const char *name, uint32_t name_size, struct cbpd_rule_set *set)
{
    size_t count = name_size;
    const void *units = name;
    if (name_size == 0)
        return 0;
    if (set->host->name_units)
        units = set->host->name_units(set->host->context, name, name_size, &count);
    return units ? cbpd_ruleset_match_name(set->block, units, count, set->matches) : 0;
}

static bool is_same_name(const char *a, uint32_t a_size, const char *b, uint32_t b_size)
{
    return a_size == b_size && memcmp(a, b, a_size) == 0;
}

uint32_t cbpd_match_names(const struct cbpd_image *image, struct cbpd_rule_set *set)
{
    uint32_t count = 0;
    if (set->match_counts[CBP_RULE_MATCH_NAME] == 0)
        return 0;
    for (uint32_t i = 0; i < image->file_count; i++) {
        const struct cbpd_image_file *file = &image->files[i];
        count += match_name(file->path, file->path_size, set);
        if (!is_same_name(file->given, file->given_size, file->path, file->path_size))
            count += match_name(file->given, file->given_size, set);
    }
    return set->counts[CBP_ACTION_ALLOW] > 0 ? cbpd_ruleset_keep(set->block, false, set->matches) : count;
}

uint32_t cbpd_match_allowing(const struct cbpd_image_file *file, struct cbpd_rule_set *set)
{
    if (set->counts[CBP_ACTION_ALLOW] == 0 || set->match_counts[CBP_RULE_MATCH_NAME] == 0)
        return 0;
    (void) match_name(file->path, file->path_size, set);
    uint32_t count = cbpd_ruleset_keep(set->block, true, set->matches);
    if (count > 0 && set->host->path_leads_to_file && !set->host->path_leads_to_file(file)) {
        cbpd_clear_matches(set);
        return 0;
    }
    return count;
}

static const char *put_name(char **room, const char *name, uint32_t size)
{
    char *start = *room;
    if (size > 0)
        memcpy(start, name, size);
    *room += size + 1; /* with its NUL */
    return start;
}

struct cbpd_image *cbpd_make_image(const struct cbpd_policy *policy, const struct cbpd_image_file *files,
                                   uint32_t count, bool is_vague)
{
    size_t size = sizeof(struct cbpd_image) + count * sizeof *files;
    for (uint32_t i = 0; i < count; i++)
        size += files[i].path_size + files[i].given_size + 2u;
    struct cbpd_image *image = policy->host->allocate(size, true);
    if (!image)
        return NULL;
    char *room = (char *) (image->files + count);
    image->reference_count = 1;
    image->is_vague = is_vague;
    image->file_count = count;
    for (uint32_t i = 0; i < count; i++) {
        image->files[i] = files[i];
        image->files[i].path = put_name(&room, files[i].path, files[i].path_size);
        image->files[i].given = put_name(&room, files[i].given, files[i].given_size);
    }
    return image;
}

bool cbpd_has_same_names(const struct cbpd_image *a, const struct cbpd_image *b)
{
    if (a == b)
        return true;
    if (!a || !b || a->file_count != b->file_count || a->is_vague != b->is_vague)
        return false;
    for (uint32_t i = 0; i < a->file_count; i++) {
        const struct cbpd_image_file *one = &a->files[i], *other = &b->files[i];
        if (one->device != other->device || one->inode != other->inode ||
            !is_same_name(one->path, one->path_size, other->path, other->path_size) ||
            !is_same_name(one->given, one->given_size, other->given, other->given_size))
            return false;
    }
    return true;
}

struct cbpd_image *cbpd_share_image(struct cbpd_image *image)
{
    if (image)
        image->reference_count++;
    return image;
}

void cbpd_release_image(const struct cbpd_policy *policy, struct cbpd_image *image)
{
    if (!image || --image->reference_count > 0)
        return;
    cbpd_release_list(policy, image->matches);
    policy->host->release(image);
}
