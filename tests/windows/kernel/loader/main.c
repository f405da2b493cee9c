/* Is the command line of the loader: a mode, the driver's file, and how much of it.
 *
 *     loader MODE FILE.sys [--seed N] [--rounds N] [--seconds N] [--limit SECONDS] [--plain] [--any-wait]
 *
 * Exit status: 0, 1 (an answer of the driver's is wrong), 3 (it has broken a rule), 2 (wrong usage). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stage.h"

enum { EXIT_USAGE = 2, LIMIT_S = 120, SLICE_LIMIT_MS = 250, SYSTEM_PID = 4, OWN_PID = 400, OWN_TID = 404 };

static const struct mode modes[] = {
    {"races", races_run, 60, "rounds of answers, cancellation, closing, death and unload, drawn from seeds"},
    {"death", death_run, 20, "controllers die while operations wait for them"},
    {"unload", unload_run, 20, "the driver is unloaded while operations go on"},
    {"deadline", deadline_run, 1, "each way in which the time of an operation can pass"},
    {"failures", failures_run, 1, "each allocation and each routine that can fail does, one after the other"},
    {"exempt", exempt_run, 1, "a worker's operations are told to nobody"},
    {"rate", rate_run, 3, "how many operations a second are asked about and answered"},
    {"drive", drive_run, 1, "drives a test driver of violations/"},
};

static _Noreturn void say_usage(void)
{
    fprintf(stderr, "usage: loader MODE FILE.sys [--seed N] [--rounds N] [--seconds N] [--limit SECONDS]\n"
                    "              [--plain] [--any-wait]\n");
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        fprintf(stderr, "  %-12s %s\n", modes[i].name, modes[i].what);
    exit(EXIT_USAGE);
}

static unsigned long number_of(const char *text)
{
    char *end;
    unsigned long number = text ? strtoul(text, &end, 0) : 0;
    if (!text || *end || end == text)
        say_usage();
    return number;
}

static const struct mode *mode_of(const char *name)
{
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (name && strcmp(modes[i].name, name) == 0)
            return &modes[i];
    say_usage();
}

/* Reads the options after the file. */
static void read_options(char **arguments, struct options *options, unsigned *limit_s)
{
    for (; *arguments; arguments++) {
        const char *name = *arguments;
        if (strcmp(name, "--plain") == 0)
            pool_special(0);
        else if (strcmp(name, "--any-wait") == 0)
            time_slice_limit_ms(0);
        else if (strcmp(name, "--seed") == 0)
            options->seed = number_of(*++arguments);
        else if (strcmp(name, "--rounds") == 0)
            options->rounds = (unsigned) number_of(*++arguments);
        else if (strcmp(name, "--seconds") == 0)
            options->seconds = (unsigned) number_of(*++arguments);
        else if (strcmp(name, "--limit") == 0)
            *limit_s = (unsigned) number_of(*++arguments);
        else
            say_usage();
    }
}

int main(int count, char **arguments)
{
    struct image image;
    const struct mode *mode = mode_of(count > 2 ? arguments[1] : NULL);
    struct options options = {.seed = 1, .rounds = mode->rounds, .seconds = 4};
    unsigned limit_s = LIMIT_S;
    time_slice_limit_ms(SLICE_LIMIT_MS);
    read_options(arguments + 3, &options, &limit_s);
    verdicts_open(limit_s);
    verdicts_context("mode %s", mode->name);
    if (!image_read(&image, arguments[2])) {
        fprintf(stderr, "no file %s\n", arguments[2]);
        return EXIT_USAGE;
    }
    process_create(SYSTEM_PID, 0, "");
    struct nt_process *own = process_create(OWN_PID, SYSTEM_PID, "\\Device\\HarddiskVolume2\\loader.exe");
    actor_set(thread_create(OWN_TID, own));
    facts_volume('C', "\\Device\\HarddiskVolume2");
    mode->run(&image, &options);
    free(image.file);
    return 0;
}
