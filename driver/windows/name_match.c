/* cbp_name_matches() on Windows: as UTF-16, without case, '/' and '\' being one. A text that is not WTF-8
 * matches nothing: no name of the system is such a one. */
#include <stdlib.h>

#include "cbp_pattern.h"
#include "wide.h"

static int has_separator(const struct cbp_text *text)
{
    size_t i = 0;
    while (i < text->size && !cbp_is_separator(text, cbp_text_unit(text, i)))
        i++;
    return i < text->size;
}

int cbp_name_matches(const char *pattern, size_t pattern_size, const char *name, size_t name_size)
{
    uint16_t *units = malloc((pattern_size + name_size + 1) * sizeof *units);
    int matches = 0;
    if (units == NULL || pattern_size == 0)
        goto cleanup;
    struct cbp_text wanted = {units, cbp_wide_decode(pattern, pattern_size, units), CBP_COMPARE_UTF16};
    struct cbp_text path = {units + pattern_size, cbp_wide_decode(name, name_size, units + pattern_size),
                            CBP_COMPARE_UTF16};
    if (wanted.size == SIZE_MAX || path.size == SIZE_MAX)
        goto cleanup;
    if (!has_separator(&wanted))
        path = cbp_text_file_name(&path);
    matches = cbp_pattern_matches(&wanted, &path);
cleanup:
    free(units);
    return matches;
}
