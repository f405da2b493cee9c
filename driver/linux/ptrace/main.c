/* Is cbprocess-ptrace: traces the trees that a controller starts, holds their operations while the
 * controller's handlers decide, and lets everything go when the controller is gone. The core starts it with
 * the descriptors named in tracer.h; it has no other interface.
 *
 * It waits in one of two ways, after a moment of looking without sleep (scheduling.c). While nothing is held it blocks in wait4, with one system call for each stop.
 * While something is held, or a new task's creator is not known yet, it sleeps on the channel's answer bell.
 * An answer, SIGCHLD's handler and a reader that has done its job (beside.h) move the bell. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cbp_atomic.h"
#include "look.h"
#include "tracer.h"

enum { UNOWNED_CHECK_MS = 5, SLEEP_MAX_MS = 100 };

static void interrupt_wait(int signal)
{
    (void) signal; /* wait4 returns with EINTR, which is enough */
}

/* Takes the helper out of the terminal's reach: Ctrl-C is for the traced programs. A group of its own and
 * signals that are ignored suffice for that. In a session of its own it would be a group of its own for the
 * scheduler, too (autogroup), which has it wait for processors behind programs of the tree. */
static void become_independent(void)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction wake = {.sa_handler = interrupt_wait};
    int ignored[] = {SIGINT, SIGQUIT, SIGHUP, SIGTERM, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU};
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        sigaction(ignored[i], &ignore, NULL);
    sigaction(SIGUSR1, &wake, NULL);
    struct sigaction child = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP};
    sigaction(SIGCHLD, &child, NULL);
    cbpd_listen_for_wishes();
    (void) setpgid(0, 0);
    (void) !chdir("/");
    (void) prctl(PR_SET_NAME, HELPER_NAME, 0, 0, 0);
    (void) syscall(SYS_close_range, CONTROLLER_FD + 1, ~0u, 0);
}

static bool handle_one(struct tracer *self, int options)
{
    int status;
    pid_t tid = waitpid(-1, &status, __WALL | options);
    if (tid > 0)
        cbpd_handle_wait_status(self, (uint32_t) tid, status);
    else if (tid < 0 && errno == ECHILD && self->helper.tasks)
        cbpd_forget_everybody(self);
    return tid > 0;
}

/* Handles all stops that have happened. Says whether there were any. */
static bool drain_waits(struct tracer *self)
{
    bool any = false;
    while (handle_one(self, WNOHANG))
        any = true;
    return any;
}

/* Goes on with tasks whose looks are done or over their limit. */
static void serve_jobs(struct tracer *self)
{
    struct job *job;
    for (struct task *task; (task = cbpd_next_finished_job(&job));) {
        self->served_tid = task->base.tid;
        cbpd_carry_out(self, task, cbpd_go_on_after_look(self, task, job));
    }
}

static void collect_answers(struct tracer *self)
{
    cbpd_collect_answers(&self->helper);
    cbpd_apply_settled(self);
}

static void expire_operations(struct tracer *self)
{
    cbpd_expire_operations(&self->helper);
    cbpd_apply_settled(self);
}

/* Serves stops, answers and deadlines in the middle of long work. False: the controller has ended. */
static bool serve_in_between(struct tracer *self)
{
    enum { STOPS_MAX = 200 };
    for (int i = 0; i < STOPS_MAX && handle_one(self, WNOHANG);)
        i++;
    collect_answers(self);
    serve_jobs(self);
    expire_operations(self);
    if (self->unowned_count > 0)
        cbpd_resolve_unowned_tasks(self);
    cbpd_publish_counts(self, NULL);
    self->served_tid = 0;
    return !cbpd_controller_has_ended();
}

/* Limits each wait while there are tasks: a signal that does not move the bell (the thread sanitizer delays
 * its handler) costs a tenth of a second and is no deadlock. */
static uint64_t wake_up_time(struct tracer *self)
{
    uint64_t until_ns = cbpd_next_deadline_ns(&self->helper);
    if (self->helper.task_count > 0) {
        uint64_t soon =
            cbpd_now_ns() + (self->unowned_count > 0 ? UNOWNED_CHECK_MS : SLEEP_MAX_MS) * CBP_NS_PER_MS;
        until_ns = until_ns == 0 || soon < until_ns ? soon : until_ns;
    }
    return until_ns;
}

static bool waits_for_answers(struct tracer *self)
{
    return cbpd_anything_held(&self->helper) || cbpd_parked_count() > 0 || cbpd_any_job_waits() ||
           self->helper.task_count == 0;
}

/* Says whether the next stop, if there is one, makes all new tasks' owners known. A creator stops when its
 * child does, so its event mostly is there by now. A wake-up by a signal costs five system calls more. */
static bool creator_tells(struct tracer *self)
{
    return handle_one(self, WNOHANG) && self->unowned_count == 0;
}

/* Handles one stop, if there is one. Says whether there is anything else to do, too. */
static bool has_something_come(struct tracer *self)
{
    return cbpd_answers_are_there(&self->helper) || cbpd_any_job_is_done() || cbpd_is_called() ||
           handle_one(self, WNOHANG);
}

static void sleep_until_answers(struct tracer *self)
{
    cbpd_listen_for_children(true);
    uint32_t bell = cbpd_bell_value();
    bool stopped = drain_waits(self);
    if (!cbpd_answers_are_there(&self->helper) && !stopped && !cbpd_any_job_is_done() && !cbpd_is_called())
        cbpd_sleep_on_bell(bell, wake_up_time(self));
}

/* Waits and works once while something is held, a task's owner is not known, or nothing is traced. */
static void wait_for_answers(struct tracer *self)
{
    if (!cbpd_spin(self, has_something_come))
        sleep_until_answers(self);
    expire_operations(self);
    if (self->unowned_count > 0)
        cbpd_resolve_unowned_tasks(self);
}

/* The helper may outlive the controller by far: no reader of its standard error may wait for that. */
static void let_go_of_stderr(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0) {
        (void) dup2(null, STDERR_FILENO);
        close(null);
    }
}

/* The controller is gone or done. */
static void begin_to_leave(struct tracer *self)
{
    cbpd_release_every_slot(&self->helper);
    cbpd_apply_settled(self);
    self->helper.leaving = true;
    cbpd_end_every_look(self);
    cbpd_unwatch(CONTROL_FD);
    cbpd_unwatch(CONTROLLER_FD);
    cbpd_end_every_launch(self);
    cbpd_let_everything_go(self);
    if (self->helper.task_count > 0)
        let_go_of_stderr();
}

static void serve_control(struct tracer *self)
{
    if (!cbpd_is_called())
        return;
    cbpd_serve_launchers(self);
    cbpd_serve_requests(self);
    cbpd_apply_settled(self); /* operations that closed sessions were asked about */
    self->helper.controller_gone |= cbpd_controller_has_ended();
    if ((self->helper.controller_gone || !cbpd_control_is_open()) && !self->helper.leaving)
        begin_to_leave(self);
    cbpd_call_is_answered();
}

static void serve_parked(struct tracer *self)
{
    struct task *task;
    for (uint32_t left = cbpd_parked_count(); left > 0 && (task = cbpd_next_unparked(self)); left--) {
        self->served_tid = task->base.tid;
        cbpd_carry_out(self, task, cbpd_go_on_after_parking(self, task));
    }
}

static struct tracer whole; /* too large for a stack */

int main(void)
{
    struct tracer *self = &whole;
    self->serve_in_between = serve_in_between;
    cbpd_harden();
    become_independent();
    if (!cbpd_map_channel(self) || !cbpd_peer_is_same_user(self))
        return EXIT_FAILURE;
    cbpd_set_bell(self->helper.channel);
    if (!cbpd_helper_init(&self->helper, &cbpd_helper_host, &cbpd_policy_host) || !cbpd_digest_init() ||
        !cbpd_begin_watching(self)) {
        cbpd_control_refuse(self, errno);
        return EXIT_FAILURE;
    }
    cbpd_keep_own_descriptors();
    cbpd_prepare_readers();
    cbpd_prepare_scheduling();
    cbpd_watch_for_risk();
    cbp_store_u32(&self->helper.channel->driver_process_id, (uint32_t) getpid());
    for (;;) {
        self->served_tid = 0;
        serve_control(self);
        /* The resumed task may stop again before the tracer waits for it, which needs no signal handler. */
        if (cbpd_answers_settle_everything(&self->helper))
            cbpd_listen_for_children(false);
        collect_answers(self);
        serve_jobs(self);
        serve_parked(self);
        self->served_tid = 0;
        cbpd_serve_wishes(self);
        cbpd_publish_counts(self, NULL); /* before a sleep that may be long */
        /* When the helper ends, the kernel detaches its tracees where they are and wakes none. */
        if (!cbpd_anybody_needs_us(self)) {
            if (!drain_waits(self))
                break;
            continue;
        }
        if (waits_for_answers(self)) {
            wait_for_answers(self);
        } else if (self->unowned_count > 0) {
            if (!creator_tells(self))
                wait_for_answers(self);
        } else if (!cbpd_is_called()) {
            /* One stop at a time is handled: a look for more walks over all tracees in the kernel. */
            cbpd_listen_for_children(false);
            if (!cbpd_spin(self, has_something_come))
                (void) handle_one(self, 0);
        }
    }
    return EXIT_SUCCESS;
}
