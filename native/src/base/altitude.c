/* Implements altitude.h. */
#include "altitude.h"

#include <stdio.h>

void cbpi_altitude_format(uint64_t altitude, char *text, size_t size)
{
    int used = snprintf(text, size, "%llu.%09llu", (unsigned long long) (altitude / CBPI_ALTITUDE_UNIT),
                        (unsigned long long) (altitude % CBPI_ALTITUDE_UNIT));
    while (text[used - 1] == '0')
        text[--used] = '\0';
    if (text[used - 1] == '.')
        text[--used] = '\0';
}
