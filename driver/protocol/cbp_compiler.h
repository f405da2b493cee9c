/* The one place for what compilers spell differently: gcc and clang on the one hand, MSVC on the other. Knows
 * nothing else. */
#ifndef CBP_COMPILER_H
#define CBP_COMPILER_H

/* Before a declaration: parameter number format is printf's, its values begin with parameter first. */
#if defined(__MINGW32__) && !defined(__clang__)
#define CBP_PRINTF(format_number, first) __attribute__((format(gnu_printf, format_number, first)))
#elif defined(__GNUC__)
#define CBP_PRINTF(format_number, first) __attribute__((format(printf, format_number, first)))
#else
#define CBP_PRINTF(format_number, first)
#endif

/* CBP_ON_LOAD(name) { ... } is a static function that runs when the library is loaded, before anything else
 * of it. CBP_THREAD_LOCAL stands in the place of _Thread_local. */
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

#endif
