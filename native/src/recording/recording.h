/* Reads the format of recordings (docs/recording.md) from memory, and computes its checksum. The writer is
 * recorder.c. Knows messages and their check, but no sessions and no file. */
#ifndef CBPI_RECORDING_H
#define CBPI_RECORDING_H

#include <stdbool.h>

#include "cbp_message_check.h"
#include "cbprocess.h"

/* A recording begins with these eight bytes. They are not ASCII at first, and have line ends of both kinds,
 * so that a transfer that changes text shows at once. */
#define CBPI_RECORDING_MAGIC                                                                                 \
    "\x89"                                                                                                   \
    "CBPR\r\n\n"
#define CBPI_RECORDING_MAGIC_SIZE 8u

/* This stands before each message. Each starts at a multiple of 8; zero bytes fill up to the next. */
struct cbpi_record {
    uint32_t size; /* of the message */
    uint32_t checksum;
};

/* Computes a CRC-32 as in zlib and PNG (ISO 3309). */
uint32_t cbpi_crc32(const void *bytes, size_t size);

/* A recording is read from this. */
struct cbp_recording_file {
    unsigned char *bytes;
    uint64_t size;
    uint64_t offset;   /* of the next record */
    bool is_ended;     /* the end record has been read */
    uint32_t error;    /* of the last read, once one has failed */
    char trouble[160]; /* what is wrong and at which offset */
};

/* Begins to read size bytes, aligned to 8, and gives the first message. The bytes must outlive the file and
 * stay as they are. CBP_ERROR_BAD_FORMAT if this is no recording of this version, CBP_ERROR_INVALID_DATA if
 * it is damaged at its beginning; the error's detail names the offset. */
uint32_t cbpi_recording_begin(struct cbp_recording_file *file, void *bytes, uint64_t size,
                              const struct cbp_recording **recording);

/* Reads a file and begins with it. file->bytes is the caller's to free, unless this fails. Codes as above,
 * and those of cbpi_file_open(), and CBP_ERROR_NOT_ENOUGH_MEMORY. */
uint32_t cbpi_recording_load(struct cbp_recording_file *file, const char *path,
                             const struct cbp_recording **recording);

/* Gives the next message, in the file's memory: an event, a verdict or a step. CBP_ERROR_NOT_FOUND at the
 * end; CBP_ERROR_INVALID_DATA where the file is damaged or was cut off, from then on. */
uint32_t cbpi_recording_next(struct cbp_recording_file *file, const struct cbp_message_header **message);

#endif
