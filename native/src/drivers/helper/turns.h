/* Keeps the order in which the deliveries of one process go to handlers. Workers take them in the order in
 * which they happened, but several are at work at once: a delivery that follows one in a handler waits for
 * its turn, with the worker that handles that one. So a process's end is told after its creation, even if it
 * was killed while its creation was being decided.
 *
 * A delivery follows another one of its process if either is about the process as a whole, or both are about
 * one thread. Operations on handles follow none. Knows slots by their numbers alone, and what their messages
 * are about from the driver's own half. The caller holds one lock around all of it. */
#ifndef CBPI_TURNS_H
#define CBPI_TURNS_H

#include "turn.h"

#include <stdbool.h>
#include <stdint.h>

#define CBPI_TURNS_SLOT_MAX 2304u /* slots have numbers below this */

/* A message is about this. */
struct cbpi_turn_subject {
    uint32_t types; /* of all its items, as are the flags */
    uint32_t flags;
    uint32_t process_id, thread_id;
};

/* These functions look at a slot in the driver's memory. */
struct cbpi_turn_slots {
    void (*look)(const void *memory, uint32_t slot, struct cbpi_turn_subject *subject);

    /* Says whether the deadline of a held message has passed, so that nothing waits for its answer. */
    bool (*is_expired)(const void *memory, uint32_t slot, uint64_t now_ns);
};

struct cbpi_turns {
    const struct cbpi_turn_slots *slots;
    const void *memory; /* for slots */
    struct cbpi_turn *on;
    struct cbpi_turn_queue ready; /* of those whose turn it is, and that no worker has */
    uint32_t waiting_count;       /* atomic: both */
    uint32_t ready_count;         /* atomic */
    uint16_t next[CBPI_TURNS_SLOT_MAX];
    uint8_t is_queued[CBPI_TURNS_SLOT_MAX];
};

/* Says whether it is the slot's turn: then it is the worker's, whose turn has ended. Otherwise it waits. */
bool cbpi_turns_begin(struct cbpi_turns *turns, struct cbpi_turn *turn, uint32_t slot);

/* Ends a worker's turn. Gives true and a slot if there is one whose turn it is now, and which is the worker's
 * then. */
bool cbpi_turns_end(struct cbpi_turns *turns, struct cbpi_turn *turn, uint32_t *slot);

/* Leaves to the others what waits for a worker that ends. */
void cbpi_turns_leave(struct cbpi_turns *turns, struct cbpi_turn *turn);

/* Ends the wait of everything that follows a delivery whose deadline has passed. */
void cbpi_turns_expire(struct cbpi_turns *turns, uint64_t now_ns);

/* Takes the next slot that no worker has, for any worker. False: there is none. */
bool cbpi_turns_take_ready(struct cbpi_turns *turns, uint32_t *slot);

#endif
