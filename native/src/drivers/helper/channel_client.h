/* The core's side of cbp_channel.h: taking slots from a session's ring, reading and answering them. Knows no
 * process and no request; whether the other side lives is told through a flag. */
#ifndef CBPI_CHANNEL_CLIENT_H
#define CBPI_CHANNEL_CLIENT_H

#include "cbp_channel.h"
#include "platform.h"
#include "transport.h"
#include "turns.h"

struct cbpi_link; /* to the driver's process: each platform's own */

/* The bells of cbp_channel.h, each platform's own. */

/* Sleeps until a session's bell is rung, or does not begin to if its word is not value any more; gives 1 if
 * it was rung for this sleeper. UINT64_MAX: no limit. May end early. */
int cbpi_bell_wait(struct cbpi_link *link, uint32_t session_id, uint32_t value, uint64_t timeout_ns);

/* Wakes up to count of the session's sleepers; the driver, if it sleeps. */
void cbpi_bell_wake(struct cbpi_link *link, uint32_t session_id, uint32_t count);
void cbpi_bell_wake_driver(struct cbpi_link *link);

/* One session's view of the channel. */
struct cbpi_channel_client {
    struct cbpi_link *link;
    struct cbp_channel *channel;
    uint32_t session_id;
    uint32_t is_closed;      /* atomic: nothing is taken any more */
    const uint32_t *is_dead; /* atomic: the driver has gone */
    uint32_t has_dozed;      /* atomic: messages may wait for which nobody was woken */
    struct cbpi_mutex order; /* of the next, and of taking: what is taken later follows */
    struct cbpi_turns turns;
};

/* Ends the turn of a worker, waits for a slot whose turn it is, and takes it. With doze set the wait begins
 * with a short sleep, from which messages that nobody waits for need not wake. CBP_ERROR_TIMEOUT,
 * CBP_ERROR_OPERATION_ABORTED once closed, CBP_ERROR_BROKEN_PIPE once the driver is dead,
 * CBP_ERROR_INVALID_DATA for a slot that there is not. */
uint32_t cbpi_channel_take(struct cbpi_channel_client *client, struct cbpi_turn *turn, uint32_t timeout_ms,
                           uint32_t doze, uint32_t *slot);

/* From time to time: what waits for a handler whose deadline has passed waits no longer. */
void cbpi_channel_expire_turns(struct cbpi_channel_client *client);

/* Copies the message of a taken slot out of the shared memory, checks the copy and decodes it.
 * CBP_ERROR_INSUFFICIENT_BUFFER with the capacity it takes; CBP_ERROR_INVALID_DATA. Keeps the slot. */
uint32_t cbpi_channel_read(struct cbpi_channel_client *client, uint32_t slot, struct cbpi_delivery *delivery);

/* Writes the answer and gives the slot back. CBP_ERROR_TIMEOUT if the deadline has decided, here and in the
 * next two; an operation that nobody waits for has none. */
uint32_t cbpi_channel_answer(struct cbpi_channel_client *client, const struct cbpi_delivery *delivery);

/* Gives a slot back as it came: no refusal, nothing taken away. */
void cbpi_channel_return(struct cbpi_channel_client *client, uint32_t slot);

uint32_t cbpi_channel_check(const struct cbpi_channel_client *client, const struct cbpi_delivery *delivery);
uint32_t cbpi_channel_extend(struct cbpi_channel_client *client, const struct cbpi_delivery *delivery,
                             uint32_t timeout_ms);
uint32_t cbpi_channel_backlog(const struct cbpi_channel_client *client);

/* Wakes every waiting worker; one of them. */
void cbpi_channel_wake(struct cbpi_channel_client *client);
void cbpi_channel_wake_one(struct cbpi_channel_client *client);

/* Gives back what the driver has pushed and nobody has taken. */
void cbpi_channel_drain(struct cbpi_channel_client *client);

#endif
