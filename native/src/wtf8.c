/* See wtf8.h. */
#include "wtf8.h"

/* The code point at *text, which moves on behind it; -1 for anything malformed. */
static int32_t next_code_point(const unsigned char **text, const unsigned char *end)
{
    static const int32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    int32_t first = *(*text)++;
    if (first < 0x80)
        return first;
    int size = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || end - *text < size - 1)
        return -1;
    int32_t point = first & (0xff >> (size + 1));
    for (int i = 1; i < size; i++) {
        int32_t byte = *(*text)++;
        if ((byte & 0xc0) != 0x80)
            return -1;
        point = point << 6 | (byte & 0x3f);
    }
    return point < least[size] || point > 0x10ffff ? -1 : point;
}

int cbpi_wtf8_decode(const char *text, size_t size, uint16_t *units, size_t *count)
{
    const unsigned char *at = (const unsigned char *) text, *end = at + size;
    size_t written = 0;
    while (at < end) {
        int32_t point = next_code_point(&at, end);
        if (point < 0)
            return 0;
        if (point >= 0x10000) {
            units[written++] = (uint16_t) (0xd7c0 + (point >> 10));
            units[written++] = (uint16_t) (0xdc00 + (point & 0x3ff));
        } else {
            units[written++] = (uint16_t) point;
        }
    }
    *count = written;
    return 1;
}
