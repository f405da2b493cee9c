/* The seam for the operating system's part of a launch: the two pairs of descriptors by which the core, the
 * driver and the launcher program speak. One file under src/<platform>/; knows no session and no driver. */
#ifndef CBPI_LAUNCH_CHANNEL_H
#define CBPI_LAUNCH_CHANNEL_H

#include "cbprocess.h"

#if defined(_WIN32)
#include "../platform/windows/launch_types.h"
#else
#include "../platform/linux/launch_types.h"
#endif

struct cbpi_launch_target {
    const char *argument0;
    const char *paths; /* NUL-terminated one after the other */
    uint64_t paths_size;
    uint32_t driver_process_id; /* whom the launcher lets trace it */
};

struct cbpi_launch_outcome {
    uint32_t os_error; /* 0: the target's image runs */
    uint32_t process_id;
    uint64_t start_time;
};

/* Makes the pairs and leaves the target with the launcher. CBP_ERROR_TOO_MANY_OPEN_FILES,
 * CBP_ERROR_INVALID_PARAMETER for a target that is too long, CBP_ERROR_NO_SYSTEM_RESOURCES. */
uint32_t cbpi_launch_channel_open(const struct cbpi_launch_target *target,
                                  struct cbpi_launch_channel *channel);

/* Waits up to slice_ms (0: as long as it takes) for the driver to say how it ended. CBP_ERROR_TIMEOUT, also
 * when a signal came; CBP_ERROR_BROKEN_PIPE if nobody is left to say it, or the code that it said. */
uint32_t cbpi_launch_channel_wait(struct cbpi_launch_channel *channel, uint32_t slice_ms,
                                  struct cbpi_launch_outcome *outcome);

/* Ends what the driver's launch_enter began in the calling thread. */
void cbpi_launch_channel_leave(struct cbpi_launch_channel *channel);

void cbpi_launch_channel_close_launcher(struct cbpi_launch_channel *channel);

/* Closes what is still open. */
void cbpi_launch_channel_close(struct cbpi_launch_channel *channel);

#endif
