/* Offers atomic access to the fields that cbp_channel.h calls atomic and to the core's own shared counters.
 * Each operation has one name, so that an ordinary access to such a field stands out. cbp_compiler.h has the
 * compilers' names for them. Knows no OS call and no type of the protocol.
 *
 * Every operation is sequentially consistent unless its name ends in _relaxed. The
 * sleeping protocols (a bell and a count of sleepers) need that: each side writes one word, then reads the
 * other's. */
#ifndef CBP_ATOMIC_H
#define CBP_ATOMIC_H

#include "cbp_compiler.h"
#include "cbp_types.h"

/* compare_swap stores desired if the word equals *expected, and gives 1; else it writes the value found to
 * *expected and gives 0. add, subtract and swap give the value before. */
CBP_DEFINE_ATOMICS(uint32_t, u32, long, )
CBP_DEFINE_ATOMICS(uint64_t, u64, __int64, 64)

#endif
