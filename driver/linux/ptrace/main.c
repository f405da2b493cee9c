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

struct tracer self;

static void move_bell(int signal)
{
    (void) signal;
    cbp_add_u32(&self.helper.channel->answer_bell, 1);
}

void wake_tracer(void)
{
    cbp_add_u32(&self.helper.channel->answer_bell, 1);
    if (cbp_load_u32(&self.helper.channel->driver_sleeping) != 0)
        syscall(SYS_futex, &self.helper.channel->answer_bell, FUTEX_WAKE, 1, NULL, NULL, 0);
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
    listen_for_wishes();
    (void) setsid();
    (void) !chdir("/");
    (void) prctl(PR_SET_NAME, HELPER_NAME, 0, 0, 0);
    (void) syscall(SYS_close_range, CONTROLLER_FD + 1, ~0u, 0);
}

static bool handle_one(int options)
{
    int status;
    pid_t tid = waitpid(-1, &status, __WALL | options);
    if (tid > 0)
        handle_wait_status((uint32_t) tid, status);
    else if (tid < 0 && errno == ECHILD && self.helper.tasks != NULL)
        forget_everybody();
    return tid > 0;
}

/* Handles all that has happened; whether there was something. */
static bool drain_waits(void)
{
    bool any = false;
    while (handle_one(WNOHANG))
        any = true;
    return any;
}

void publish_counts(const struct task *leaving)
{
    uint32_t count = self.helper.task_count - self.let_go_count;
    if (leaving != NULL && (leaving->process == NULL || !leaving->process->base.standing.is_let_go))
        count--;
    cbp_store_relaxed_u32(&self.helper.channel->supervised_count, count);
    if (count > 0)
        cbp_store_relaxed_u32(&self.helper.channel->supervised_ever, 1);
}

/* What was looked at beside us, or could not be in time. */
static void serve_jobs(void)
{
    struct job *job;
    for (struct task *task; (task = next_finished_job(&job)) != NULL;)
        finish_look(task, job);
}

static void collect_answers(void)
{
    cbpd_collect_answers(&self.helper);
    apply_settled();
}

static void expire_operations(void)
{
    cbpd_expire_operations(&self.helper);
    apply_settled();
}

bool serve_in_between(void)
{
    enum { STOPS_MAX = 200 };
    for (int i = 0; i < STOPS_MAX && handle_one(WNOHANG);)
        i++;
    collect_answers();
    serve_jobs();
    expire_operations();
    if (self.unowned_count > 0)
        resolve_unowned_tasks();
    publish_counts(NULL);
    self.served_tid = 0;
    return !controller_has_ended();
}

static void sleep_on_bell(uint32_t value, uint64_t until_ns)
{
    struct timespec timeout = {0, 0};
    uint64_t now = now_ns();
    uint64_t wait_ns = until_ns > now ? until_ns - now : 0;
    timeout.tv_sec = (time_t) (wait_ns / 1000000000u);
    timeout.tv_nsec = (long) (wait_ns % 1000000000u);
    if (until_ns != 0 && wait_ns == 0)
        return;
    cbp_store_u32(&self.helper.channel->driver_sleeping, 1);
    syscall(SYS_futex, &self.helper.channel->answer_bell, FUTEX_WAIT, value, until_ns != 0 ? &timeout : NULL,
            NULL, 0);
    cbp_store_u32(&self.helper.channel->driver_sleeping, 0);
}

/* No wait is for ever while somebody waits for us: a signal that does not move the bell (the thread sanitizer
 * holds its handler back) costs a tenth of a second, not a hang. */
static uint64_t wake_up_time(void)
{
    uint64_t until_ns = cbpd_next_deadline_ns();
    if (self.helper.task_count > 0) {
        uint64_t soon = now_ns() + (self.unowned_count > 0 ? UNOWNED_CHECK_NS : SLEEP_MAX_NS);
        until_ns = until_ns == 0 || soon < until_ns ? soon : until_ns;
    }
    return until_ns;
}

static bool waits_for_answers(void)
{
    return cbpd_anything_held() || anything_parked() || any_job_waits() || self.helper.task_count == 0;
}

/* Whether the next stop, if there is one, tells whose all new tasks are. A creator stops when its child does:
 * most often its event is there by now, and to be woken by a signal would cost five system calls more. */
static bool creator_tells(void)
{
    return handle_one(WNOHANG) && self.unowned_count == 0;
}

/* One turn while something is held, a task's owner is unknown, or nobody is traced at all. */
static void wait_for_answers(void)
{
    listen_for_children(true);
    uint32_t bell = cbp_load_u32(&self.helper.channel->answer_bell);
    bool stopped = drain_waits();
    if (!cbpd_answers_are_there(&self.helper) && !stopped && !any_job_is_done() && !control_wants_attention())
        sleep_on_bell(bell, wake_up_time());
    expire_operations();
    if (self.unowned_count > 0)
        resolve_unowned_tasks();
}

static void wake_worker(uint32_t session_id)
{
    syscall(SYS_futex, &cbpd_channel_of(&self.helper, session_id)->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static const void *name_units(void *context, const char *name, uint32_t size, size_t *count)
{
    (void) context;
    *count = size;
    return name;
}

static void discard_slot(void *slot, size_t size)
{
    (void) madvise((char *) slot + 4096, size - 4096, MADV_REMOVE);
}

static const struct cbpd_host policy_host = {.allocate = cbpd_allocate,
                                             .release = cbpd_free_surely,
                                             .process_size = sizeof(struct process),
                                             .name_comparison = CBP_COMPARE_BYTES,
                                             .name_units = name_units,
                                             .path_leads_to_file = path_leads_to_file};
static uint32_t parent_pid_of(const struct cbpd_process *process)
{
    return parent_of(process_of(process));
}

static const struct cbpd_helper_host helper_host = {.task_size = sizeof(struct task),
                                                    .held_size = sizeof(struct operation),
                                                    .now_ns = now_ns,
                                                    .wall_ns = wall_ns,
                                                    .wake_worker = wake_worker,
                                                    .parent_pid_of = parent_pid_of,
                                                    .discard_slot = discard_slot,
                                                    .attach_process = attach_process,
                                                    .attach_matching = attach_matching,
                                                    .let_released_go = let_released_go,
                                                    .identify_programs = identify_programs};

int main(void)
{
    harden();
    become_independent();
    if (!map_channel() || !peer_is_same_user())
        return EXIT_FAILURE;
    if (!cbpd_helper_init(&self.helper, &helper_host, &policy_host) || !digest_init() || !control_init()) {
        control_refuse(errno);
        return EXIT_FAILURE;
    }
    prepare_readers();
    watch_for_risk();
    cbp_store_u32(&self.helper.channel->driver_process_id, (uint32_t) getpid());
    for (;;) {
        self.served_tid = 0;
        serve_control();
        /* The task that is let go may stop again before we wait for it: not a reason to run a signal handler.
         */
        if (cbpd_answers_settle_everything(&self.helper))
            listen_for_children(false);
        collect_answers();
        serve_jobs();
        serve_parked();
        self.served_tid = 0;
        serve_wishes();
        publish_counts(NULL); /* before a sleep that may be long */
        /* At our end the kernel detaches all others where they are, and wakes nobody. */
        if (!anybody_needs_us()) {
            if (!drain_waits())
                break;
            continue;
        }
        if (waits_for_answers()) {
            wait_for_answers();
        } else if (self.unowned_count > 0) {
            if (!creator_tells())
                wait_for_answers();
        } else if (!control_wants_attention()) {
            /* One at a time: to look for more would mean one more walk over all tracees in the kernel. */
            listen_for_children(false);
            (void) handle_one(0);
        }
    }
    return EXIT_SUCCESS;
}
