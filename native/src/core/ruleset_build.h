/* Builds a compiled rule set (cbp_ruleset.h) from a session's rules. Knows no session and no driver. */
#ifndef CBPI_RULESET_BUILD_H
#define CBPI_RULESET_BUILD_H

#include "cbp_ruleset.h"
#include "transport.h"

/* Compiles count rules, in any order, for the given comparison (CBP_COMPARE_). Patterns are texts as the
 * public functions take them; for CBP_COMPARE_UTF16 that is WTF-8. *set is the caller's, to be freed with
 * free(); *size is its size in bytes. CBP_ERROR_INVALID_PARAMETER for a rule id that is 0 or not unique, for
 * a rule that cannot be (a pattern that is empty, too long, with a NUL, or not WTF-8; an unknown match, flag
 * or action), and for too many rules; CBP_ERROR_NOT_ENOUGH_MEMORY. */
uint32_t cbpi_ruleset_build(uint32_t comparison, const struct cbpi_rule *rules, uint32_t count,
                            struct cbp_ruleset **set, size_t *size);

#endif
