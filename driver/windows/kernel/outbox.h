/* Declares what a session's messages are kept in until its controller has got and answered them. pending.c has
 * the operations' side of it, deliveries.c that of receives, held.c that of requests about held messages.
 *
 * Everything here is under the one spin lock of deliveries, unless a comment says otherwise. What may call
 * back is done without it: requests are completed by cbpd_deliveries_flush(). */
#ifndef CBPD_OUTBOX_H
#define CBPD_OUTBOX_H

#include "kernel.h"

/* A message is in one of these states; the transitions are in tests/windows/kernel/model/pending.pml. */
enum cbpd_message_state {
    CBPD_QUEUED,   /* no receive has got it yet */
    CBPD_HELD,     /* a receive has got it, whole or in part; it has no answer */
    CBPD_ANSWERED, /* and these three are final */
    CBPD_EXPIRED,
    CBPD_LET_GO
};

struct cbpd_outbox;

struct cbpd_message {
    LIST_ENTRY link; /* in the outbox's queue or among its held ones, until the state is final */
    struct cbpd_outbox *outbox;
    uint64_t outbox_serial;
    struct cbpd_pending *pending;    /* the operation that waits for the answer; NULL: none does */
    struct cbp_event_message *bytes; /* do not change after it was sent */
    uint64_t deadline_ns;            /* 0: none */
    uint32_t answer;                 /* index among the answers that the operation waits for */
    uint32_t reference_count;        /* atomic: one of the operation or outbox, one of each receive */
    uint32_t state;
    bool is_given;     /* a receive has got all of it */
    bool is_overtaken; /* by its deadline, before a receive has got it */
};

enum {
    CBPD_HELD_BUCKETS = 64,
    CBPD_EXPIRED_IDS = 256,
    /* Limits of one session. A held thread sends no more messages, so those with an operation are limited by
     * their memory alone. */
    CBPD_TOLD_MAX = 16384,
    CBPD_TOLD_BYTES_MAX = 16 << 20,
    CBPD_ASKED_BYTES_MAX = 64 << 20
};

struct cbpd_outbox {
    struct cbpd_controller *controller;
    uint64_t serial; /* places are used again, serials are not */
    uint32_t session_id, place;
    LIST_ENTRY queue; /* of messages */
    LIST_ENTRY held[CBPD_HELD_BUCKETS];
    LIST_ENTRY receives; /* of requests that wait for a message */
    uint64_t queue_count;
    uint64_t told_count, told_bytes; /* messages for which nothing waits */
    uint64_t asked_bytes;            /* messages for which something waits */
    uint64_t heartbeat_ns, silence_limit_ns;
    uint64_t counts[CBPD_COUNT_DECIDED + 1];
    uint64_t expired_ids[CBPD_EXPIRED_IDS]; /* the last ones: an answer to these is late */
    uint32_t expired_next;
};

struct cbpd_pending {
    KEVENT event; /* set under the lock: the operation may be gone as soon as the lock is */
    PEPROCESS originator;
    uint32_t count, unsettled_count;
    struct cbpd_message *messages[CBP_SESSION_MAX];
    struct cbpd_answer answers[CBP_SESSION_MAX];
};

/* ---- outbox.c ---- */
void cbpd_outboxes_open(void); /* at load */
KIRQL cbpd_outboxes_lock(void);
void cbpd_outboxes_unlock(KIRQL irql);
struct cbpd_outbox *cbpd_outbox_at(uint32_t place); /* NULL: the session has gone */
struct cbpd_outbox *cbpd_outbox_of(const struct cbpd_controller *controller, uint32_t session_id);
/* Takes the outbox of a session that closes: its operations go on, and only its receives are left. It becomes
 * the caller's. NULL: there is none. */
struct cbpd_outbox *cbpd_outbox_take(uint32_t place);
void cbpd_outbox_free(struct cbpd_outbox *outbox); /* one that was taken. Without the lock. NULL: nothing */
/* Puts the message behind all others, unless there is no room, and gives it an id. A receive that waits gets it
 * with the next cbpd_deliveries_flush(). */
bool cbpd_outbox_put(struct cbpd_outbox *outbox, struct cbpd_message *message);
/* Takes the message out of its outbox, whose last reference is then the caller's. */
void cbpd_outbox_remove(struct cbpd_message *message);
/* The message reaches a final state. Its operation wakes up if it was the last one that it waits for. */
void cbpd_settle(struct cbpd_message *message, enum cbpd_message_state state);
/* Finds a HELD message. NULL: there is none with that id. */
struct cbpd_message *cbpd_held_message(struct cbpd_outbox *outbox, uint64_t id);
bool cbpd_outbox_is_silent(const struct cbpd_outbox *outbox, uint64_t now_ns);
/* Gives a reference back; the last one frees the message. Any IRQL up to DISPATCH_LEVEL, with or without the
 * lock. */
void cbpd_message_release(struct cbpd_message *message);

/* ---- deliveries.c ---- */
/* Gives queued messages to receives that wait. */
void cbpd_outbox_match(struct cbpd_outbox *outbox);

#endif
