/* Implements version.h. */
#include "version.h"

uint64_t cbpi_version_words(const char *text)
{
    uint64_t words = 0;
    for (int shift = 48; shift >= 0 && *text >= '0' && *text <= '9'; shift -= 16) {
        uint64_t number = 0;
        for (; *text >= '0' && *text <= '9'; text++) {
            number = number * 10 + (uint64_t) (*text - '0');
            if (number > UINT16_MAX)
                return 0;
        }
        words |= number << shift;
        text += *text == '.';
    }
    return words;
}
