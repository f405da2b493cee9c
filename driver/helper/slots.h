/* Declares what slots.c remembers of messages on their way. It is a part of struct cbpd_helper, out of the
 * core's reach; only slots.c looks into it. */
#ifndef CBPD_SLOTS_H
#define CBPD_SLOTS_H

#include "cbp_channel.h"
#include "policy.h"
#include "text.h"

struct cbpd_held;
struct cbpd_queued;

/* An operation waits for this answer to a message, or has waited for it. */
struct cbpd_awaited {
    struct cbpd_held *held; /* the operation that waits for the answer; NULL: none */
    uint32_t session_id;
    struct cbpd_answerable answerable;
};

struct cbpd_slot_record {
    struct cbpd_awaited answer;
    bool posted;
    uint16_t next, previous; /* in the list of posted slots with an operation that waits */
};

struct cbpd_free_slots {
    uint16_t numbers[CBP_SMALL_SLOT_COUNT];
    uint32_t count;
};

struct cbpd_slots {
    struct cbpd_slot_record records[CBP_SLOT_COUNT + 1]; /* the last one heads the list of waiting slots */
    struct cbpd_free_slots free_small, free_large;
    struct cbpd_queued *queue_head, **queue_tail;
    uint32_t queue_count;
    size_t queue_size;
    size_t queue_held_size;  /* of messages with an operation that waits */
    uint32_t waiting_count;  /* slots and queued messages with an operation that waits */
    uint64_t next_expiry_ns; /* no deadline lies before it; 0: there is none */
    struct text scratch;     /* a message on its way to the queue */
};

#endif
