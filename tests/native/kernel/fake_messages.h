/* Makes the messages that tests post to the fake device. */
#ifndef CBP_FAKE_MESSAGES_H
#define CBP_FAKE_MESSAGES_H

#include "fake_device.h"

/* Gives memory that the caller frees. */
struct cbp_event_message *fake_message_make(const struct fake_event *event, uint32_t session_id,
                                            uint64_t sequence, uint64_t id);

#endif
