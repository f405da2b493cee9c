/* From a wire message to a delivery, for every transport whose driver sends messages. */
#ifndef CBPI_EVENT_DECODE_H
#define CBPI_EVENT_DECODE_H

#include "cbp_message_check.h"
#include "transport.h"

/* Decodes a checked event message that does not change any more into delivery->event. There
 * delivery->capacity is at least cbpi_event_decoded_size(message). */
void cbpi_event_decode(const struct cbp_event_message *message, struct cbpi_delivery *delivery);

/* Marks those events of a delivery that timed out which somebody could still have decided. */
void cbpi_delivery_expired(struct cbpi_delivery *delivery);

uint32_t cbpi_event_decoded_size(const struct cbp_event_message *message);

#endif
