/* Atomic access to the fields that cbp_channel.h calls atomic, and to the core's own shared counters: one
 * name for each operation, so that an ordinary access to such a field stands out. What the compiler calls
 * them stands in cbp_compiler.h; no OS call, no type of the protocol.
 *
 * Every operation is sequentially consistent unless its name ends in _relaxed, _acquire or _release. The
 * sleeping protocols (a bell and a count of sleepers) need the sequentially consistent ones: each side writes
 * one word and then reads the other's. */
#ifndef CBP_ATOMIC_H
#define CBP_ATOMIC_H

#include "cbp_compiler.h"
#include "cbp_types.h"

/* compare_swap: stores desired where the word equals *expected and gives 1; else writes the value found to
 * *expected and gives 0. add, subtract, and swap give the value before. */
CBP_DEFINE_ATOMICS(uint32_t, u32, long, )
CBP_DEFINE_ATOMICS(uint64_t, u64, __int64, 64)

#endif
