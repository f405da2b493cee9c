/* Tries to keep a walk over its descendants going for ever: makes children that its tracer is not told of, so
 * that each look at all processes finds new ones. */
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CLONE_ARGUMENTS = 8, EXIT_SIGNAL = 4, CREATORS_DOUBLED = 2 };

int main(void)
{
    const struct timespec life = {0, 200 * 1000 * 1000}, pause_between = {0, 400 * 1000};
    uint64_t arguments[CLONE_ARGUMENTS] = {CLONE_UNTRACED};
    signal(SIGCHLD, SIG_IGN);
    arguments[EXIT_SIGNAL] = SIGCHLD;
    if (write(1, "ready\n", 6) != 6)
        return 1;
    for (int i = 0; i < CREATORS_DOUBLED; i++) /* one may be stopped, or wait for its turn, during a look */
        (void) !fork();
    for (;;) {
        if (syscall(SYS_clone3, arguments, sizeof arguments) == 0) {
            nanosleep(&life, NULL);
            _exit(0);
        }
        nanosleep(&pause_between, NULL);
    }
}
