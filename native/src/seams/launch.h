/* Is the seam between the core and a driver that starts programs. A launch goes one of two ways: by the
 * launcher program or by the caller itself. Knows no session and no system. */
#ifndef CBPI_LAUNCH_H
#define CBPI_LAUNCH_H

#include "cbp_message.h"
#include "cbprocess.h"

struct cbpi_transport;

#define CBPI_LAUNCH_BY_LAUNCHER 1u /* the launcher program, which the caller starts, becomes the target */
#define CBPI_LAUNCH_BY_CALLER 2u   /* a thread of the caller creates the target itself */

struct cbpi_launch_target {
    const char *argument0;
    const char *paths; /* NUL-terminated one after the other */
    uint64_t paths_size;
};

/* The driver and the core have one channel for each launch that goes on. Each driver's own structure begins
 * with this base. */
struct cbpi_launch_channel {
    const struct cbpi_launch_ops *ops;
};

/* The operations of a way that is not in ways are never called. The first one of a way makes the channel. */
struct cbpi_launch_ops {
    uint32_t ways;
    uint32_t creation_flags; /* BY_CALLER: CreateProcess needs these */

    /* Tells the driver, BY_LAUNCHER, to expect a launcher, and the launcher its target. *launcher_fd is the
     * launcher's end, which it inherits. rule_id 0: no rule. CBP_ERROR_TOO_MANY_OPEN_FILES,
     * CBP_ERROR_INVALID_PARAMETER for a target that is too long, CBP_ERROR_NO_SYSTEM_RESOURCES. */
    uint32_t (*launch)(struct cbpi_transport *transport, const struct cbpi_launch_target *target,
                       uint32_t rule_id, struct cbpi_launch_channel **channel, int32_t *launcher_fd);

    /* Closes the caller's own copy of the launcher's end. */
    void (*close_launcher)(struct cbpi_launch_channel *channel);

    /* These three serve BY_CALLER. The first lets the calling thread create processes for the driver, until
     * the second, which may be called again. The third tells the driver which process it was, 0 if there is
     * none. Both that name the rule get one id, 0 for no rule. */
    uint32_t (*enter)(struct cbpi_transport *transport, uint32_t rule_id,
                      struct cbpi_launch_channel **channel);
    void (*leave)(struct cbpi_launch_channel *channel);
    uint32_t (*claim)(struct cbpi_transport *transport, struct cbpi_launch_channel *channel,
                      uint32_t process_id, uint32_t rule_id);

    /* Waits up to slice_ms (0: as long as it takes) until the driver says how the launch ended.
     * CBP_ERROR_TIMEOUT, also when a signal came; CBP_ERROR_BROKEN_PIPE if the driver and the launcher have
     * gone, or the code that the driver said. */
    uint32_t (*wait)(struct cbpi_launch_channel *channel, uint32_t slice_ms,
                     struct cbp_launch_result *result);

    /* Closes everything that is still open, and frees the channel. */
    void (*close)(struct cbpi_launch_channel *channel);

    /* Takes back the rule of a launch, in both ways. CBP_ERROR_NOT_FOUND if all of its tree has ended. */
    uint32_t (*forget)(struct cbpi_transport *transport, uint32_t rule_id);
};

#endif
