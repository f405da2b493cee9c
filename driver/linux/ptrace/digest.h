/* Keyed digests, for what is compared again later and is too long to be kept. Knows nothing of tasks. */
#ifndef CBP_DIGEST_H
#define CBP_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct digest {
    uint64_t halves[2];
};

bool cbpd_digest_init(void); /* makes the key; errno says why not */
struct digest cbpd_digest_of(const void *bytes, size_t size);
bool cbpd_digest_equals(struct digest a, struct digest b);

#endif
