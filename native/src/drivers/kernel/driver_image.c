/* Implements driver_image.h after the published format of PE images. Each offset is checked where it is read
 * (span.h). */
#include "driver_image.h"

#include "cbprocess.h"
#include "errors.h"
#include "span.h"

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

static uint32_t fail_damaged(const char *what)
{
    return cbpi_fail(CBP_ERROR_INVALID_DATA, "the driver's file is damaged: %s", what);
}

/* ---- The version ---- */

/* Finds the first entry of a resource folder: that with this id, or with 0 any. Gives the offset that it has,
 * 0 if there is none. */
static uint32_t find_entry(struct cbpi_span resources, uint32_t folder, uint32_t id)
{
    uint32_t count = cbpi_span_16(resources, folder + 12u) + cbpi_span_16(resources, folder + 14u);
    for (uint32_t i = 0; i < count; i++) {
        struct cbpi_span entry = cbpi_span_part(resources, folder + 16u + 8u * i, 8);
        if (entry.size == 0)
            return 0;
        if (id == 0 || cbpi_span_32(entry, 0) == id)
            return cbpi_span_32(entry, 4);
    }
    return 0;
}

/* Finds the version in a section of resources whose first byte is loaded at that address. */
static uint32_t find_version(struct cbpi_span resources, uint32_t address, uint64_t *version)
{
    /* The levels are type, name and language; only the last has data. */
    uint32_t by_name = find_entry(resources, 0, RESOURCE_VERSION);
    uint32_t by_language = by_name & SUBFOLDER ? find_entry(resources, by_name & ~SUBFOLDER, 0) : 0;
    uint32_t data = by_language & SUBFOLDER ? find_entry(resources, by_language & ~SUBFOLDER, 0) : 0;
    if (data == 0 || (data & SUBFOLDER))
        return fail_damaged("it has no version");
    /* The data begin with three numbers and "VS_VERSION_INFO" in UTF-16, padded to 40 bytes. */
    struct cbpi_span block = cbpi_span_part(resources, cbpi_span_32(resources, data) - address,
                                            cbpi_span_32(resources, data + 4u));
    struct cbpi_span fixed = cbpi_span_part(block, 40, 52);
    if (cbpi_span_32(fixed, 0) != VERSION_SIGNATURE)
        return fail_damaged("its version cannot be read");
    *version = (uint64_t) cbpi_span_32(fixed, 8) << 32 | cbpi_span_32(fixed, 12);
    return 0;
}

/* ---- The image ---- */

/* Computes the sum over the file in words of 16 bits, without the field of the sum itself. */
static uint32_t compute_checksum(struct cbpi_span file, size_t field)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < file.size; i += 2) {
        if (i == field || i == field + 2)
            continue;
        sum += i + 1 < file.size ? cbpi_span_16(file, i) : file.at[i];
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return (uint32_t) ((sum & 0xffff) + (sum >> 16)) + (uint32_t) file.size;
}

/* Checks that all sections lie within the file, and looks for the version among them. */
static uint32_t check_sections(struct cbpi_span file, struct cbpi_span headers, uint32_t count,
                               uint32_t resources, uint64_t *version)
{
    bool is_found = false;
    for (uint32_t i = 0; i < count; i++) {
        struct cbpi_span header = cbpi_span_part(headers, (size_t) i * SECTION_SIZE, SECTION_SIZE);
        uint32_t size = cbpi_span_32(header, 16), offset = cbpi_span_32(header, 20),
                 address = cbpi_span_32(header, 12);
        struct cbpi_span section = cbpi_span_part(file, offset, size);
        if (section.size != size)
            return fail_damaged("a section lies beyond its end");
        if (resources == 0 || address != resources)
            continue;
        uint32_t error = find_version(section, address, version);
        if (error != 0)
            return error;
        is_found = true;
    }
    return is_found ? 0 : fail_damaged("it has no resources");
}

/* A signature is the last part of the file. */
static bool certificates_end_the_file(struct cbpi_span file, struct cbpi_span optional)
{
    uint32_t offset = cbpi_span_32(optional, DIRECTORIES + 8 * CERTIFICATES);
    uint32_t size = cbpi_span_32(optional, DIRECTORIES + 8 * CERTIFICATES + 4);
    return size == 0 ||
           (cbpi_span_part(file, offset, size).size == size && (size_t) offset + size == file.size);
}

static uint32_t check_headers(struct cbpi_span file, struct cbpi_span coff, struct cbpi_span optional,
                              uint16_t machine)
{
    if (cbpi_span_32(coff, 0) != 0x4550u || optional.size == 0 || cbpi_span_16(optional, 0) != MAGIC_64_BIT ||
        cbpi_span_16(coff, 20) != OPTIONAL_SIZE || cbpi_span_32(optional, DIRECTORY_COUNT) != 16 ||
        cbpi_span_16(optional, SUBSYSTEM) != SUBSYSTEM_NATIVE)
        return cbpi_fail(CBP_ERROR_BAD_FORMAT, "the package's driver is no driver for 64-bit Windows");
    if (cbpi_span_16(coff, 4) != machine)
        return cbpi_fail(CBP_ERROR_BAD_FORMAT,
                         "the package's driver is for another machine (0x%04x, and this one is 0x%04x)",
                         (unsigned) cbpi_span_16(coff, 4), (unsigned) machine);
    if (!certificates_end_the_file(file, optional))
        return fail_damaged("its signature does not lie at its end");
    return 0;
}

uint32_t cbpi_driver_image_check(const uint8_t *bytes, size_t size, uint16_t machine,
                                 struct cbpi_driver_image *image)
{
    struct cbpi_span file = {bytes, size};
    if (size < DOS_HEADER_SIZE || size > CBPI_DRIVER_IMAGE_SIZE_MAX || cbpi_span_16(file, 0) != 0x5a4du)
        return cbpi_fail(CBP_ERROR_BAD_FORMAT, "the package's driver is no program at all");
    size_t start = cbpi_span_32(file, DOS_NEW_HEADER);
    struct cbpi_span coff = cbpi_span_part(file, start, COFF_SIZE);
    struct cbpi_span optional = cbpi_span_part(file, start + COFF_SIZE, OPTIONAL_SIZE);
    uint32_t error = check_headers(file, coff, optional, machine);
    if (error != 0)
        return error;
    uint32_t count = cbpi_span_16(coff, 6);
    struct cbpi_span headers =
        cbpi_span_part(file, start + COFF_SIZE + OPTIONAL_SIZE, (size_t) count * SECTION_SIZE);
    if (count == 0 || count > SECTIONS_MAX || headers.size == 0)
        return fail_damaged("it has no sections");
    struct cbpi_driver_image found = {.checksum = cbpi_span_32(optional, CHECKSUM)};
    if (compute_checksum(file, start + COFF_SIZE + CHECKSUM) != found.checksum)
        return fail_damaged("its checksum is another");
    uint32_t resources = cbpi_span_32(optional, DIRECTORIES + 8 * RESOURCES);
    error = check_sections(file, headers, count, resources, &found.version);
    if (error == 0)
        *image = found;
    return error;
}
