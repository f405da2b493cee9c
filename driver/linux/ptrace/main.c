/* cbprocess-ptrace: traces the trees that a controller starts, holds their operations while the
 * controller's handlers decide, and lets everything go when the controller is gone. Started by the core with
 * the descriptors named in tracer.h; it has no other interface.
 *
 * It waits in one of two ways. While nothing is held it blocks in wait4: one system call for each stop. While
 * something is held, or a new task's creator has not told of it yet, it sleeps on the channel's answer bell,
 * which an answer, SIGCHLD's handler and a reader that has done its job (beside.h) move.
 */
#include <errno.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cbp_atomic.h"
#include "look.h"
#include "tracer.h"

enum { UNOWNED_CHECK_NS = 5 * 1000 * 1000, SLEEP_MAX_NS = 100 * 1000 * 1000 };

/* Where the tracer is called to its work: by a signal's handler, too, and by other threads. */
static struct cbp_channel *bell_channel;

static void move_bell(int signal)
{
    (void) signal;
    cbp_add_u32(&bell_channel->answer_bell, 1);
}

void cbpd_wake_tracer(void)
{
    cbp_add_u32(&bell_channel->answer_bell, 1);
    if (cbp_load_u32(&bell_channel->driver_sleeping) != 0)
        syscall(SYS_futex, &bell_channel->answer_bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void interrupt_wait(int signal)
{
    (void) signal; /* wait4 returns with EINTR: that is all */
}

/* SIGCHLD costs a handler's run: it is listened to only while the bell is slept on. */
static void listen_for_children(bool on)
{
    static bool listening;
    if (listening == on)
        return;
    listening = on;
    struct sigaction action = {.sa_handler = on ? move_bell : SIG_DFL, .sa_flags = on ? 0 : SA_NOCLDSTOP};
    sigaction(SIGCHLD, &action, NULL);
}

/* Its own session, deaf to the terminal: Ctrl-C is for the programs it traces. */
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
    (void) setsid();
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
    else if (tid < 0 && errno == ECHILD && self->helper.tasks != NULL)
        cbpd_forget_everybody(self);
    return tid > 0;
}

/* Handles all that has happened; whether there was something. */
static bool drain_waits(struct tracer *self)
{
    bool any = false;
    while (handle_one(self, WNOHANG))
        any = true;
    return any;
}

void cbpd_publish_counts(struct tracer *self, const struct task *leaving)
{
    uint32_t count = self->helper.task_count - self->let_go_count;
    if (leaving != NULL && (leaving->process == NULL || !leaving->process->base.standing.is_let_go))
        count--;
    cbp_store_relaxed_u32(&self->helper.channel->supervised_count, count);
    if (count > 0)
        cbp_store_relaxed_u32(&self->helper.channel->supervised_ever, 1);
}

/* What was looked at beside us, or could not be in time. */
static void serve_jobs(struct tracer *self)
{
    struct job *job;
    for (struct task *task; (task = cbpd_next_finished_job(&job)) != NULL;)
        cbpd_finish_look(self, task, job);
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

bool cbpd_serve_in_between(struct tracer *self)
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

static void sleep_on_bell(struct tracer *self, uint32_t value, uint64_t until_ns)
{
    struct timespec timeout = {0, 0};
    uint64_t now = cbpd_now_ns();
    uint64_t wait_ns = until_ns > now ? until_ns - now : 0;
    timeout.tv_sec = (time_t) (wait_ns / 1000000000u);
    timeout.tv_nsec = (long) (wait_ns % 1000000000u);
    if (until_ns != 0 && wait_ns == 0)
        return;
    cbp_store_u32(&self->helper.channel->driver_sleeping, 1);
    syscall(SYS_futex, &self->helper.channel->answer_bell, FUTEX_WAIT, value, until_ns != 0 ? &timeout : NULL,
            NULL, 0);
    cbp_store_u32(&self->helper.channel->driver_sleeping, 0);
}

/* No wait is for ever while somebody waits for us: a signal that does not move the bell (the thread sanitizer
 * holds its handler back) costs a tenth of a second, not a hang. */
static uint64_t wake_up_time(struct tracer *self)
{
    uint64_t until_ns = cbpd_next_deadline_ns();
    if (self->helper.task_count > 0) {
        uint64_t soon = cbpd_now_ns() + (self->unowned_count > 0 ? UNOWNED_CHECK_NS : SLEEP_MAX_NS);
        until_ns = until_ns == 0 || soon < until_ns ? soon : until_ns;
    }
    return until_ns;
}

static bool waits_for_answers(struct tracer *self)
{
    return cbpd_anything_held() || cbpd_anything_parked() || cbpd_any_job_waits() ||
           self->helper.task_count == 0;
}

/* Whether the next stop, if there is one, tells whose all new tasks are. A creator stops when its child does:
 * most often its event is there by now, and to be woken by a signal would cost five system calls more. */
static bool creator_tells(struct tracer *self)
{
    return handle_one(self, WNOHANG) && self->unowned_count == 0;
}

/* One turn while something is held, a task's owner is unknown, or nobody is traced at all. */
static void wait_for_answers(struct tracer *self)
{
    listen_for_children(true);
    uint32_t bell = cbp_load_u32(&self->helper.channel->answer_bell);
    bool stopped = drain_waits(self);
    if (!cbpd_answers_are_there(&self->helper) && !stopped && !cbpd_any_job_is_done() &&
        !cbpd_control_wants_attention())
        sleep_on_bell(self, bell, wake_up_time(self));
    expire_operations(self);
    if (self->unowned_count > 0)
        cbpd_resolve_unowned_tasks(self);
}

static struct tracer whole; /* what this process is: too large for a stack */

int main(void)
{
    struct tracer *self = &whole;
    cbpd_harden();
    become_independent();
    if (!cbpd_map_channel(self) || !cbpd_peer_is_same_user(self))
        return EXIT_FAILURE;
    bell_channel = self->helper.channel;
    if (!cbpd_helper_init(&self->helper, &cbpd_helper_host, &cbpd_policy_host) || !cbpd_digest_init() ||
        !cbpd_control_init(self)) {
        cbpd_control_refuse(self, errno);
        return EXIT_FAILURE;
    }
    cbpd_prepare_readers();
    cbpd_watch_for_risk();
    cbp_store_u32(&self->helper.channel->driver_process_id, (uint32_t) getpid());
    for (;;) {
        self->served_tid = 0;
        cbpd_serve_control(self);
        /* The task that is let go may stop again before we wait for it: not a reason to run a signal handler.
         */
        if (cbpd_answers_settle_everything(&self->helper))
            listen_for_children(false);
        collect_answers(self);
        serve_jobs(self);
        cbpd_serve_parked(self);
        self->served_tid = 0;
        cbpd_serve_wishes(self);
        cbpd_publish_counts(self, NULL); /* before a sleep that may be long */
        /* At our end the kernel detaches all others where they are, and wakes nobody. */
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
        } else if (!cbpd_control_wants_attention()) {
            /* One at a time: to look for more would mean one more walk over all tracees in the kernel. */
            listen_for_children(false);
            (void) handle_one(self, 0);
        }
    }
    return EXIT_SUCCESS;
}
