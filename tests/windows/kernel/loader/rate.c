/* Measures how many operations a second are asked about and answered, each of them, through the driver's own
 * bytes. The pool has red zones in place of pages of its own here; everything else is checked as always. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "stage.h"

enum { RATE_MIN = 30000, STORIES = 3000, WORKERS = 2, ORIGINATORS = 6 };

void rate_run(struct image *image, const struct options *options)
{
    double best = 0, all_s = 0;
    unsigned long all = 0;
    pool_special(0);
    for (unsigned i = 0; i < options->rounds; i++) {
        struct round round = {
            .seed = options->seed + i,
            .ending = ENDING_CALM,
            .workers = WORKERS,
            .plan = {
                .seed = options->seed + i, .originators = ORIGINATORS, .stories = STORIES, .sessions = 1}};
        unsigned long answers = oracle_answers();
        verdicts_context("mode rate --seed %llu", (unsigned long long) round.seed);
        round_run(image, &round);
        unsigned long count = oracle_answers() - answers;
        double seconds = (double) round.took_ns / 1e9, rate = (double) count / seconds;
        if (count != (unsigned long) ORIGINATORS * STORIES * STEP_COUNT)
            wrong("%lu operations of %u were answered", count, ORIGINATORS * STORIES * STEP_COUNT);
        if (rate > best)
            best = rate;
        all += count;
        all_s += seconds;
    }
    printf("rate: %lu operations in %.2f s, each asked and answered: %.0f a second, in the best round %.0f\n",
           all, all_s, (double) all / all_s, best);
    if (best < RATE_MIN)
        wrong("the best round has %.0f events a second, which is less than %d", best, RATE_MIN);
}
