/* Implements driver_image.h after the published format of PE images. Each offset is checked before it is
 * read, once, in reader functions. */
#include "driver_image.h"

#include "cbprocess.h"
#include "errors.h"

#include <stdbool.h>
#include <string.h>

enum {
    DOS_HEADER_SIZE = 64,
    DOS_NEW_HEADER = 60, /* the offset of the field with the PE header's offset */
    COFF_SIZE = 24,      /* with the signature */
    OPTIONAL_SIZE = 240, /* of a 64-bit image with 16 directories */
    SECTION_SIZE = 40,
    SECTIONS_MAX = 96,
    DIRECTORIES = 112, /* in the optional header */
    RESOURCES = 2,
    CERTIFICATES = 4,
    CHECKSUM = 64, /* in the optional header */
    SUBSYSTEM = 68,
    DIRECTORY_COUNT = 108,
    MAGIC_64_BIT = 0x20b,
    SUBSYSTEM_NATIVE = 1,
    RESOURCE_VERSION = 16
};
#define VERSION_SIGNATURE 0xfeef04bdu
#define SUBFOLDER 0x80000000u

struct span {
    const uint8_t *at;
    size_t size;
};

static uint32_t read_16(struct span span, size_t offset)
{
    if (offset > span.size || span.size - offset < 2)
        return 0;
    return (uint32_t) span.at[offset] | (uint32_t) span.at[offset + 1] << 8;
}

static uint32_t read_32(struct span span, size_t offset)
{
    if (offset > span.size || span.size - offset < 4)
        return 0;
    return read_16(span, offset) | read_16(span, offset + 2) << 16;
}

/* Gives a part; an empty one where it does not lie within the whole. */
static struct span part(struct span whole, size_t offset, size_t size)
{
    if (offset > whole.size || whole.size - offset < size)
        return (struct span){whole.at, 0};
    return (struct span){whole.at + offset, size};
}

static uint32_t fail_damaged(const char *what)
{
    return cbpi_fail(CBP_ERROR_INVALID_DATA, "the driver's file is damaged: %s", what);
}

/* ---- The version ---- */

/* Finds the first entry of a resource folder: that with this id, or with 0 any. Gives the offset that it has,
 * 0 if there is none. */
static uint32_t find_entry(struct span resources, uint32_t folder, uint32_t id)
{
    uint32_t count = read_16(resources, folder + 12u) + read_16(resources, folder + 14u);
    for (uint32_t i = 0; i < count; i++) {
        struct span entry = part(resources, folder + 16u + 8u * i, 8);
        if (entry.size == 0)
            return 0;
        if (id == 0 || read_32(entry, 0) == id)
            return read_32(entry, 4);
    }
    return 0;
}

/* Finds the version in a section of resources whose first byte is loaded at that address. */
static uint32_t find_version(struct span resources, uint32_t address, uint64_t *version)
{
    /* The levels are type, name and language; only the last has data. */
    uint32_t by_name = find_entry(resources, 0, RESOURCE_VERSION);
    uint32_t by_language = by_name & SUBFOLDER ? find_entry(resources, by_name & ~SUBFOLDER, 0) : 0;
    uint32_t data = by_language & SUBFOLDER ? find_entry(resources, by_language & ~SUBFOLDER, 0) : 0;
    if (data == 0 || (data & SUBFOLDER))
        return fail_damaged("it has no version");
    /* The data begin with three numbers and "VS_VERSION_INFO" in UTF-16, padded to 40 bytes. */
    struct span block = part(resources, read_32(resources, data) - address, read_32(resources, data + 4u));
    struct span fixed = part(block, 40, 52);
    if (read_32(fixed, 0) != VERSION_SIGNATURE)
        return fail_damaged("its version cannot be read");
    *version = (uint64_t) read_32(fixed, 8) << 32 | read_32(fixed, 12);
    return 0;
}

/* ---- The image ---- */

/* Computes the sum over the file in words of 16 bits, without the field of the sum itself. */
static uint32_t compute_checksum(struct span file, size_t field)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < file.size; i += 2) {
        if (i == field || i == field + 2)
            continue;
        sum += i + 1 < file.size ? read_16(file, i) : file.at[i];
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint32_t) ((sum & 0xffff) + (sum >> 16)) + (uint32_t) file.size;
}

/* Checks that all sections lie within the file, and looks for the version among them. */
static uint32_t check_sections(struct span file, struct span headers, uint32_t count, uint32_t resources,
                               uint64_t *version)
{
    uint32_t error = fail_damaged("it has no resources");
    for (uint32_t i = 0; i < count; i++) {
        struct span header = part(headers, (size_t) i * SECTION_SIZE, SECTION_SIZE);
        uint32_t size = read_32(header, 16), offset = read_32(header, 20), address = read_32(header, 12);
        struct span section = part(file, offset, size);
        if (section.size != size)
            return fail_damaged("a section lies beyond its end");
        if (resources != 0 && address == resources)
            error = find_version(section, address, version);
    }
    return error;
}

/* A signature is the last part of the file. */
static bool certificates_end_the_file(struct span file, struct span optional)
{
    uint32_t offset = read_32(optional, DIRECTORIES + 8 * CERTIFICATES);
    uint32_t size = read_32(optional, DIRECTORIES + 8 * CERTIFICATES + 4);
    return size == 0 || (part(file, offset, size).size == size && (size_t) offset + size == file.size);
}

static uint32_t check_headers(struct span file, struct span coff, struct span optional, uint16_t machine)
{
    if (read_32(coff, 0) != 0x4550u || optional.size == 0 || read_16(optional, 0) != MAGIC_64_BIT ||
        read_16(coff, 20) != OPTIONAL_SIZE || read_32(optional, DIRECTORY_COUNT) != 16 ||
        read_16(optional, SUBSYSTEM) != SUBSYSTEM_NATIVE)
        return cbpi_fail(CBP_ERROR_BAD_FORMAT, "the package's driver is no driver for 64-bit Windows");
    if (read_16(coff, 4) != machine)
        return cbpi_fail(CBP_ERROR_BAD_FORMAT,
                         "the package's driver is for another machine (0x%04x, and this one is 0x%04x)",
                         (unsigned) read_16(coff, 4), (unsigned) machine);
    if (!certificates_end_the_file(file, optional))
        return fail_damaged("its signature does not lie at its end");
    return 0;
}

uint32_t cbpi_driver_image_check(const uint8_t *bytes, size_t size, uint16_t machine,
                                 struct cbpi_driver_image *image)
{
    struct span file = {bytes, size};
    if (size < DOS_HEADER_SIZE || size > CBPI_DRIVER_IMAGE_SIZE_MAX || read_16(file, 0) != 0x5a4du)
        return cbpi_fail(CBP_ERROR_BAD_FORMAT, "the package's driver is no program at all");
    size_t start = read_32(file, DOS_NEW_HEADER);
    struct span coff = part(file, start, COFF_SIZE);
    struct span optional = part(file, start + COFF_SIZE, OPTIONAL_SIZE);
    uint32_t error = check_headers(file, coff, optional, machine);
    if (error != 0)
        return error;
    uint32_t count = read_16(coff, 6);
    struct span headers = part(file, start + COFF_SIZE + OPTIONAL_SIZE, (size_t) count * SECTION_SIZE);
    if (count == 0 || count > SECTIONS_MAX || headers.size == 0)
        return fail_damaged("it has no sections");
    struct cbpi_driver_image found = {.checksum = read_32(optional, CHECKSUM)};
    if (compute_checksum(file, start + COFF_SIZE + CHECKSUM) != found.checksum)
        return fail_damaged("its checksum is another");
    uint32_t resources = read_32(optional, DIRECTORIES + 8 * RESOURCES);
    error = check_sections(file, headers, count, resources, &found.version);
    if (error == 0)
        *image = found;
    return error;
}
