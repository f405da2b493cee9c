/* Offers a session's deliveries over the memory of cbp_channel.h: taking, answering, and waking those that
 * wait for them. Knows nothing of a session's requests. */
#ifndef CBPI_CHANNEL_DELIVERIES_H
#define CBPI_CHANNEL_DELIVERIES_H

#include "cbp_channel.h"
#include "helper_session.h"
#include "turns.h"

struct cbpi_channel_session {
    struct cbpi_helper_session base;
    struct cbp_channel *channel; /* the link's */
    uint32_t is_closed;          /* atomic: nothing is taken any more */
    uint32_t has_dozed;          /* atomic: messages may wait for which nobody was woken */
    struct cbpi_mutex order;     /* of the next, and of taking: what is taken later follows */
    struct cbpi_turns turns;
};

static inline struct cbpi_channel_session *cbpi_channel_session(struct cbpi_transport *transport)
{
    return (struct cbpi_channel_session *) transport;
}

/* Gives the session's place in the shared memory. */
static inline struct cbp_channel_session *cbpi_channel_place(const struct cbpi_channel_session *session)
{
    return &session->channel->sessions[session->base.session_id];
}

/* A session's turns look at its slots by these; their memory is the channel. */
extern const struct cbpi_turn_slots cbpi_channel_turn_slots;

uint32_t cbpi_channel_receive(struct cbpi_transport *transport, struct cbpi_delivery *delivery,
                              uint32_t timeout_ms, uint32_t *pending);
void cbpi_channel_skip(struct cbpi_transport *transport, uint32_t *pending);
uint32_t cbpi_channel_backlog(struct cbpi_transport *transport);
uint32_t cbpi_channel_answer(struct cbpi_transport *transport, const struct cbpi_delivery *delivery);
uint32_t cbpi_channel_check(struct cbpi_transport *transport, const struct cbpi_delivery *delivery);
uint32_t cbpi_channel_extend(struct cbpi_transport *transport, const struct cbpi_delivery *delivery,
                             uint32_t timeout_ms);

/* Ends the wait of deliveries that follow one whose deadline has passed, and wakes a worker if deliveries
 * wait without one. The dispatcher calls it from time to time. */
void cbpi_channel_tend(struct cbpi_channel_session *session);

/* Wakes every waiting worker. */
void cbpi_channel_wake(struct cbpi_channel_session *session);

/* Gives back what the helper has pushed and no worker has taken. */
void cbpi_channel_drain(struct cbpi_channel_session *session);

#endif
