/* Atomic access to the fields that cbp_channel.h calls atomic, and to the core's own shared counters: one
 * name for each operation, so that an ordinary access to such a field stands out. Knows the compiler's
 * builtins and nothing else; no OS call, no type of the protocol.
 *
 * Every operation is sequentially consistent unless its name ends in _relaxed, _acquire or _release. The
 * sleeping protocols (a bell and a count of sleepers) need the sequentially consistent ones: each side writes
 * one word and then reads the other's. */
#ifndef CBP_ATOMIC_H
#define CBP_ATOMIC_H

#include "cbp_types.h"

/* compare_swap: stores desired where the word equals *expected and gives 1; else writes the value found to
 * *expected and gives 0. add, subtract, and swap give the value before. */
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>

/* Interlocked operations are full barriers; a volatile access of a word that one instruction moves is atomic,
 * and with /volatile:ms, the default on x64, an acquire or a release. */
#define CBP_DEFINE_ATOMICS_(type, suffix, raw, size)                                                         \
    static __inline type cbp_load_##suffix(const type *word)                                                 \
    {                                                                                                        \
        return (type) _InterlockedOr##size((volatile raw *) (uintptr_t) word, 0);                            \
    }                                                                                                        \
    static __inline type cbp_load_relaxed_##suffix(const type *word)                                         \
    {                                                                                                        \
        return *(const volatile type *) word;                                                                \
    }                                                                                                        \
    static __inline type cbp_load_acquire_##suffix(const type *word)                                         \
    {                                                                                                        \
        return cbp_load_##suffix(word);                                                                      \
    }                                                                                                        \
    static __inline void cbp_store_##suffix(type *word, type value)                                          \
    {                                                                                                        \
        (void) _InterlockedExchange##size((volatile raw *) word, (raw) value);                               \
    }                                                                                                        \
    static __inline void cbp_store_relaxed_##suffix(type *word, type value)                                  \
    {                                                                                                        \
        *(volatile type *) word = value;                                                                     \
    }                                                                                                        \
    static __inline void cbp_store_release_##suffix(type *word, type value)                                  \
    {                                                                                                        \
        cbp_store_##suffix(word, value);                                                                     \
    }                                                                                                        \
    static __inline type cbp_add_##suffix(type *word, type value)                                            \
    {                                                                                                        \
        return (type) _InterlockedExchangeAdd##size((volatile raw *) word, (raw) value);                     \
    }                                                                                                        \
    static __inline type cbp_add_relaxed_##suffix(type *word, type value)                                    \
    {                                                                                                        \
        return cbp_add_##suffix(word, value);                                                                \
    }                                                                                                        \
    static __inline type cbp_subtract_##suffix(type *word, type value)                                       \
    {                                                                                                        \
        return cbp_add_##suffix(word, (type) 0 - value);                                                     \
    }                                                                                                        \
    static __inline type cbp_swap_##suffix(type *word, type value)                                           \
    {                                                                                                        \
        return (type) _InterlockedExchange##size((volatile raw *) word, (raw) value);                        \
    }                                                                                                        \
    static __inline int cbp_compare_swap_##suffix(type *word, type *expected, type desired)                  \
    {                                                                                                        \
        type found =                                                                                         \
            (type) _InterlockedCompareExchange##size((volatile raw *) word, (raw) desired, (raw) *expected); \
        if (found == *expected)                                                                              \
            return 1;                                                                                        \
        *expected = found;                                                                                   \
        return 0;                                                                                            \
    }

CBP_DEFINE_ATOMICS_(uint32_t, u32, long, )
CBP_DEFINE_ATOMICS_(uint64_t, u64, __int64, 64)

#else

#define CBP_DEFINE_ATOMICS_(type, suffix)                                                                    \
    static inline type cbp_load_##suffix(const type *word)                                                   \
    {                                                                                                        \
        return __atomic_load_n(word, __ATOMIC_SEQ_CST);                                                      \
    }                                                                                                        \
    static inline type cbp_load_relaxed_##suffix(const type *word)                                           \
    {                                                                                                        \
        return __atomic_load_n(word, __ATOMIC_RELAXED);                                                      \
    }                                                                                                        \
    static inline type cbp_load_acquire_##suffix(const type *word)                                           \
    {                                                                                                        \
        return __atomic_load_n(word, __ATOMIC_ACQUIRE);                                                      \
    }                                                                                                        \
    static inline void cbp_store_##suffix(type *word, type value)                                            \
    {                                                                                                        \
        __atomic_store_n(word, value, __ATOMIC_SEQ_CST);                                                     \
    }                                                                                                        \
    static inline void cbp_store_relaxed_##suffix(type *word, type value)                                    \
    {                                                                                                        \
        __atomic_store_n(word, value, __ATOMIC_RELAXED);                                                     \
    }                                                                                                        \
    static inline void cbp_store_release_##suffix(type *word, type value)                                    \
    {                                                                                                        \
        __atomic_store_n(word, value, __ATOMIC_RELEASE);                                                     \
    }                                                                                                        \
    static inline type cbp_add_##suffix(type *word, type value)                                              \
    {                                                                                                        \
        return __atomic_fetch_add(word, value, __ATOMIC_SEQ_CST);                                            \
    }                                                                                                        \
    static inline type cbp_add_relaxed_##suffix(type *word, type value)                                      \
    {                                                                                                        \
        return __atomic_fetch_add(word, value, __ATOMIC_RELAXED);                                            \
    }                                                                                                        \
    static inline type cbp_subtract_##suffix(type *word, type value)                                         \
    {                                                                                                        \
        return __atomic_fetch_sub(word, value, __ATOMIC_SEQ_CST);                                            \
    }                                                                                                        \
    static inline type cbp_swap_##suffix(type *word, type value)                                             \
    {                                                                                                        \
        return __atomic_exchange_n(word, value, __ATOMIC_SEQ_CST);                                           \
    }                                                                                                        \
    static inline int cbp_compare_swap_##suffix(type *word, type *expected, type desired)                    \
    {                                                                                                        \
        return __atomic_compare_exchange_n(word, expected, desired, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);  \
    }

CBP_DEFINE_ATOMICS_(uint32_t, u32)
CBP_DEFINE_ATOMICS_(uint64_t, u64)

#endif

#endif
