/* The one place where sizes, offsets and counts of a received message are checked, for both sides.
 * No libc, no allocation: reads only the bytes it is given. */
#ifndef CBP_MESSAGE_CHECK_H
#define CBP_MESSAGE_CHECK_H

#include "cbp_message.h"

/* Whether the size bytes at message are a well-formed message of the given type (a CBP_MESSAGE_ value).
 *
 * message must be aligned to 8 bytes and must not change while it is checked: a message in shared memory is
 * copied first. Checks: the size stated in the header equals size and is at least the structure's; the type;
 * reserved fields are 0; every variable part lies inside the message and behind the structure; enumerated
 * fields hold a known value; no text has a NUL where none belongs.
 * Returns 0, or CBP_ERROR_INVALID_DATA; never reads outside the size bytes. Any thread. */
uint32_t cbp_message_check(const void *message, size_t size, uint32_t type);

/* The items of an event message, which the structure names one by one so that the field rows stay flat. */
static inline struct cbp_event_item *cbp_event_items(struct cbp_event_message *message)
{
    return &message->item0;
}

static inline const struct cbp_event_item *cbp_event_items_const(const struct cbp_event_message *message)
{
    return &message->item0;
}

#endif
