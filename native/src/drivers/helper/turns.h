/* In which order the deliveries of one process go to handlers. Workers take them in the order in which they
 * happened, but several are at work at once: what follows a delivery that is being handled waits for its
 * turn, with the worker that handles it. So a process's end is told after its creation, also where it was
 * killed while that was being decided about.
 *
 * A delivery follows another one of the same process if either is about the process as a whole, or both about
 * the same thread. Operations on handles follow nobody. Knows the slots of the channel, no ring and no
 * worker; what slots say only decides about the order. The caller holds one lock around all of it. */
#ifndef CBPI_TURNS_H
#define CBPI_TURNS_H

#include "cbp_channel.h"
#include "turn.h"

#include <stdbool.h>

struct cbpi_turns {
    const struct cbp_channel *channel;
    struct cbpi_turn *on;
    struct cbpi_turn_queue ready; /* whose turn it is, and that no worker has */
    uint32_t waiting_count;       /* atomic: both */
    uint32_t ready_count;         /* atomic */
    uint16_t next[CBP_SLOT_COUNT];
    uint8_t is_queued[CBP_SLOT_COUNT];
};

/* Whether it is the slot's turn: then it is the worker's, whose turn has ended. Otherwise it waits. */
bool cbpi_turns_begin(struct cbpi_turns *turns, struct cbpi_turn *turn, uint32_t slot);

/* Ends a worker's turn. Gives true and a slot if there is one whose turn it is now, which is the worker's then.
 */
bool cbpi_turns_end(struct cbpi_turns *turns, struct cbpi_turn *turn, uint32_t *slot);

/* Whether a slot waits in some queue: one that is there twice is none of the driver's that is sound. */
bool cbpi_turns_have(const struct cbpi_turns *turns, uint32_t slot);

/* A worker that ends leaves what waits for it to the others. */
void cbpi_turns_leave(struct cbpi_turns *turns, struct cbpi_turn *turn);

/* What follows something whose deadline has passed waits no longer. */
void cbpi_turns_expire(struct cbpi_turns *turns, uint64_t now_ns);

/* Takes the next one that no worker has, whoever's turn it is. False: there is none. */
bool cbpi_turns_take_ready(struct cbpi_turns *turns, uint32_t *slot);

#endif
