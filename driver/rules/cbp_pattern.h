/* One name pattern against one name, on either system: characters, case, the wildcards. No libc, no
 * allocation, no lock; knows nothing of rules and processes. */
#ifndef CBP_PATTERN_H
#define CBP_PATTERN_H

#include "cbp_types.h"

/* How texts are compared: on Linux bytes as they are, a character being a UTF-8 sequence or a stray byte; on
 * Windows UTF-16 units without case, '/' being '\', a character being a unit or a pair of surrogates. */
#define CBP_COMPARE_BYTES 1u
#define CBP_COMPARE_UTF16 2u
#if defined(_WIN32)
#define CBP_COMPARE_SYSTEM CBP_COMPARE_UTF16
#else
#define CBP_COMPARE_SYSTEM CBP_COMPARE_BYTES
#endif

/* A pattern or a name: size units, bytes or aligned uint16_t as comparison says; no NUL needed behind it. */
struct cbp_text {
    const void *units;
    size_t size;
    uint32_t comparison;
};

/* The generated table (tools/generate_case_table.py): the page of each 32 units, and what to add to a unit.
 */
extern const uint8_t cbp_case_page_of[2048];
extern const uint16_t cbp_case_pages[][32];

/* A UTF-16 unit as comparisons see it: its simple upper case, and '\' for '/'. Folding twice changes nothing.
 */
static inline uint32_t cbp_fold_unit(uint32_t unit)
{
    if (unit == '/')
        return '\\';
    return (unit + cbp_case_pages[cbp_case_page_of[(unit & 0xffffu) >> 5]][unit & 31u]) & 0xffffu;
}

/* Unit number index, folded; index < text->size. */
static inline uint32_t cbp_text_unit(const struct cbp_text *text, size_t index)
{
    if (text->comparison == CBP_COMPARE_UTF16)
        return cbp_fold_unit(((const uint16_t *) text->units)[index]);
    return ((const unsigned char *) text->units)[index];
}

static inline int cbp_is_wildcard(uint32_t unit)
{
    return unit == '*' || unit == '?';
}

/* Whether a folded unit separates the parts of a path. */
static inline int cbp_is_separator(const struct cbp_text *text, uint32_t unit)
{
    return unit == (text->comparison == CBP_COMPARE_UTF16 ? (uint32_t) '\\' : (uint32_t) '/');
}

/* The part of a path behind its last separator; all of it without one. */
struct cbp_text cbp_text_file_name(const struct cbp_text *path);

/* Whether pattern matches all of name; both are of the same comparison. '*' stands for any run of characters,
 * '?' for exactly one, every other unit for itself; a unit that belongs to a character of name never matches
 * alone. The pattern's size must not be 0. Bound: for every unit of name, as many steps as the longest part
 * of the pattern between two '*' has units. */
int cbp_pattern_matches(const struct cbp_text *pattern, const struct cbp_text *name);

/* What a rule with this pattern means: without a separator it is held against the part of path behind the
 * last one, with one against the whole. Never matches an empty pattern. */
int cbp_pattern_matches_path(const struct cbp_text *pattern, const struct cbp_text *path);

#endif
