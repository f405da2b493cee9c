/* From UTF-8 with surrogates let through (WTF-8), as texts come from the public functions, to UTF-16. */
#ifndef CBPI_WTF8_H
#define CBPI_WTF8_H

#include <stddef.h>
#include <stdint.h>

/* Writes the UTF-16 units of size bytes of text, at most that many, and their number. 0 if the text is
 * malformed. */
int cbpi_wtf8_decode(const char *text, size_t size, uint16_t *units, size_t *count);

#endif
