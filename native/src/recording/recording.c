/* Implements recording.h, and the public functions that read recordings. */
#include "recording.h"

#include "errors.h"
#include "memory.h"
#include "platform.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file is read in pieces of at least this size. */
#define READ_SIZE (64u * 1024u)

/* The polynomial is that of ISO 3309, with its bits reversed. */
#define CRC_POLYNOMIAL 0xedb88320u

uint32_t cbpi_crc32(const void *bytes, size_t size)
{
    /* The table is for four bits at a time, so that all of it is in the cache at once. */
    static const uint32_t table[16] = {
        0x00000000,     0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        CRC_POLYNOMIAL, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    const unsigned char *at = bytes;
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        crc = table[(crc ^ at[i]) & 15u] ^ crc >> 4;
        crc = table[(crc ^ (uint32_t) (at[i] >> 4)) & 15u] ^ crc >> 4;
    }
    return ~crc;
}

static uint32_t fail_at_offset(struct cbp_recording_file *file, uint32_t error, const char *what)
{
    snprintf(file->trouble, sizeof file->trouble, "offset %llu: %s", (unsigned long long) file->offset, what);
    file->error = error;
    return cbpi_fail(error, "%s", file->trouble);
}

static uint32_t damaged(struct cbp_recording_file *file, const char *what)
{
    return fail_at_offset(file, CBP_ERROR_INVALID_DATA, what);
}

static bool is_zero(const unsigned char *bytes, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* Says what is wrong with the record at the offset, or gives NULL and the record's message. */
static const char *read_record(struct cbp_recording_file *file, const struct cbp_message_header **message)
{
    const unsigned char *at = file->bytes + file->offset;
    uint64_t left = file->size - file->offset;
    if (left == 0)
        return "the recording was cut off: it has no end";
    if (left < sizeof(struct cbpi_record) + sizeof(struct cbp_message_header))
        return "the recording was cut off within a record";
    const struct cbpi_record *record = (const struct cbpi_record *) (const void *) at;
    const struct cbp_message_header *header = (const void *) (record + 1);
    if (header->size != record->size)
        return "the record's two sizes differ";
    uint64_t padded_size = ((uint64_t) record->size + 7u) & ~(uint64_t) 7u;
    if (padded_size > left - sizeof *record)
        return "the recording was cut off within a record, or the record's size is wrong";
    if (cbpi_crc32(header, record->size) != record->checksum)
        return "the record's checksum is wrong";
    if (!is_zero((const unsigned char *) header + record->size, padded_size - record->size))
        return "the filling behind the record is not zero";
    if (cbpd_message_check(header, record->size, header->type) != 0)
        return "the record is not a well-formed message";
    file->offset += sizeof *record + padded_size;
    *message = header;
    return NULL;
}

uint32_t cbpi_recording_begin(struct cbp_recording_file *file, void *bytes, uint64_t size,
                              const struct cbp_recording **recording)
{
    const struct cbp_message_header *message;
    memset(file, 0, sizeof *file);
    file->bytes = bytes;
    file->size = size;
    if (size == 0)
        return damaged(file, "the file is empty");
    uint64_t compared = size < CBPI_RECORDING_MAGIC_SIZE ? size : CBPI_RECORDING_MAGIC_SIZE;
    if (memcmp(bytes, CBPI_RECORDING_MAGIC, (size_t) compared) != 0)
        return fail_at_offset(file, CBP_ERROR_BAD_FORMAT, "this is no recording");
    if (size < CBPI_RECORDING_MAGIC_SIZE)
        return damaged(file, "the recording was cut off within its first bytes");
    file->offset = CBPI_RECORDING_MAGIC_SIZE;
    uint64_t first_offset = file->offset;
    const char *trouble = read_record(file, &message);
    if (trouble)
        return damaged(file, trouble);
    if (message->type != CBP_MESSAGE_RECORDING) {
        file->offset = first_offset;
        return damaged(file, "the first record does not tell what was recorded");
    }
    const struct cbp_recording *found = (const struct cbp_recording *) (const void *) message;
    if (found->version != CBP_RECORDING_VERSION) {
        file->offset = first_offset;
        return fail_at_offset(file, CBP_ERROR_BAD_FORMAT, "the recording's format is not version 1");
    }
    *recording = found;
    return 0;
}

/* Reads a file whole; *bytes is the caller's to free. */
static uint32_t read_file(const char *path, void **bytes, uint64_t *size)
{
    struct cbpi_file file;
    char *all = NULL;
    uint64_t used = 0, capacity = 0;
    uint32_t error = cbpi_file_open(path, &file);
    if (error != 0)
        return error;
    for (size_t got = 1; error == 0 && got > 0; used += got) {
        char *grown = cbpi_grow(all, 1, used + READ_SIZE, &capacity);
        if (!grown) {
            error = cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for %.300s", path);
            break;
        }
        all = grown;
        got = (size_t) (capacity - used);
        error = cbpi_file_read(&file, path, all + used, &got);
    }
    cbpi_file_close(&file);
    *size = used;
    if (error == 0)
        *bytes = all;
    else
        free(all);
    return error;
}

uint32_t cbpi_recording_load(struct cbp_recording_file *file, const char *path,
                             const struct cbp_recording **recording)
{
    void *bytes;
    uint64_t size;
    uint32_t error = read_file(path, &bytes, &size);
    if (error != 0)
        return error;
    error = cbpi_recording_begin(file, bytes, size, recording);
    if (error != 0) {
        free(bytes);
        cbpi_fail(error, "%.300s: %s", path, file->trouble);
    }
    return error;
}

static bool may_follow(uint32_t type)
{
    return type == CBP_MESSAGE_EVENT || type == CBP_MESSAGE_VERDICT || type == CBP_MESSAGE_SCRIPT_STEP ||
           type == CBP_MESSAGE_RECORDING_END;
}

uint32_t cbpi_recording_next(struct cbp_recording_file *file, const struct cbp_message_header **message)
{
    const struct cbp_message_header *found;
    if (file->error != 0)
        return cbpi_fail(file->error, "%s", file->trouble);
    if (file->is_ended)
        return file->offset == file->size ? CBP_ERROR_NOT_FOUND
                                          : damaged(file, "there are bytes behind the recording's end");
    uint64_t offset = file->offset;
    const char *trouble = read_record(file, &found);
    if (!trouble && !may_follow(found->type)) {
        file->offset = offset;
        trouble = "a message of this type has no place in a recording";
    }
    if (trouble)
        return damaged(file, trouble);
    if (found->type == CBP_MESSAGE_RECORDING_END) {
        file->is_ended = true;
        return cbpi_recording_next(file, message);
    }
    *message = found;
    return 0;
}

uint32_t cbp_recording_open(const char *path, struct cbp_recording_file **file, const void **first,
                            uint64_t *first_size)
{
    const struct cbp_recording *recording;
    if (!path || !file || !first || !first_size)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "path and the out-parameters must not be NULL");
    struct cbp_recording_file *made = calloc(1, sizeof *made);
    if (!made)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a recording");
    uint32_t error = cbpi_recording_load(made, path, &recording);
    if (error != 0) {
        free(made);
        return error;
    }
    *first = recording;
    *first_size = recording->header.size;
    *file = made;
    return 0;
}

uint32_t cbp_recording_next(struct cbp_recording_file *file, const void **message, uint64_t *size)
{
    const struct cbp_message_header *found;
    if (!file || !message || !size)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "file and the out-parameters must not be NULL");
    uint32_t error = cbpi_recording_next(file, &found);
    if (error == CBP_ERROR_NOT_FOUND)
        return cbpi_fail(error, "the recording ends here");
    if (error != 0)
        return error;
    *message = found;
    *size = found->size;
    return 0;
}

void cbp_recording_close(struct cbp_recording_file *file)
{
    if (file)
        free(file->bytes);
    free(file);
}
