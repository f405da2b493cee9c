/* Checks the bytes of a driver's file: a PE image for one machine, whole, with a version. Knows no operating
 * system, and nothing of signatures. */
#ifndef CBPI_DRIVER_IMAGE_H
#define CBPI_DRIVER_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#define CBPI_DRIVER_IMAGE_SIZE_MAX (16u * 1024u * 1024u)

#define CBPI_MACHINE_AMD64 0x8664u
#define CBPI_MACHINE_ARM64 0xaa64u

struct cbpi_driver_image {
    uint64_t version; /* four words of 16 bits, the major number highest */
    uint32_t checksum;
};

/* Checks a file for that machine (CBPI_MACHINE_). CBP_ERROR_BAD_FORMAT if it is no driver, or one for another
 * machine; CBP_ERROR_INVALID_DATA if it is cut or damaged. */
uint32_t cbpi_driver_image_check(const uint8_t *bytes, size_t size, uint16_t machine,
                                 struct cbpi_driver_image *image);

#endif
