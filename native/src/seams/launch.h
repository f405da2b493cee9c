/* Is the seam for the operating system's part of a launch: the channel by which the core, the driver and the
 * launcher program speak. One file under src/platform/<system>/ implements it. Knows no session and no
 * driver. */
#ifndef CBPI_LAUNCH_H
#define CBPI_LAUNCH_H

#include "cbp_message.h"
#include "cbprocess.h"

struct cbpi_launch_target {
    const char *argument0;
    const char *paths; /* NUL-terminated one after the other */
    uint64_t paths_size;
};

#if defined(_WIN32)
#include "../platform/windows/launch_types.h"
#else
#include "../platform/linux/launch_types.h" /* struct cbpi_launch_channel, which drivers open */
#endif

/* Gives the number of the launcher's end, which the launcher inherits; -1 where there is none. */
int32_t cbpi_launch_channel_launcher(const struct cbpi_launch_channel *channel);

/* Waits up to slice_ms (0: as long as it takes) until the driver says how the launch ended.
 * CBP_ERROR_TIMEOUT, also when a signal came; CBP_ERROR_BROKEN_PIPE if the driver and the launcher have gone,
 * or the code that the driver said. */
uint32_t cbpi_launch_channel_wait(struct cbpi_launch_channel *channel, uint32_t slice_ms,
                                  struct cbp_launch_result *result);

/* Ends what a launch by the caller began in the calling thread. */
void cbpi_launch_channel_leave(struct cbpi_launch_channel *channel);

void cbpi_launch_channel_close_launcher(struct cbpi_launch_channel *channel);

/* Closes everything that is still open. */
void cbpi_launch_channel_close(struct cbpi_launch_channel *channel);

#endif
