/* Starts threads of Linux that play threads of Windows, each in a process of its own or in a given one. */
#include <pthread.h>
#include <stdlib.h>

#include "scenario.h"

uint32_t random_below(struct random *random, uint32_t bound)
{
    /* A xorshift generator: any state but 0. */
    uint64_t x = random->state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    random->state = x;
    return (uint32_t) ((x >> 32) * bound >> 32);
}

void random_open(struct random *random, uint64_t seed, uint32_t number)
{
    random->state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (number + UINT64_C(0x1234567)) << 20;
    for (unsigned i = 0; i < 8; i++)
        random_below(random, 2);
}

static void *start(void *argument)
{
    struct player *player = argument;
    verdicts_thread_open();
    actor_set(player->self);
    player->play(player);
    verdicts_thread_close();
    return NULL;
}

void players_start(struct player *players, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        players[i].index = i;
        if (!players[i].self)
            players[i].self = actor();
        if (pthread_create(&players[i].thread, NULL, start, &players[i]) != 0)
            wrong("no thread can be started");
    }
}

void players_join(struct player *players, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        pthread_join(players[i].thread, NULL);
}
