/* Tries to have the kernel signal a protected server for its terminal: one of our own, with the server's
 * group in the foreground, or with the server as the leader of its session.
 *
 *     by_terminal WAY SERVER */
#include <pthread.h>
#include <sys/ioctl.h>

#include "ways.h"

static int master, terminal;

static void open_terminal(void)
{
    master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
}

static void start_on_terminal(void)
{
    open_terminal();
    if (setsid() < 0)
        exit(UNSUPPORTED);
    terminal = open(ptsname(master), O_RDWR | O_CLOEXEC); /* becomes the session's */
    CHECK(terminal >= 0);
    start("", NULL);
    signal(SIGHUP, SIG_IGN);
    CHECK(ioctl(terminal, TIOCSPGRP, &server.process) == 0);
}

static void type_interrupt(void)
{
    start_on_terminal();
    try(write(master, "\003", 1));
}

static void push_interrupt(void)
{
    start_on_terminal();
    try(ioctl(terminal, TIOCSTI, "\003"));
}

/* The kernel makes those who are in the foreground the owners of the descriptor, which sends this signal. */
static void have_signals(void)
{
    CHECK(fcntl(terminal, F_SETSIG, SIGKILL) == 0);
    if (error == 0)
        CHECK(write(master, "x\n", 2) == 2);
}

static void signal_foreground(void)
{
    start_on_terminal();
    try(fcntl(terminal, F_SETFL, O_RDWR | O_ASYNC));
    have_signals();
}

static void signal_foreground_by_ioctl(void)
{
    int on = 1;
    start_on_terminal();
    try(ioctl(terminal, FIOASYNC, &on));
    have_signals();
}

/* The descriptor is a pipe when the call is looked at. */
static void *exchange(void *pipe)
{
    int fd = open(ptsname(master), O_RDWR | O_CLOEXEC | O_NOCTTY);
    CHECK(fd >= 0);
    for (;;) {
        dup2(*(int *) pipe, terminal);
        dup2(fd, terminal);
    }
    return NULL;
}

static void signal_foreground_by_exchange(void)
{
    int ends[2];
    pthread_t thread;
    CHECK(pipe(ends) == 0);
    start_on_terminal();
    CHECK(pthread_create(&thread, NULL, exchange, ends) == 0);
    for (int i = 0; i < 2000; i++)
        if (fcntl(terminal, F_SETFL, O_ASYNC | O_NONBLOCK) == 0)
            got |= fcntl(terminal, F_GETOWN) < 0;
        else
            error = errno;
}

static void send_by_master(void)
{
    start_on_terminal();
    try(ioctl(master, TIOCSIG, (void *) SIGINT));
}

static void hang_up(void)
{
    start_on_terminal();
    try(close(master));
}

/* Without being asked, the kernel tells those in the foreground of a terminal that its session gives up. */
static void give_up(void)
{
    start_on_terminal();
    try(ioctl(terminal, TIOCNOTTY));
}

static void lead_session(void)
{
    /* Whoever leads a group can found no session. */
    CHECK(setpgid(0, getpgid(getppid())) == 0 && setsid() > 0);
    CHECK(open(ptsname(master), O_RDWR | O_CLOEXEC) >= 0);
}

static void hang_up_on_leader(void)
{
    open_terminal();
    start("", lead_session);
    try(close(master));
}

static void hang_up_by_call(void)
{
    start_on_terminal();
    try(vhangup());
}

static const struct way ways[] = {
    {"typed", type_interrupt, true},
    {"tiocsti", push_interrupt, true},
    {"async", signal_foreground, true},
    {"async-ioctl", signal_foreground_by_ioctl, true},
    {"async-exchanged", signal_foreground_by_exchange, false},
    {"tiocsig", send_by_master, true},
    {"hang-up", hang_up, false},
    {"hang-up-on-leader", hang_up_on_leader, true},
    {"give-up", give_up, true},
    {"vhangup", hang_up_by_call, false},
};

int main(int count, char **arguments)
{
    CHECK(count >= 3);
    if (strcmp(arguments[1], "serve") == 0)
        serve(arguments[2]);
    return act_by(ways, sizeof ways / sizeof ways[0], arguments);
}
