/* States what the scenarios offer one another: what drives cbprocess.sys, and the oracle that watches it. */
#ifndef SCENARIO_H
#define SCENARIO_H

#include <pthread.h>

#include "loader.h"

struct options {
    uint64_t seed;
    unsigned rounds, seconds;
};

/* A mode runs to its end, or the program ends at what is wrong. */
struct mode {
    const char *name;
    void (*run)(struct image *image, const struct options *options);
    unsigned rounds; /* without --rounds */
    const char *what;
};

void drive_run(struct image *image, const struct options *options);

/* Random numbers: the same for a seed. */
struct random {
    uint64_t state;
};
uint32_t random_below(struct random *random, uint32_t bound);
void random_open(struct random *random, uint64_t seed, uint32_t number);

/* A thread of Linux that plays a thread of Windows. */
struct player {
    pthread_t thread;
    struct nt_thread *self;
    void (*play)(struct player *player);
    void *context;
    unsigned index;
    struct random random;
};
void players_start(struct player *players, unsigned count);
void players_join(struct player *players, unsigned count);

#endif
