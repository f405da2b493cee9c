/* Makes the shared memory of a channel: a sealed memory file, or as many as RLIMIT_FSIZE, which counts for
 * them like for any file, makes necessary. Knows nothing of its contents, and not which other process maps
 * it. */
#ifndef CBPI_CHANNEL_MEMORY_H
#define CBPI_CHANNEL_MEMORY_H

#include "cbp_channel.h"

#include <stdbool.h>

struct cbpi_channel_memory {
    void *address;
    int fds[CBP_CHANNEL_PARTS_MAX]; /* in the order of their parts, all of one size but the last */
    uint32_t part_count;
};

/* Makes and maps it. CBP_ERROR_NO_SYSTEM_RESOURCES where the limit leaves no room. */
uint32_t cbpi_channel_memory_make(struct cbpi_channel_memory *memory);

/* Closes the descriptors; the mapping stays. */
void cbpi_channel_memory_close(struct cbpi_channel_memory *memory);

/* Puts all parts but the first into the socket, for the process at the other end. */
uint32_t cbpi_channel_memory_send(const struct cbpi_channel_memory *memory, int socket);

/* Sends a message of these bytes together with copies of descriptors, at most CBP_CHANNEL_PARTS_MAX. False:
 * errno says why not. */
bool cbpi_send_descriptors(int socket, const void *bytes, size_t size, const int *fds, uint32_t count);

/* Fails if the limit on files leaves no room for so many bytes: a signal would end the process that writes
 * them. */
uint32_t cbpi_check_file_limit(uint64_t size, const char *what);

#endif
