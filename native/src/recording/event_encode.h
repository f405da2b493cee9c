/* From a delivery to wire messages: the inverse of event_decode.h, for recordings and scripts. */
#ifndef CBPI_EVENT_ENCODE_H
#define CBPI_EVENT_ENCODE_H

#include "cbp_message_check.h"
#include "transport.h"

/* The size of the message, before a handler has changed the event. */
uint32_t cbpi_event_encoded_size(const struct cbpi_delivery *delivery);

/* Writes the message, of that size and well-formed, to memory that is aligned to 8. */
void cbpi_event_encode(const struct cbpi_delivery *delivery, uint64_t id, struct cbp_event_message *message);

/* Makes the verdict on a delivery from its answers; the time stays 0. */
void cbpi_verdict_fill(struct cbp_verdict *verdict, const struct cbpi_delivery *delivery, uint64_t id,
                       uint32_t state);

#endif
