/* Fuzzes cbpd_pattern_matches_path() against a second definition of the same thing: a table of which
 * beginnings of the pattern match which beginnings of the name. The pattern and the name are separated by the
 * first NUL. */
#define _GNU_SOURCE
#include "cbp_pattern.h"
#include <stdlib.h>
#include <string.h>

#define SIZE_LIMIT 512

/* Splits text into characters: UTF-8 sequences, single bytes elsewhere. starts[count] is the end.
 * *is_valid says whether there were sequences only. */
static size_t split(const unsigned char *text, size_t size, size_t *starts, int *is_valid)
{
    size_t count = 0;
    *is_valid = 1;
    for (size_t i = 0; i < size;) {
        size_t length = text[i] < 0x80   ? 1
                        : text[i] < 0xc2 ? 0
                        : text[i] < 0xe0 ? 2
                        : text[i] < 0xf0 ? 3
                        : text[i] < 0xf5 ? 4
                                         : 0;
        size_t good = length > 0 && i + length <= size;
        for (size_t k = 1; good && k < length; k++)
            good = text[i + k] >= 0x80 && text[i + k] < 0xc0;
        if (good && length > 2) { /* nothing overlong, no surrogate, nothing beyond U+10FFFF */
            uint32_t start = (uint32_t) text[i] << 8 | text[i + 1];
            good = !(start >= 0xe000 && start < 0xe0a0) && !(start >= 0xeda0 && start < 0xee00) &&
                   !(start >= 0xf000 && start < 0xf090) && start < 0xf490;
        }
        if (!good) {
            *is_valid = 0;
            length = 1;
        }
        starts[count++] = i;
        i += length;
    }
    starts[count] = size;
    return count;
}

static int same_character(const unsigned char *a, const size_t *a_start, const unsigned char *b,
                          const size_t *b_start)
{
    size_t size = a_start[1] - a_start[0];
    return size == b_start[1] - b_start[0] && memcmp(a + a_start[0], b + b_start[0], size) == 0;
}

/* Whether the pattern's characters match the name's; -1 for a pattern that is no valid UTF-8, whose parts of
 * characters this table does not know. */
static int expected(const unsigned char *pattern, size_t pattern_size, const unsigned char *name,
                    size_t name_size)
{
    static size_t p[SIZE_LIMIT + 1], n[SIZE_LIMIT + 1];
    static unsigned char row[SIZE_LIMIT + 1], above[SIZE_LIMIT + 1];
    int pattern_is_valid, name_is_valid;

    if (pattern_size == 0)
        return 0;
    if (memchr(pattern, '/', pattern_size) == NULL) {
        const unsigned char *slash = memrchr(name, '/', name_size);
        size_t skipped = slash ? (size_t) (slash + 1 - name) : 0;
        name += skipped;
        name_size -= skipped;
    }
    size_t p_count = split(pattern, pattern_size, p, &pattern_is_valid);
    size_t n_count = split(name, name_size, n, &name_is_valid);
    if (!pattern_is_valid)
        return -1;
    memset(above, 0, sizeof above);
    above[0] = 1;
    for (size_t i = 0; i < p_count; i++) {
        unsigned char c = pattern[p[i]];
        row[0] = c == '*' && above[0];
        for (size_t k = 0; k < n_count; k++) {
            if (c == '*')
                row[k + 1] = above[k + 1] || row[k];
            else
                row[k + 1] = above[k] && (c == '?' || same_character(pattern, p + i, name, n + k));
        }
        memcpy(above, row, n_count + 1);
    }
    return above[n_count];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *separator = size ? memchr(data, 0, size) : NULL;
    size_t pattern_size = separator ? (size_t) (separator - data) : 0;
    if (separator == NULL || pattern_size > SIZE_LIMIT || size - pattern_size - 1 > SIZE_LIMIT)
        return 0;
    size_t name_size = size - pattern_size - 1;
    /* Blocks of their own, without a NUL behind them: reading too far is seen. */
    char *pattern = malloc(pattern_size ? pattern_size : 1);
    char *name = malloc(name_size ? name_size : 1);
    if (pattern != NULL && name != NULL) {
        memcpy(pattern, data, pattern_size);
        memcpy(name, separator + 1, name_size);
        struct cbp_text pattern_text = {pattern, pattern_size, CBP_COMPARE_BYTES};
        struct cbp_text name_text = {name, name_size, CBP_COMPARE_BYTES};
        int matches = cbpd_pattern_matches_path(&pattern_text, &name_text);
        int wanted =
            expected((const unsigned char *) pattern, pattern_size, (const unsigned char *) name, name_size);
        if (wanted >= 0 && !matches != !wanted)
            abort();
    }
    free(name);
    free(pattern);
    return 0;
}
