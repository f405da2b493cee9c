/* Matches one name pattern against one name, for either system: characters, case, wildcards. No libc, no
 * allocation, no lock. Knows no rules and no processes. */
#ifndef CBP_PATTERN_H
#define CBP_PATTERN_H

#include <stdbool.h>

#include "cbp_types.h"

/* Texts are compared in one of two ways. On Linux units are bytes, compared as they are; a character is a
 * UTF-8 sequence or a stray byte. On Windows units are UTF-16, compared without case, and '/' is '\'; a
 * character is a unit or a pair of surrogates. */
#define CBP_COMPARE_BYTES 1u
#define CBP_COMPARE_UTF16 2u
#if defined(_WIN32)
#define CBP_COMPARE_SYSTEM CBP_COMPARE_UTF16
#else
#define CBP_COMPARE_SYSTEM CBP_COMPARE_BYTES
#endif

/* A pattern or a name has size units: bytes, or aligned uint16_t, as comparison says. It needs no NUL. */
struct cbp_text {
    const void *units;
    size_t size;
    uint32_t comparison;
};

/* tools/generate_case_table.py makes this table: the page of each 32 units, and what to add to a unit. */
extern const uint8_t cbpd_case_page_of[2048];
extern const uint16_t cbpd_case_pages[][32];

/* Gives a UTF-16 unit as comparisons see it: its simple upper case, and '\' for '/'. It folds to itself. */
static inline uint32_t cbp_fold_unit(uint32_t unit)
{
    if (unit == '/')
        return '\\';
    return (unit + cbpd_case_pages[cbpd_case_page_of[(unit & 0xffffu) >> 5]][unit & 31u]) & 0xffffu;
}

/* Gives unit number index, folded; index < text->size. */
static inline uint32_t cbp_text_unit(const struct cbp_text *text, size_t index)
{
    if (text->comparison == CBP_COMPARE_UTF16)
        return cbp_fold_unit(((const uint16_t *) text->units)[index]);
    return ((const unsigned char *) text->units)[index];
}

static inline bool cbp_is_wildcard(uint32_t unit)
{
    return unit == '*' || unit == '?';
}

/* Says whether a folded unit separates the parts of a path. */
static inline bool cbp_is_separator(const struct cbp_text *text, uint32_t unit)
{
    return unit == (text->comparison == CBP_COMPARE_UTF16 ? (uint32_t) '\\' : (uint32_t) '/');
}

/* Gives the part of a path after its last separator, or all of it if there is none. */
struct cbp_text cbpd_text_file_name(const struct cbp_text *path);

/* Says whether pattern matches all of name; both have the same comparison, and pattern is not empty. '*'
 * matches any run of characters, '?' exactly one, and every other unit matches itself; a unit of a character
 * of name never matches alone. Bound: for every unit of name, as many steps as the longest part of pattern
 * between two '*' has units. */
bool cbpd_pattern_matches(const struct cbp_text *pattern, const struct cbp_text *name);

/* Says whether a rule with this pattern matches path. A pattern with a separator is compared with the whole
 * path, another one with the part after the last separator. An empty pattern never matches. */
bool cbpd_pattern_matches_path(const struct cbp_text *pattern, const struct cbp_text *path);

#endif
