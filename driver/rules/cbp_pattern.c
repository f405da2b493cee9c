/* Matches a pattern against a name; see cbp_pattern.h. */
#include "cbp_pattern.h"

#include "cbp_wtf8.h"

#define CONTINUATION_MAX 3u /* bytes of a UTF-8 sequence after the first */

static uint32_t byte_at(const struct cbp_text *text, size_t index)
{
    return ((const unsigned char *) text->units)[index];
}

static bool is_continuation(uint32_t byte)
{
    return (byte & 0xc0u) == 0x80u;
}

/* Gives the bytes of the character that starts at `at`: a UTF-8 sequence, or 1 if it is malformed. The second
 * byte's range excludes overlong forms, surrogates and what is above U+10FFFF. Source: Unicode, table 3-7. */
static size_t sequence_size(const struct cbp_text *text, size_t at)
{
    uint32_t first = byte_at(text, at);
    if (first < 0xc2 || first > 0xf4)
        return 1;
    size_t size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (size > text->size - at)
        return 1;
    uint32_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint32_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (byte_at(text, at + 1) < low || byte_at(text, at + 1) > high)
        return 1;
    for (size_t i = 2; i < size; i++)
        if (!is_continuation(byte_at(text, at + i)))
            return 1;
    return size;
}

/* Gives the units of the character that starts at `at`. */
static size_t character_size(const struct cbp_text *text, size_t at)
{
    if (text->comparison == CBP_COMPARE_BYTES)
        return sequence_size(text, at);
    return at + 1 < text->size && cbp_is_high_surrogate(cbp_text_unit(text, at)) &&
                   cbp_is_low_surrogate(cbp_text_unit(text, at + 1))
               ? 2
               : 1;
}

/* Says whether no character lies across the place before unit `at`. The first byte or unit of a character is
 * never a later one of another: a look back over one character's length is enough. */
static bool is_boundary(const struct cbp_text *text, size_t at)
{
    if (at == 0 || at == text->size)
        return true;
    if (text->comparison == CBP_COMPARE_UTF16)
        return !cbp_is_low_surrogate(cbp_text_unit(text, at)) ||
               !cbp_is_high_surrogate(cbp_text_unit(text, at - 1));
    if (!is_continuation(byte_at(text, at)))
        return true;
    for (size_t back = 1; back <= CONTINUATION_MAX && back <= at; back++)
        if (!is_continuation(byte_at(text, at - back)))
            return sequence_size(text, at - back) <= back;
    return true;
}

/* Gives the next place after `at` where a character begins that first, a pattern's unit, can match. */
static size_t next_start(const struct cbp_text *name, size_t at, uint32_t first)
{
    const struct cbp_text text = *name;
    if (first == '?')
        return at + character_size(name, at);
    for (at++; at < text.size; at++)
        if (cbp_text_unit(&text, at) == first && is_boundary(name, at))
            break;
    return at;
}

/* Matches patterns that begin and end with a wildcard. It is greedy and returns only to the last '*': an
 * earlier one can never help, because both texts are read character by character. */
static bool matches_between(const struct cbp_text *pattern, const struct cbp_text *name)
{
    size_t p = 0, n = 0, behind_star = 0, resume = 0;
    while (p < pattern->size || n < name->size) {
        uint32_t wanted = p < pattern->size ? cbp_text_unit(pattern, p) : 0;
        if (wanted == '*' && is_boundary(name, n)) {
            behind_star = ++p;
            resume = n;
            if (p == pattern->size)
                return true;
        } else if (n == name->size) {
            return false; /* a later start leaves even fewer characters */
        } else if (wanted == '?' && is_boundary(name, n)) {
            p++;
            n += character_size(name, n);
        } else if (p < pattern->size && wanted == cbp_text_unit(name, n)) {
            p++;
            n++;
        } else if (behind_star == 0) {
            return false;
        } else {
            resume = next_start(name, resume, cbp_text_unit(pattern, behind_star));
            n = resume;
            p = behind_star;
        }
    }
    return true;
}

struct cbp_text cbpd_text_file_name(const struct cbp_text *path)
{
    size_t start = path->size;
    while (start > 0 && !cbp_is_separator(path, cbp_text_unit(path, start - 1)))
        start--;
    struct cbp_text name = *path;
    size_t skipped_size = start * (path->comparison == CBP_COMPARE_UTF16 ? 2u : 1u);
    name.units = (const unsigned char *) path->units + skipped_size;
    name.size = path->size - start;
    return name;
}

/* Compares the parts before the pattern's first wildcard and takes them off both texts. False: they differ. */
static bool take_head(struct cbp_text *pattern, struct cbp_text *name)
{
    size_t size = 0, unit_size = pattern->comparison == CBP_COMPARE_UTF16 ? 2 : 1;
    for (; size < pattern->size && !cbp_is_wildcard(cbp_text_unit(pattern, size)); size++)
        if (size == name->size || cbp_text_unit(name, size) != cbp_text_unit(pattern, size))
            return false;
    if (!is_boundary(name, size))
        return false;
    pattern->units = (const unsigned char *) pattern->units + size * unit_size;
    pattern->size -= size;
    name->units = (const unsigned char *) name->units + size * unit_size;
    name->size -= size;
    return true;
}

/* Compares the parts after the last wildcard and takes them off both texts. The pattern has a wildcard. */
static bool take_tail(struct cbp_text *pattern, struct cbp_text *name)
{
    size_t size = 0;
    for (; !cbp_is_wildcard(cbp_text_unit(pattern, pattern->size - 1 - size)); size++)
        if (size == name->size ||
            cbp_text_unit(name, name->size - 1 - size) != cbp_text_unit(pattern, pattern->size - 1 - size))
            return false;
    if (!is_boundary(name, name->size - size))
        return false;
    pattern->size -= size;
    name->size -= size;
    return true;
}

bool cbpd_pattern_matches(const struct cbp_text *pattern, const struct cbp_text *name)
{
    struct cbp_text pattern_rest = *pattern, name_rest = *name;
    if (!take_head(&pattern_rest, &name_rest))
        return false;
    if (pattern_rest.size == 0)
        return name_rest.size == 0;
    return take_tail(&pattern_rest, &name_rest) && matches_between(&pattern_rest, &name_rest);
}

bool cbpd_pattern_matches_path(const struct cbp_text *pattern, const struct cbp_text *path)
{
    for (size_t i = 0; i < pattern->size; i++)
        if (cbp_is_separator(pattern, cbp_text_unit(pattern, i)))
            return cbpd_pattern_matches(pattern, path);
    struct cbp_text file_name = cbpd_text_file_name(path);
    return pattern->size != 0 && cbpd_pattern_matches(pattern, &file_name);
}
