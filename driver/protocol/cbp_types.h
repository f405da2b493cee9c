/* Declares fixed-width types wherever the protocol is compiled: user mode, WDM drivers and BPF programs.
 * Knows nothing but types; includes no OS header except the one that has them. */
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
