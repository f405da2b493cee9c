/* Makes digests of bytes that are compared later: SipHash-2-4 with 128 bits, under a key that is made at the
 * start and never leaves this process. Without the key, two texts with one digest cannot be found.
 *
 * Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", and their reference implementation. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "digest.h"

static uint64_t key[2];

bool cbpd_digest_init(void)
{
    ssize_t size;
    do
        size = getrandom(key, sizeof key, 0);
    while (size < 0 && errno == EINTR);
    return size == (ssize_t) sizeof key;
}

static uint64_t rotate(uint64_t value, unsigned bits)
{
    return value << bits | value >> (64 - bits);
}

static void mix(uint64_t v[4], int rounds)
{
    while (rounds-- > 0) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

static void take_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    mix(v, 2);
    v[0] ^= word;
}

struct digest cbpd_digest_of(const void *bytes, size_t size)
{
    uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d) ^ 0xee,
                     key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
    const char *at = bytes;
    uint64_t word, last = (uint64_t) size << 56;
    struct digest digest;
    for (size_t left = size; left >= sizeof word; left -= sizeof word, at += sizeof word) {
        memcpy(&word, at, sizeof word);
        take_word(v, word);
    }
    for (size_t i = 0; i < size % sizeof word; i++)
        last |= (uint64_t) (unsigned char) at[i] << (8 * i);
    take_word(v, last);
    v[2] ^= 0xee;
    mix(v, 4);
    digest.halves[0] = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    mix(v, 4);
    digest.halves[1] = v[0] ^ v[1] ^ v[2] ^ v[3];
    return digest;
}

bool cbpd_digest_equals(struct digest a, struct digest b)
{
    return ((a.halves[0] ^ b.halves[0]) | (a.halves[1] ^ b.halves[1])) == 0;
}
