/* Begins to trace a running thread within a limit. The kernel's call waits while the process executes a
 * program: as long as the file takes to answer, and until threads have ended that wait for the helper in
 * their last stop. A signal does not end that wait, because the call is restarted, but its handler can leave
 * the call. Runs in the tracer thread only. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <unistd.h>

#include "tracer.h"

enum { SEIZE_LIMIT_US = 200 * 1000 };

static sigjmp_buf before_the_call;
static volatile sig_atomic_t is_in_the_call;

static void leave_the_call(int signal)
{
    (void) signal;
    if (is_in_the_call) {
        is_in_the_call = 0;
        siglongjmp(before_the_call, 1);
    }
}

/* The timer fires again and again, in case a first signal comes too early. */
static void set_timer(long interval_us)
{
    const struct itimerval timer = {{0, interval_us}, {0, interval_us}};
    (void) setitimer(ITIMER_REAL, &timer, NULL);
}

bool cbpd_seize_within_limit(struct tracer *self, uint32_t tid, unsigned long options)
{
    const struct sigaction action = {.sa_handler = leave_the_call};
    volatile bool done = false;
    volatile int error = ETIMEDOUT;
    sigaction(SIGALRM, &action, NULL);
    if (sigsetjmp(before_the_call, 1) == 0) {
        set_timer(SEIZE_LIMIT_US);
        is_in_the_call = 1;
        done = ptrace(PTRACE_SEIZE, (pid_t) tid, 0, options) == 0;
        error = errno;
        is_in_the_call = 0;
    } else {
        /* The call may have succeeded just then. A stop would show it, but could make a system call fail. */
        struct status_facts facts;
        done = cbpd_read_status(self, tid, &facts) && facts.tracer_pid == (uint32_t) getpid();
    }
    set_timer(0);
    errno = error;
    return done;
}
