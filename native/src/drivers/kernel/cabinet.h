/* Checks the bytes of a cabinet before the system unpacks it, which trusts some of its numbers. Knows no
 * operating system, and nothing of what is in the files. */
#ifndef CBPI_KERNEL_CABINET_H
#define CBPI_KERNEL_CABINET_H

#include <stddef.h>
#include <stdint.h>

#define CBPI_CABINET_SIZE_MAX (16u * 1024u * 1024u)

/* Checks that the bytes are one whole cabinet, whose blocks have the sums that it says. CBP_ERROR_BAD_FORMAT if
 * they are none; CBP_ERROR_INVALID_DATA if it is cut, damaged, or one part of several. */
uint32_t cbpi_cabinet_check(const uint8_t *bytes, size_t size);

#endif
