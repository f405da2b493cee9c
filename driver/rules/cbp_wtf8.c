/* Converts between UTF-16 and WTF-8; see cbp_wtf8.h. */
#include "cbp_wtf8.h"

static size_t encode_point(uint32_t point, unsigned char *text)
{
    static const uint8_t first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t size = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (size_t i = size; i-- > 1; point >>= 6)
        text[i] = (unsigned char) (0x80u | (point & 0x3fu));
    text[0] = (unsigned char) (first[size] | point);
    return size;
}

size_t cbpd_wtf8_encode(const uint16_t *units, size_t count, char *text)
{
    unsigned char *at = (unsigned char *) text;
    for (size_t i = 0; i < count; i++) {
        uint32_t point = units[i];
        if (cbp_is_high_surrogate(point) && i + 1 < count && cbp_is_low_surrogate(units[i + 1]))
            point = 0x10000u + ((point & 0x3ffu) << 10) + (units[++i] & 0x3ffu);
        at += encode_point(point, at);
    }
    return (size_t) (at - (unsigned char *) text);
}

/* Gives the code point at text and writes its size; UINT32_MAX if it is malformed. */
static uint32_t decode_point(const unsigned char *text, size_t size, size_t *length)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t point = text[0];
    *length = 1;
    if (point < 0x80)
        return point;
    size_t wanted = point >= 0xf0 ? 4 : point >= 0xe0 ? 3 : 2;
    if (point < 0xc2 || point > 0xf4 || wanted > size)
        return UINT32_MAX;
    point &= 0xffu >> (wanted + 1);
    for (size_t i = 1; i < wanted; i++) {
        if ((text[i] & 0xc0u) != 0x80u)
            return UINT32_MAX;
        point = point << 6 | (text[i] & 0x3fu);
    }
    *length = wanted;
    return point < least[wanted] || point > 0x10ffffu ? UINT32_MAX : point;
}

size_t cbpd_wtf8_decode(const char *text, size_t size, uint16_t *units)
{
    size_t count = 0, length;
    for (size_t i = 0; i < size; i += length) {
        uint32_t point = decode_point((const unsigned char *) text + i, size - i, &length);
        if (point == UINT32_MAX)
            return SIZE_MAX;
        if (point >= 0x10000u) {
            units[count++] = (uint16_t) (0xd7c0u + (point >> 10));
            point = 0xdc00u + (point & 0x3ffu);
        }
        units[count++] = (uint16_t) point;
    }
    return count;
}
