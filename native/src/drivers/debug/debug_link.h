/* The debug driver, and what its link offers besides tree_link.h. */
#ifndef CBPI_DEBUG_LINK_H
#define CBPI_DEBUG_LINK_H

#include "helper_session.h"
#include "transport.h"

extern const struct cbpi_transport_ops cbpi_debug_transport;

/* Whether the helper's program lies beside the library. */
uint32_t cbpi_debug_helper_is_there(void);

/* Begins a launch: until cbpi_launch_channel_leave() the calling thread creates processes for the helper. */
uint32_t cbpi_debug_launch_enter(struct cbpi_link *link, struct cbpi_launch_channel *channel);

/* Tells the helper which process it was; 0: none. */
uint32_t cbpi_debug_launch_claim(struct cbpi_transport *transport, struct cbpi_launch_channel *channel,
                                 uint32_t process_id, uint32_t rule_id);

#endif
