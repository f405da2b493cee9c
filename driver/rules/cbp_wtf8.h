/* Converts between UTF-16, in which surrogates need not be paired, and WTF-8, which is UTF-8 that allows such
 * surrogates. No OS call. Does not know what the texts mean. */
#ifndef CBP_WTF8_H
#define CBP_WTF8_H

#include <stdbool.h>

#include "cbp_types.h"

static inline bool cbp_is_high_surrogate(uint32_t unit)
{
    return (unit & 0xfc00u) == 0xd800u;
}

static inline bool cbp_is_low_surrogate(uint32_t unit)
{
    return (unit & 0xfc00u) == 0xdc00u;
}

/* Writes count units as WTF-8 to text, which has room for 3 * count bytes. Gives the number of bytes. */
size_t cbpd_wtf8_encode(const uint16_t *units, size_t count, char *text);

/* Writes size bytes of text as UTF-16 to units, which has room for size of them. Gives the number of units,
 * or SIZE_MAX if the text is malformed. */
size_t cbpd_wtf8_decode(const char *text, size_t size, uint16_t *units);

#endif
