/* Declares the channel of a launch on Linux: the launcher's conversation with the driver, and the pair on
 * which the driver tells the core how it ended. */
#ifndef CBPI_LAUNCH_TYPES_H
#define CBPI_LAUNCH_TYPES_H

#include <stdint.h>

struct cbpi_launch_target;

/* These are descriptors, -1 where closed or given away. */
struct cbpi_launch_channel {
    int launcher_fd;      /* inherited by the launcher */
    int driver_fd;        /* the driver's end of the launcher's pair */
    int result_fd;        /* the core's end of the result pair */
    int driver_result_fd; /* the driver's end of it */
};

/* Makes the pairs, for drivers, and leaves the target with the launcher, which lets that process trace it.
 * CBP_ERROR_TOO_MANY_OPEN_FILES, CBP_ERROR_INVALID_PARAMETER for a target that is too long,
 * CBP_ERROR_NO_SYSTEM_RESOURCES. */
uint32_t cbpi_launch_channel_open(const struct cbpi_launch_target *target, uint32_t helper_process_id,
                                  struct cbpi_launch_channel *channel);

/* Closes the driver's ends, of which the helper has got copies. */
void cbpi_launch_channel_close_driver(struct cbpi_launch_channel *channel);

#endif
