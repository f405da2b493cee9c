/* Keeps the messages that a script has still to play, in order: those of a file, and others that were handed
 * over later. Knows the format of both, but not what the messages do. The transport's mutex is held. */
#ifndef CBPI_SOURCE_H
#define CBPI_SOURCE_H

#include "recording.h"

/* A block is memory that messages stand in, kept as long as one of them is needed. */
struct cbpi_source_block {
    uint64_t reference_count;
    void *bytes;
};

struct cbpi_source_item {
    const struct cbp_message_header *message; /* an event or a step, checked */
    struct cbpi_source_block *block;
    uint64_t position; /* in the file */
    bool is_paced;     /* it comes from the file, so its time says something */
    bool is_expired;   /* its deadline has passed, by a recorded verdict */
    bool has_failed;   /* its execution, likewise, if it was allowed */
    uint32_t os_error; /* with that errno */
};

struct cbpi_source {
    struct cbpi_source_item *items; /* from first on */
    uint64_t first;
    uint64_t count;
    uint64_t capacity;
    uint64_t paced_count;  /* those of the file that are left */
    uint32_t trouble_code; /* what was wrong with the file; 0: nothing */
    char trouble[400];
};

/* Takes the messages of a file; with keeps_verdicts as its verdicts have decided. A file that is damaged
 * further on gives what came before the damage, and source->trouble describes that. Codes of
 * cbp_recording_open(). */
uint32_t cbpi_source_load(struct cbpi_source *source, const char *path, bool keeps_verdicts);

/* Appends messages, as in cbp_script_play(). After CBP_ERROR_INVALID_DATA or CBP_ERROR_NOT_ENOUGH_MEMORY
 * nothing has been appended. The counts are of all of them, and of those that ask for a verdict. */
uint32_t cbpi_source_append(struct cbpi_source *source, const void *messages, uint64_t size, uint64_t *count,
                            uint64_t *verdict_count);

/* Takes the last count items back, which have just been appended. */
void cbpi_source_take_back(struct cbpi_source *source, uint64_t count);

/* Gives the next item, which stays there, or NULL. */
const struct cbpi_source_item *cbpi_source_peek(const struct cbpi_source *source);

/* Takes the next item; the caller releases its block. */
struct cbpi_source_item cbpi_source_take(struct cbpi_source *source);

void cbpi_source_release_block(struct cbpi_source_block *block);
void cbpi_source_free(struct cbpi_source *source);

#endif
