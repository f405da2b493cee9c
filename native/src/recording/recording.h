/* The format of recordings, docs/recording.md: reading one from memory, and the checksum. The writer is
 * recorder.c. Knows messages and their check; nothing of sessions, no file. */
#ifndef CBPI_RECORDING_H
#define CBPI_RECORDING_H

#include "cbp_message_check.h"
#include "cbprocess.h"

/* The first eight bytes. Not ASCII at first, and with line ends of both kinds, so that a transfer that
 * changes text shows at once. */
#define CBPI_RECORDING_MAGIC                                                                                 \
    "\x89"                                                                                                   \
    "CBPR\r\n\n"
#define CBPI_RECORDING_MAGIC_SIZE 8u

/* What stands before each message. Each starts at a multiple of 8; zero bytes fill up to the next. */
struct cbpi_record {
    uint32_t size; /* of the message */
    uint32_t checksum;
};

/* CRC-32 as in zlib and PNG (ISO 3309). */
uint32_t cbpi_crc32(const void *bytes, size_t size);

/* A recording that is being read. */
struct cbp_recording_file {
    unsigned char *bytes;
    uint64_t size;
    uint64_t offset;   /* of the next record */
    uint32_t is_ended; /* the end record has been read */
    uint32_t error;    /* of the last read, once one has failed */
    char trouble[160]; /* what is wrong and at which offset */
};

/* Begins to read size bytes, aligned to 8, and gives the first message. They must outlive the file and stay
 * as they are. CBP_ERROR_BAD_FORMAT for what is no recording of this version, CBP_ERROR_INVALID_DATA for one
 * that is damaged at its beginning; the error's detail names the offset. */
uint32_t cbpi_recording_begin(struct cbp_recording_file *file, void *bytes, uint64_t size,
                              const struct cbp_recording **recording);

/* Reads a file and begins with it. file->bytes is the caller's to free, unless this fails. Codes as above, and those
 * of cbpi_file_read(). */
uint32_t cbpi_recording_load(struct cbp_recording_file *file, const char *path,
                             const struct cbp_recording **recording);

/* Gives the next message, in the file's memory: an event, a verdict or a step. CBP_ERROR_NOT_FOUND at the
 * end; CBP_ERROR_INVALID_DATA where the file is damaged or was cut off, from then on. */
uint32_t cbpi_recording_next(struct cbp_recording_file *file, const struct cbp_message_header **message);

#endif
