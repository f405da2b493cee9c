/* Is a controller's worker: a thread that receives the messages of a session and answers each of them. */
#ifndef UNITS_PLAYER_H
#define UNITS_PLAYER_H

#include "actor.h"

struct player {
    struct actor actor; /* a copy of the controller's, with a thread of its own */
    uint32_t session_id;
    uint32_t result_code; /* the answer to all */
    uint32_t seed;        /* not 0: cancels receives and moves deadlines now and then */
    uint64_t told_count;  /* events that were received */
    uint64_t asked_count, answered_count, late_count;
    pthread_t thread;
};

void player_start(struct player *player, const struct actor *actor, uint32_t tid, uint32_t session_id,
                  uint32_t result_code);
/* Waits for it. The session has closed, or its receives are cancelled otherwise. */
void player_end(struct player *player);

#endif
