/* What programs have in common that try one of several ways to act on a protected server, or on the tracer:
 *
 *     PROGRAM WAY SERVER [tracer | FOLDER]
 *
 * The victim is the server or, if so said, the tracer. One line tells how the try ended. */
#ifndef WAYS_H
#define WAYS_H

#include "guarded.h"

enum { END_WAIT_MS = 3000 };

struct way {
    const char *name;
    void (*act)(void);
    bool ends; /* it ends the server if nobody is in its way */
};

static const char *program, *argument;
static pid_t victim;
static int error; /* of the try */
static bool got;

/* Notes how a call ended. True: it succeeded. */
static inline bool try(long result)
{
    error = result < 0 ? errno : 0;
    return result >= 0;
}

static inline void start(const char *how, void (*prepare)(void))
{
    start_prepared_server(program, how, prepare);
    victim = server.process;
    if (argument != NULL && strcmp(argument, "tracer") == 0)
        victim = tracer();
    if (victim == 0)
        exit(UNSUPPORTED);
}

/* What a terminal or a descriptor brings about can take its time, but not for ever. */
static inline void await_end(void)
{
    siginfo_t ended = {.si_pid = 0};
    for (int i = 0; i < END_WAIT_MS && ended.si_pid == 0; i++) {
        CHECK(waitid(P_PID, (id_t) server.process, &ended, WEXITED | WNOWAIT | WNOHANG) == 0);
        usleep(1000);
    }
}

static inline int act_by(const struct way *ways, size_t count, char **arguments)
{
    program = arguments[2];
    argument = arguments[3];
    for (size_t i = 0; i < count; i++)
        if (strcmp(ways[i].name, arguments[1]) == 0) {
            ways[i].act();
            if (ways[i].ends && (error == 0 || error == EAGAIN))
                await_end();
            tell(error, got);
            return 0;
        }
    return FAILED;
}

#endif
