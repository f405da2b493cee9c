/* Writes what a session delivers and what it answers to a recording (docs/recording.md). Knows deliveries,
 * but nothing of sessions and drivers. Any thread. */
#ifndef CBPI_RECORDER_H
#define CBPI_RECORDER_H

#include "transport.h"

struct cbpi_recorder;

/* Creates the file. Codes of cbpi_file_create(), CBP_ERROR_NOT_ENOUGH_MEMORY. */
uint32_t cbpi_recorder_create(const char *path, const char *driver, struct cbpi_recorder **recorder);

/* Writes a delivery as it was received, before a handler sees it, and gives the id that its verdict gets; 0
 * if it could not be written. */
uint64_t cbpi_recorder_write_event(struct cbpi_recorder *recorder, const struct cbpi_delivery *delivery);

/* Writes what became of a delivery. answer is what the transport's answer gave, or
 * CBP_ERROR_OPERATION_ABORTED if the filter was stopping. */
void cbpi_recorder_write_verdict(struct cbpi_recorder *recorder, const struct cbpi_delivery *delivery,
                                 uint32_t answer);

/* Writes the buffer into the file. Once after a failure, upon which nothing more is written, it gives the
 * failure's code, and a sentence in text. */
uint32_t cbpi_recorder_flush(struct cbpi_recorder *recorder, char *text, uint64_t size);

/* Writes that the execution of this event was allowed and has failed: errno, or 0 if its process has ended in
 * it. Any thread. */
void cbpi_recorder_write_failure(struct cbpi_recorder *recorder, uint64_t sequence, uint32_t os_error);

/* Ends the recording; lost is for its last record. Gives the result of a flush. Frees the recorder. */
uint32_t cbpi_recorder_close(struct cbpi_recorder *recorder, uint64_t lost, char *text, uint64_t size);

#endif
