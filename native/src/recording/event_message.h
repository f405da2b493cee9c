/* Converts deliveries from and to wire messages, for transports whose drivers send messages and for
 * recordings. */
#ifndef CBPI_EVENT_MESSAGE_H
#define CBPI_EVENT_MESSAGE_H

#include "cbp_message_check.h"
#include "transport.h"

/* Decodes a checked event message that does not change any more into delivery->event. There
 * delivery->capacity is at least cbpi_event_decoded_size(message). */
void cbpi_event_decode(const struct cbp_event_message *message, struct cbpi_delivery *delivery);
uint32_t cbpi_event_decoded_size(const struct cbp_event_message *message);

/* Gives the size of the delivery's message, before a handler has changed the event. */
uint32_t cbpi_event_encoded_size(const struct cbpi_delivery *delivery);

/* Writes the message, of that size and well-formed, to memory that is aligned to 8. */
void cbpi_event_encode(const struct cbpi_delivery *delivery, uint64_t id, struct cbp_event_message *message);

/* Makes the verdict on the items of a message with that id, at this moment. */
void cbpi_verdict_fill(struct cbp_verdict *verdict, uint64_t id, uint64_t sequence,
                       const struct cbp_event_item *items, uint32_t count, uint32_t state);

#endif
