/* Implements cabinet.h after the published format of cabinets. */
#include "cabinet.h"

#include "cbprocess.h"
#include "errors.h"
#include "span.h"

#include <stdbool.h>
#include <string.h>

enum {
    HEADER_SIZE = 36,
    FOLDER_SIZE = 8,
    FILE_SIZE = 16, /* without its name */
    BLOCK_SIZE = 8, /* without what is reserved, and without the data */
    NAME_SIZE_MAX = 256,
    FOLDERS_MAX = 64,
    BLOCK_DATA_MAX = 32768,
    BLOCK_PACKED_MAX = BLOCK_DATA_MAX + 6144,
    FORMAT_VERSION = 0x0103,
    FLAG_RESERVE = 4 /* room for others, such as a signature of the cabinet */
};

/* The numbers of the header. */
struct layout {
    size_t folders_at; /* after the header */
    size_t folder_size;
    size_t block_reserve;
    uint32_t folder_count, file_count;
    size_t files_at;
};

static uint32_t fail_damaged(const char *what)
{
    return cbpi_fail(CBP_ERROR_INVALID_DATA, "the package is damaged: %s", what);
}

static uint32_t read_layout(struct cbpi_span file, struct layout *layout)
{
    if (file.size < 4 || memcmp(file.at, "MSCF", 4) != 0)
        return cbpi_fail(CBP_ERROR_BAD_FORMAT, "the package is no cabinet");
    uint32_t size = cbpi_span_32(file, 8), flags = cbpi_span_16(file, 30);
    if (file.size < HEADER_SIZE || size > file.size)
        return cbpi_fail(CBP_ERROR_INVALID_DATA, "the package is cut off");
    if (flags & ~(uint32_t) FLAG_RESERVE)
        return fail_damaged("it is one of several cabinets");
    /* The signature of a cabinet lies behind it. */
    bool is_longer = size < file.size && !(flags & FLAG_RESERVE);
    if (is_longer || cbpi_span_32(file, 4) != 0 || cbpi_span_16(file, 24) != FORMAT_VERSION)
        return fail_damaged("its header");
    struct layout found = {.folders_at = HEADER_SIZE,
                           .folder_size = FOLDER_SIZE,
                           .folder_count = cbpi_span_16(file, 26),
                           .file_count = cbpi_span_16(file, 28),
                           .files_at = cbpi_span_32(file, 16)};
    if (flags & FLAG_RESERVE) {
        struct cbpi_span reserve = cbpi_span_part(file, HEADER_SIZE, 4);
        found.folders_at += 4 + cbpi_span_16(reserve, 0);
        found.folder_size += reserve.size ? reserve.at[2] : 0;
        found.block_reserve = reserve.size ? reserve.at[3] : 0;
    }
    if (found.folder_count == 0 || found.folder_count > FOLDERS_MAX || found.file_count == 0)
        return fail_damaged("it has no files");
    *layout = found;
    return 0;
}

/* Computes the sum of a block: words of 32 bits, and what is left over in reverse. */
static uint32_t add_to_sum(uint32_t sum, struct cbpi_span data)
{
    size_t whole = data.size / 4 * 4;
    uint32_t rest = 0;
    for (size_t i = 0; i < whole; i += 4)
        sum ^= cbpi_span_32(data, i);
    for (size_t i = whole; i < data.size; i++)
        rest = rest << 8 | data.at[i];
    return sum ^ rest;
}

/* Checks the block at *at, and moves that behind it; *unpacked gets its size. */
static uint32_t check_block(struct cbpi_span file, size_t reserve, size_t *at, uint32_t *unpacked)
{
    struct cbpi_span header = cbpi_span_part(file, *at, BLOCK_SIZE + reserve);
    uint32_t sum = cbpi_span_32(header, 0), packed = cbpi_span_16(header, 4);
    *unpacked = cbpi_span_16(header, 6);
    struct cbpi_span data = cbpi_span_part(file, *at + BLOCK_SIZE + reserve, packed);
    if (header.size == 0 || packed == 0 || packed > BLOCK_PACKED_MAX || data.size != packed ||
        *unpacked == 0 || *unpacked > BLOCK_DATA_MAX)
        return fail_damaged("a block of its data");
    /* A writer may leave the sum out. */
    if (sum != 0 && add_to_sum(add_to_sum(0, data), cbpi_span_part(header, 4, header.size - 4)) != sum)
        return fail_damaged("the sum of a block");
    *at += BLOCK_SIZE + reserve + packed;
    return 0;
}

/* Checks a folder's blocks; *unpacked gets the size of all. */
static uint32_t check_folder(struct cbpi_span file, const struct layout *layout, uint32_t number,
                             uint64_t *unpacked)
{
    struct cbpi_span folder =
        cbpi_span_part(file, layout->folders_at + number * layout->folder_size, layout->folder_size);
    size_t at = cbpi_span_32(folder, 0);
    uint32_t block_count = cbpi_span_16(folder, 4), size, error = 0;
    *unpacked = 0;
    if (folder.size == 0)
        return fail_damaged("its folders");
    for (uint32_t i = 0; error == 0 && i < block_count; i++) {
        error = check_block(file, layout->block_reserve, &at, &size);
        *unpacked += error ? 0 : size;
    }
    return error;
}

/* Checks that each file lies within its folder. */
static uint32_t check_files(struct cbpi_span file, const struct layout *layout, const uint64_t *folder_sizes)
{
    size_t at = layout->files_at;
    for (uint32_t i = 0; i < layout->file_count; i++) {
        struct cbpi_span entry = cbpi_span_part(file, at, FILE_SIZE);
        uint64_t end = (uint64_t) cbpi_span_32(entry, 0) + cbpi_span_32(entry, 4);
        uint32_t folder = cbpi_span_16(entry, 8);
        if (entry.size == 0 || folder >= layout->folder_count || end > folder_sizes[folder])
            return fail_damaged("a file lies beyond its end");
        at += FILE_SIZE;
        size_t room = file.size - at < NAME_SIZE_MAX ? file.size - at : NAME_SIZE_MAX;
        const uint8_t *name_end = room ? memchr(file.at + at, 0, room) : NULL;
        if (!name_end || name_end == file.at + at)
            return fail_damaged("the name of a file");
        at = (size_t) (name_end - file.at) + 1;
    }
    return 0;
}

uint32_t cbpi_cabinet_check(const uint8_t *bytes, size_t size)
{
    struct cbpi_span file = {bytes, size};
    struct layout layout = {0};
    uint64_t folder_sizes[FOLDERS_MAX];
    uint32_t error = size <= CBPI_CABINET_SIZE_MAX ? read_layout(file, &layout)
                                                   : fail_damaged("it is larger than packages are");
    if (error != 0)
        return error;
    for (uint32_t i = 0; error == 0 && i < layout.folder_count; i++)
        error = check_folder(file, &layout, i, &folder_sizes[i]);
    return error ? error : check_files(file, &layout, folder_sizes);
}
