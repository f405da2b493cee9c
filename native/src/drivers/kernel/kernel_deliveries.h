/* Offers a session's deliveries over the device: taking messages in their order, answering them, and what
 * the driver has counted. Knows nothing of how a session is opened, nor of any system call. */
#ifndef CBPI_KERNEL_DELIVERIES_H
#define CBPI_KERNEL_DELIVERIES_H

#include "kernel_requests.h"
#include "kernel_slots.h"
#include "platform.h"
#include "transport.h"
#include "turns.h"

struct cbpi_kernel_deliveries {
    struct cbpi_kernel_way way;
    uint32_t is_closed;      /* atomic: nothing is taken any more */
    uint32_t is_dead;        /* atomic: the driver has gone, or does not have the session any more */
    struct cbpi_mutex order; /* of the next two, and of taking: what is taken later follows */
    struct cbpi_turns turns;
    struct cbpi_kernel_slots slots;
    struct cbpi_mutex counts_mutex; /* of the next one */
    struct cbp_kernel_counts counts;
    uint64_t vanished; /* atomic: events that the driver could not give any more */
};

void cbpi_kernel_deliveries_init(struct cbpi_kernel_deliveries *deliveries, struct cbpi_kernel_device *device,
                                 uint32_t session_id);

/* Waits until the device has given all receives back, for some seconds at most, and frees what init and the
 * rest have made. No worker is left. */
void cbpi_kernel_deliveries_destroy(struct cbpi_kernel_deliveries *deliveries);

/* Lets every waiting receive end, and later ones. */
void cbpi_kernel_deliveries_close(struct cbpi_kernel_deliveries *deliveries);

/* These are operations of a transport. */
uint32_t cbpi_kernel_deliveries_receive(struct cbpi_kernel_deliveries *deliveries,
                                        struct cbpi_delivery *delivery, uint32_t timeout_ms,
                                        uint32_t *pending);
void cbpi_kernel_deliveries_skip(struct cbpi_kernel_deliveries *deliveries, uint32_t *pending);
uint32_t cbpi_kernel_deliveries_backlog(struct cbpi_kernel_deliveries *deliveries);
uint32_t cbpi_kernel_deliveries_answer(struct cbpi_kernel_deliveries *deliveries,
                                       const struct cbpi_delivery *delivery);
uint32_t cbpi_kernel_deliveries_check(struct cbpi_kernel_deliveries *deliveries,
                                      const struct cbpi_delivery *delivery);
uint32_t cbpi_kernel_deliveries_extend(struct cbpi_kernel_deliveries *deliveries,
                                       const struct cbpi_delivery *delivery, uint32_t timeout_ms);
int64_t cbpi_kernel_deliveries_token(struct cbpi_kernel_deliveries *deliveries,
                                     const struct cbpi_delivery *delivery);
uint32_t cbpi_kernel_deliveries_beat(struct cbpi_kernel_deliveries *deliveries);
void cbpi_kernel_deliveries_counts(struct cbpi_kernel_deliveries *deliveries, struct cbp_statistics *counts);

#endif
