/* Declares an altitude as the library keeps it, in billionths, and writes it as the decimal that it is. */
#ifndef CBPI_ALTITUDE_H
#define CBPI_ALTITUDE_H

#include <stddef.h>
#include <stdint.h>

#define CBPI_ALTITUDE_PLACES 9u
#define CBPI_ALTITUDE_UNIT 1000000000u

#define CBPI_ALTITUDE_SIZE 32u /* of the text with its NUL */

void cbpi_altitude_format(uint64_t altitude, char *text, size_t size);

#endif
