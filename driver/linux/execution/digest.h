/* Makes keyed digests of what is too long to be kept for a later comparison. Knows no tasks. */
#ifndef CBP_DIGEST_H
#define CBP_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct digest {
    uint64_t halves[2];
};

bool cbpd_digest_init(void); /* makes the key; false: errno says why */
struct digest cbpd_digest_of(const void *bytes, size_t size);
bool cbpd_digest_equals(struct digest a, struct digest b);

#endif
