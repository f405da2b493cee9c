/* What processes execute: names, shared by all that execute the same since a common execution. */
#include <stdlib.h>
#include <string.h>

#include "supervisor.h"

bool image_goes_by(const struct image *image, const char *pattern, uint32_t pattern_size)
{
    return cbp_name_matches(pattern, pattern_size, image->path, image->path_size) ||
           cbp_name_matches(pattern, pattern_size, image->given, image->given_size);
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
    free(image->matches);
    free(image);
}
