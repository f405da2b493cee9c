/* Checks each damage of one byte in a driver's file, and each length that it can be cut to, under sanitizers:
 *
 *     image_bytes DRIVER VERSION       VERSION is the number that the driver has
 *
 * Also fills whole words of its headers with extreme values, with the right checksum for that: then anything may
 * be said of the file, but nothing beyond it may be read. */
#include "driver_image.h"

#include "cbprocess.h"
#include "errors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;

uint32_t cbpi_fail(uint32_t code, const char *format, ...)
{
    (void) format;
    return code;
}

static void fail(const char *what, size_t at)
{
    failures++;
    printf("FAILED: %s at %zu\n", what, at);
}

/* Checks a copy that ends where its memory does, so that a sanitizer sees each byte too many. */
static uint32_t check(const uint8_t *bytes, size_t size)
{
    struct cbpi_driver_image image = {0};
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        exit(2);
    memcpy(copy, bytes, size);
    uint32_t error = cbpi_driver_image_check(copy, size, CBPI_MACHINE_AMD64, &image);
    free(copy);
    return error;
}

/* The sum of the words but for its own field, computed in the obvious way. */
static void set_checksum(uint8_t *bytes, size_t size)
{
    uint32_t start;
    memcpy(&start, bytes + 60, sizeof start);
    size_t field = (size_t) start + 24 + 64;
    if (field > size || size - field < 4)
        return;
    memset(bytes + field, 0, 4);
    uint64_t sum = 0;
    for (size_t i = 0; i < size; i++)
        sum += (uint64_t) bytes[i] << (i % 2 ? 8 : 0);
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16);
    uint32_t total = (uint32_t) sum + (uint32_t) size;
    memcpy(bytes + field, &total, sizeof total);
}

static void try_extremes(uint8_t *bytes, size_t size)
{
    static const uint32_t values[] = {0,          1,          0x7f,       0xffff,     0x10000,
                                      0x7fffffff, 0x80000000, 0x80000010, 0xfffffff0, 0xffffffff};
    uint32_t kept;
    for (size_t at = 0; at + 4 <= size; at += 2) {
        memcpy(&kept, bytes + at, 4);
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
            memcpy(bytes + at, &values[i], 4);
            set_checksum(bytes, size);
            uint32_t error = check(bytes, size);
            if (error != 0 && error != CBP_ERROR_BAD_FORMAT && error != CBP_ERROR_INVALID_DATA)
                fail("an unknown code", at);
        }
        memcpy(bytes + at, &kept, 4);
    }
    set_checksum(bytes, size);
}

int main(int count, char **arguments)
{
    static uint8_t bytes[CBPI_DRIVER_IMAGE_SIZE_MAX];
    struct cbpi_driver_image image;
    FILE *file = count == 3 ? fopen(arguments[1], "rb") : NULL;
    size_t size = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    if (size == 0 || fclose(file) != 0)
        return 2;
    if (cbpi_driver_image_check(bytes, size, CBPI_MACHINE_AMD64, &image) != 0 ||
        image.version != strtoull(arguments[2], NULL, 0))
        fail("the whole file", size);
    if (cbpi_driver_image_check(bytes, size, CBPI_MACHINE_ARM64, &image) != CBP_ERROR_BAD_FORMAT)
        fail("another machine", size);
    for (size_t at = 0; at < size; at++) {
        if (check(bytes, at) == 0)
            fail("cut", at);
        for (unsigned value = 1; value < 256; value += 1 + 6 * (at > 1024)) {
            bytes[at] ^= (uint8_t) value;
            if (check(bytes, size) == 0)
                fail("damaged", at);
            bytes[at] ^= (uint8_t) value;
        }
    }
    try_extremes(bytes, size < 8192 ? size : 8192);
    if (check(bytes, size < 8192 ? size : 8192) != 0 && size < 8192)
        fail("the whole file afterwards", size);
    printf("%zu bytes, %d failures\n", size, failures);
    return failures != 0;
}
