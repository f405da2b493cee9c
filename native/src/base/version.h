/* Turns versions from texts into numbers that can be compared. */
#ifndef CBPI_VERSION_H
#define CBPI_VERSION_H

#include <stdint.h>

/* Gives up to four numbers with dots between them as words of 16 bits, the major number highest, as
 * cbp_driver_version() does. Whatever follows them ("rc1") does not count; 0 for a text without a number, or
 * with one that is too large. */
uint64_t cbpi_version_words(const char *text);

#endif
