/* Checks sizes, offsets and counts of received messages, for both sides. No libc, no allocation: it reads
 * only the bytes that it is given. */
#ifndef CBP_MESSAGE_CHECK_H
#define CBP_MESSAGE_CHECK_H

#include "cbp_message.h"

/* Says whether the size bytes at message are a well-formed message of the given type (a CBP_MESSAGE_ value).
 * Gives 0 or CBP_ERROR_INVALID_DATA, and never reads outside of the size bytes. Any thread.
 *
 * message must be aligned to 8 bytes and must not change during the check: a message in shared memory is
 * copied first. Checks: the size in the header equals size and is at least the structure's; the type;
 * reserved fields are 0; every variable part lies inside the message and after the structure; enumerated
 * fields hold a known value; a text has a NUL only if it may. */
uint32_t cbpd_message_check(const void *message, size_t size, uint32_t type);

/* Gives the items of an event message. The structure names them one by one: its field rows stay flat. */
static inline struct cbp_event_item *cbp_event_items(struct cbp_event_message *message)
{
    return &message->item0;
}

static inline const struct cbp_event_item *cbp_event_items_const(const struct cbp_event_message *message)
{
    return &message->item0;
}

#endif
