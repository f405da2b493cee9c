/* Is a part of cbprocess.h, whose conventions hold: sets of patterns, for programs that decide by names
 * themselves. Needs no session. */
#ifndef CBP_PATTERN_SET_H
#define CBP_PATTERN_SET_H

#include "cbp_api.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Makes a set of many patterns, which is compared with one name in a time that hardly depends on their
 * number. as_on_windows 1 compares as rules do on Windows (case ignored, '/' is '\', a pair of surrogates is
 * one character; texts are WTF-8), 0 as on Linux. CBP_ERROR_INVALID_PARAMETER for a pattern that a rule could
 * not have. *set is the caller's until cbp_pattern_set_destroy(). */
struct cbp_pattern_set;
CBP_API uint32_t CBP_CALL cbp_pattern_set_create(const char *const *patterns, const uint64_t *pattern_sizes,
                                                 uint32_t count, uint32_t as_on_windows,
                                                 struct cbp_pattern_set **set);

/* Says which patterns match this name: *count is how many, and the numbers of the first capacity of them go
 * to indices, in rising order. Several threads may use a set at once. CBP_ERROR_INVALID_PARAMETER for a name
 * that is not WTF-8 where that is needed; CBP_ERROR_NOT_ENOUGH_MEMORY. */
CBP_API uint32_t CBP_CALL cbp_pattern_set_match(const struct cbp_pattern_set *set, const char *name,
                                                uint64_t name_size, uint32_t *indices, uint32_t capacity,
                                                uint32_t *count);

/* Frees the set; NULL does nothing. */
CBP_API void CBP_CALL cbp_pattern_set_destroy(struct cbp_pattern_set *set);

#ifdef __cplusplus
}
#endif

#endif
