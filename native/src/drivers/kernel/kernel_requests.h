/* Sends the requests of a session that the driver alone has: about one message, by its id, and the sign of
 * life. Knows no slot. Any thread. */
#ifndef CBPI_KERNEL_REQUESTS_H
#define CBPI_KERNEL_REQUESTS_H

#include "device.h"

/* The requests of one session go this way. */
struct cbpi_kernel_way {
    struct cbpi_kernel_device *device;
    uint32_t session_id;
};

/* Answers a message. CBP_ERROR_TIMEOUT if that does not count any more: the deadline has passed, the session
 * is closed or the driver has gone. Likewise the next one. */
uint32_t cbpi_kernel_answer(struct cbpi_kernel_way way, uint64_t id, const struct cbp_event_item *items,
                            uint32_t count);

/* Asks for a deadline. If moves is set it is timeout_ms from now first (0: none). */
uint32_t cbpi_kernel_deadline(struct cbpi_kernel_way way, uint64_t id, bool moves, uint32_t timeout_ms,
                              uint64_t *deadline_ns);

/* Gives a handle of the token of the message's originator, or -1. */
int64_t cbpi_kernel_token(struct cbpi_kernel_way way, uint64_t id);

/* Gives a sign of life, and gets what the session has counted. CBP_ERROR_BROKEN_PIPE: the driver has gone, or
 * does not have the session any more. */
uint32_t cbpi_kernel_beat(struct cbpi_kernel_way way, struct cbp_kernel_counts *counts);

#endif
