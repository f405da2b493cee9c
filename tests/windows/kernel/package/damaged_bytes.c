/* Checks each damage of one byte in a driver's file and in a cabinet, and each length that they can be cut to, under
 * sanitizers:
 *
 *     damaged_bytes DRIVER VERSION CABINET       VERSION is the number that the driver has
 *
 * Also fills whole words with extreme values, with the right checksum for that: then anything may be said of the
 * file, but nothing beyond it may be read. */
#include "cabinet.h"
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

typedef uint32_t (*check_function)(const uint8_t *bytes, size_t size);

static uint32_t check_image(const uint8_t *bytes, size_t size)
{
    struct cbpi_driver_image image = {0};
    return cbpi_driver_image_check(bytes, size, CBPI_MACHINE_AMD64, &image);
}

/* Checks a copy that ends where its memory does, so that a sanitizer sees each byte too many. */
static uint32_t check_copy(check_function check, const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy)
        exit(2);
    memcpy(copy, bytes, size);
    uint32_t error = check(copy, size);
    free(copy);
    if (error != 0 && error != CBP_ERROR_BAD_FORMAT && error != CBP_ERROR_INVALID_DATA)
        fail("an unknown code", error);
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

/* Sets words to extreme values, and the sum with them where there is one. */
static void try_extremes(check_function check, uint8_t *bytes, size_t size,
                         void (*set_sum)(uint8_t *, size_t))
{
    static const uint32_t values[] = {0,          1,          0x7f,       0xffff,     0x10000,
                                      0x7fffffff, 0x80000000, 0x80000010, 0xfffffff0, 0xffffffff};
    uint32_t kept;
    for (size_t at = 0; at + 4 <= size; at += 2) {
        memcpy(&kept, bytes + at, 4);
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
            memcpy(bytes + at, &values[i], 4);
            if (set_sum)
                set_sum(bytes, size);
            (void) check_copy(check, bytes, size);
        }
        memcpy(bytes + at, &kept, 4);
    }
    if (set_sum)
        set_sum(bytes, size);
}

static size_t read_file(const char *path, uint8_t *bytes, size_t room)
{
    FILE *file = fopen(path, "rb");
    size_t size = file ? fread(bytes, 1, room, file) : 0;
    if (size == 0 || fclose(file) != 0)
        exit(2);
    return size;
}

/* A length is one too few or a byte is another; both are noticed everywhere from start on. */
static void try_damage(check_function check, uint8_t *bytes, size_t size, size_t start)
{
    for (size_t at = 0; at < size; at++) {
        if (check_copy(check, bytes, at) == 0)
            fail("cut", at);
        for (unsigned value = 1; value < 256; value += 1 + 6 * (at > 256)) {
            bytes[at] ^= (uint8_t) value;
            if (check_copy(check, bytes, size) == 0 && at >= start)
                fail("damaged", at);
            bytes[at] ^= (uint8_t) value;
        }
    }
}

static uint8_t bytes[CBPI_DRIVER_IMAGE_SIZE_MAX];

static void try_driver(const char *path, const char *version)
{
    struct cbpi_driver_image image;
    size_t size = read_file(path, bytes, sizeof bytes);
    if (cbpi_driver_image_check(bytes, size, CBPI_MACHINE_AMD64, &image) != 0 ||
        image.version != strtoull(version, NULL, 0))
        fail("the whole file", size);
    if (cbpi_driver_image_check(bytes, size, CBPI_MACHINE_ARM64, &image) != CBP_ERROR_BAD_FORMAT)
        fail("another machine", size);
    try_damage(check_image, bytes, size, 0);
    try_extremes(check_image, bytes, size, set_checksum);
    if (check_image(bytes, size) != 0)
        fail("the whole file afterwards", size);
    printf("driver of %zu bytes, %d failures\n", size, failures);
}

/* Damage is noticed in the data behind their sums; of what lies before, a date or a name can be another. */
static void try_cabinet(const char *path)
{
    uint32_t data_at;
    size_t size = read_file(path, bytes, sizeof bytes);
    memcpy(&data_at, bytes + 36, sizeof data_at);
    if (cbpi_cabinet_check(bytes, size) != 0)
        fail("the whole cabinet", size);
    try_damage(cbpi_cabinet_check, bytes, size, data_at + 8u);
    try_extremes(cbpi_cabinet_check, bytes, size, NULL);
    printf("cabinet of %zu bytes, %d failures\n", size, failures);
}

int main(int count, char **arguments)
{
    if (count != 4)
        return 2;
    try_driver(arguments[1], arguments[2]);
    try_cabinet(arguments[3]);
    return failures != 0;
}
