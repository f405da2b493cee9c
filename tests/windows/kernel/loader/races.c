/* Runs many rounds whose shape and ending come from a seed: races of answers, cancellation, closing, death and
 * unload. Each seed is one round, so a round that has failed is run again alone by its seed; the threads of two
 * runs do not meet in the same way, so it may take several. */
#include <stdio.h>

#include "stage.h"

enum { RELEASE_MS = 100, RELEASE_LIMIT_MS = 2000, NS_PER_MS = 1000000 };

static struct manners draw_manners(struct random *random, bool is_hasty)
{
    struct manners manners = {.cancel = random_below(random, 40),
                              .small = random_below(random, 30),
                              .twice = random_below(random, 30),
                              .stray = random_below(random, 20),
                              .defer = random_below(random, 30),
                              .token = random_below(random, 20),
                              .act = random_below(random, 20)};
    if (is_hasty) {
        manners.drop = random_below(random, 8);
        manners.deadline = random_below(random, 10);
    }
    return manners;
}

static struct round draw_round(uint64_t seed)
{
    static const char *const lacking[] = {NULL, "ExAllocatePool2", "PsSetCreateProcessNotifyRoutineEx2",
                                          "ZwQueryInformationFile"};
    struct random random;
    random_open(&random, seed, 0);
    struct round round = {.seed = seed, .ending = random_below(&random, ENDING_COUNT)};
    round.unloads_early = random_below(&random, 2);
    round.is_hasty = random_below(&random, 3) == 0;
    round.has_churn = random_below(&random, 3) == 0;
    round.special_share = random_below(&random, 2) ? 256 : random_below(&random, 256);
    round.lacks = lacking[random_below(&random, 4)];
    round.workers = 1 + random_below(&random, 5);
    round.plan = (struct plan){.seed = seed,
                               .originators = 1 + random_below(&random, 6),
                               .stories = 10 + random_below(&random, 30),
                               .sessions = 1 + random_below(&random, SESSIONS_MAX),
                               .refuses = random_below(&random, 4) != 0};
    round.manners = draw_manners(&random, round.is_hasty);
    return round;
}

static void print_totals(const char *mode, const struct options *options)
{
    printf("%s: %u rounds, seeds %llu to %llu: %lu operations, %lu messages, %lu answers, %lu timeouts\n",
           mode, options->rounds, (unsigned long long) options->seed,
           (unsigned long long) (options->seed + options->rounds - 1), oracle_steps(), oracle_deliveries(),
           oracle_answers(), oracle_timeouts());
}

static void say_context(const char *mode, const struct round *round)
{
    verdicts_context(
        "mode %s --seed %llu --rounds 1: ending %d, %u sessions, %u workers, %u originators%s%s%s", mode,
        (unsigned long long) round->seed, round->ending, round->plan.sessions, round->workers,
        round->plan.originators, round->is_hasty ? ", hasty" : "", round->has_churn ? ", churn" : "",
        round->unloads_early ? ", unloads early" : "");
}

void races_run(struct image *image, const struct options *options)
{
    for (unsigned i = 0; i < options->rounds; i++) {
        struct round round = draw_round(options->seed + i);
        say_context("races", &round);
        round_run(image, &round);
    }
    print_totals("races", options);
}

/* A controller that dies costs what waits for it milliseconds: the driver sees its process end, and does not
 * wait for its handles to be closed. A busy machine may be late now and then. */
void death_run(struct image *image, const struct options *options)
{
    uint64_t longest_ns = 0;
    unsigned late_count = 0;
    for (unsigned i = 0; i < options->rounds; i++) {
        struct round round = draw_round(options->seed + i);
        round.ending = i % 2 ? ENDING_DEATH : ENDING_DEATH_KEPT;
        round.unloads_early = round.is_hasty = false;
        round.manners.drop = 60; /* so that something waits when the controller dies */
        round.manners.deadline = 0;
        say_context("death", &round);
        round_run(image, &round);
        late_count += round.release_ns > (uint64_t) RELEASE_MS * NS_PER_MS;
        if (round.release_ns > longest_ns)
            longest_ns = round.release_ns;
    }
    if (longest_ns > (uint64_t) RELEASE_LIMIT_MS * NS_PER_MS || late_count * 4 > options->rounds)
        wrong(
            "operations waited for %llu ms after their controller had died, in %u rounds for more than %d ms",
            (unsigned long long) (longest_ns / NS_PER_MS), late_count, RELEASE_MS);
    printf("death: what waited went on %.1f ms after the controller's process had ended, at most\n",
           (double) longest_ns / 1e6);
    print_totals("death", options);
}

/* The driver goes while operations are in its callbacks. */
void unload_run(struct image *image, const struct options *options)
{
    for (unsigned i = 0; i < options->rounds; i++) {
        struct round round = draw_round(options->seed + i);
        round.ending = ENDING_SESSION + i % 3; /* or the file, or the process */
        round.unloads_early = true;
        say_context("unload", &round);
        round_run(image, &round);
    }
    print_totals("unload", options);
}
