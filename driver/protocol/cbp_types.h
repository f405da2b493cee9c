/* Fixed-width types for every place the protocol is compiled in: user mode, WDM drivers and BPF programs.
 * Knows nothing but types; must not include an OS header other than the one that supplies them. */
#ifndef CBP_TYPES_H
#define CBP_TYPES_H

#if defined(__VMLINUX_H__) || defined(CBP_TYPES_SUPPLIED)
/* The including program has declared uint32_t and its relatives already. */
#else
#include <stddef.h>
#include <stdint.h>
#endif

/* A structure whose layout is a contract states its size where it is declared. */
#if defined(__cplusplus)
#define CBP_ASSERT_SIZE(type, size) static_assert(sizeof(type) == (size), #type " has changed")
#elif !defined(__STDC_VERSION__) || __STDC_VERSION__ < 201112L
#define CBP_ASSERT_SIZE(type, size) extern char cbp_size_check_[sizeof(type) == (size) ? 1 : -1]
#else
#define CBP_ASSERT_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " has changed")
#endif

#endif
