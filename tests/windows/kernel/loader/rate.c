/* Measures how many operations a second are asked about and answered, each of them, through the driver's own
 * bytes. The pool has red zones in place of pages of its own here; everything else is checked as always.
 *
 * Where others use the machine, the wall's clock says nothing. So a second is also one of processor time, which a
 * machine with a single free processor would need: that is what has to suffice. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "stage.h"

enum { RATE_MIN = 30000, STORIES = 3000, WORKERS = 2, ORIGINATORS = 6 };

static double processor_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

void rate_run(struct image *image, const struct options *options)
{
    double best = 0, best_of_processor = 0;
    pool_special(0);
    for (unsigned i = 0; i < options->rounds; i++) {
        struct round round = {
            .seed = options->seed + i,
            .ending = ENDING_CALM,
            .workers = WORKERS,
            .plan = {
                .seed = options->seed + i, .originators = ORIGINATORS, .stories = STORIES, .sessions = 1}};
        unsigned long answers = oracle_answers();
        double began_s = processor_s();
        verdicts_context("mode rate --seed %llu", (unsigned long long) round.seed);
        round_run(image, &round);
        double used_s = processor_s() - began_s;
        unsigned long count = oracle_answers() - answers;
        if (count != (unsigned long) ORIGINATORS * STORIES * STEP_COUNT)
            wrong("%lu operations of %u were answered", count, ORIGINATORS * STORIES * STEP_COUNT);
        best = larger(best, (double) count / ((double) round.took_ns / 1e9));
        best_of_processor = larger(best_of_processor, (double) count / used_s);
    }
    printf("rate: %u rounds of %u operations, each asked and answered: in the best one %.0f a second, and "
           "%.0f for "
           "each second of a processor\n",
           options->rounds, ORIGINATORS * STORIES * STEP_COUNT, best, best_of_processor);
    if (larger(best, best_of_processor) < RATE_MIN)
        wrong("that is less than %d", RATE_MIN);
}
