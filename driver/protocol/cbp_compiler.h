/* Hides what compilers spell differently: gcc and clang on one side, MSVC on the other. Knows no more. */
#ifndef CBP_COMPILER_H
#define CBP_COMPILER_H

/* A declaration after this mark has printf's format as parameter format_number, and its values from first. */
#if defined(__MINGW32__) && !defined(__clang__)
#define CBP_PRINTF(format_number, first) __attribute__((format(gnu_printf, format_number, first)))
#elif defined(__GNUC__)
#define CBP_PRINTF(format_number, first) __attribute__((format(printf, format_number, first)))
#else
#define CBP_PRINTF(format_number, first)
#endif

/* CBP_ON_LOAD(name) { ... } defines a static function that runs when the library is loaded, before anything
 * else of it. CBP_THREAD_LOCAL is _Thread_local. */
#if defined(_MSC_VER)
#pragma section(".CRT$XCU", read)
#define CBP_ON_LOAD(name)                                                                                    \
    static void __cdecl name(void);                                                                          \
    __declspec(allocate(".CRT$XCU")) void(__cdecl * name##_on_load)(void) = name;                            \
    static void __cdecl name(void)
#define CBP_THREAD_LOCAL __declspec(thread)
#define CBP_ALIGNAS(bytes) __declspec(align(bytes))
#else
#define CBP_ON_LOAD(name) __attribute__((constructor)) static void name(void)
#define CBP_THREAD_LOCAL _Thread_local
#define CBP_ALIGNAS(bytes) _Alignas(bytes)
#endif

/* CBP_DEFINE_ATOMICS(type, suffix, raw, size) defines the functions of cbp_atomic.h for one type. raw and
 * size are parts of MSVC's own names for it. */
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>

/* Interlocked operations are full barriers. A volatile access of a word that one instruction moves is atomic,
 * and with /volatile:ms, the default on x64, an acquire or a release. */
#define CBP_DEFINE_ATOMICS(type, suffix, raw, size)                                                          \
    static __inline type cbp_load_##suffix(const type *word)                                                 \
    {                                                                                                        \
        return (type) _InterlockedOr##size((volatile raw *) (uintptr_t) word, 0);                            \
    }                                                                                                        \
    static __inline type cbp_load_relaxed_##suffix(const type *word)                                         \
    {                                                                                                        \
        return *(const volatile type *) word;                                                                \
    }                                                                                                        \
    static __inline void cbp_store_##suffix(type *word, type value)                                          \
    {                                                                                                        \
        (void) _InterlockedExchange##size((volatile raw *) word, (raw) value);                               \
    }                                                                                                        \
    static __inline void cbp_store_relaxed_##suffix(type *word, type value)                                  \
    {                                                                                                        \
        *(volatile type *) word = value;                                                                     \
    }                                                                                                        \
    static __inline type cbp_add_##suffix(type *word, type value)                                            \
    {                                                                                                        \
        return (type) _InterlockedExchangeAdd##size((volatile raw *) word, (raw) value);                     \
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
#else
#define CBP_DEFINE_ATOMICS(type, suffix, raw, size)                                                          \
    static inline type cbp_load_##suffix(const type *word)                                                   \
    {                                                                                                        \
        return __atomic_load_n(word, __ATOMIC_SEQ_CST);                                                      \
    }                                                                                                        \
    static inline type cbp_load_relaxed_##suffix(const type *word)                                           \
    {                                                                                                        \
        return __atomic_load_n(word, __ATOMIC_RELAXED);                                                      \
    }                                                                                                        \
    static inline void cbp_store_##suffix(type *word, type value)                                            \
    {                                                                                                        \
        __atomic_store_n(word, value, __ATOMIC_SEQ_CST);                                                     \
    }                                                                                                        \
    static inline void cbp_store_relaxed_##suffix(type *word, type value)                                    \
    {                                                                                                        \
        __atomic_store_n(word, value, __ATOMIC_RELAXED);                                                     \
    }                                                                                                        \
    static inline type cbp_add_##suffix(type *word, type value)                                              \
    {                                                                                                        \
        return __atomic_fetch_add(word, value, __ATOMIC_SEQ_CST);                                            \
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
#endif

#endif
