/* Lets tasks go on without the helper. It does not interrupt them: a sleeping system call could fail with
 * EINTR, which some never do without a tracer (signal(7) lists them). So a task is detached at its next stop.
 * Until then nothing is told of it and no rule applies to it. Once no task needs the helper any more, the
 * helper ends: the kernel then detaches its tracees where they are and wakes none.
 *
 * A task can sleep for ever, and meanwhile it can have no other tracer. Another controller's helper whose
 * attach fails because of that sends a signal that other processes ignore; for it this helper does interrupt
 * the tasks. Runs in the tracer thread only. */
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <unistd.h>

#include "tracer.h"

enum { WISH_SIGNAL = SIGURG /* ignored by processes without a handler */ };

/* Interrupts a task. If it waits for an answer, it is let go with that. */
static void interrupt(const struct task *task)
{
    if (!task->base.held && !task->look)
        (void) ptrace(PTRACE_INTERRUPT, (pid_t) task->base.tid, 0, 0);
}

/* Interrupts tasks that are to be let go, or only those of them in a group stop. Those do not sleep in a
 * system call; they stop again and stay stopped. */
static void interrupt_those_let_go(struct tracer *self, bool only_stopped)
{
    for (struct task *task = first_task(&self->helper); task; task = next_task(task))
        if ((task->listening || !only_stopped) && cbpd_lets_go(self, task))
            interrupt(task);
}

static void change_standing(struct process *process, bool is_let_go)
{
    process->base.standing.is_let_go = is_let_go;
    process->base.standing.rules_generation = 0;
}

void cbpd_set_let_go(struct tracer *self, struct process *process, bool on)
{
    if (process->base.standing.is_let_go == on)
        return;
    change_standing(process, on);
    for (struct task *task = first_task(&self->helper); task; task = next_task(task))
        if (task->process == process)
            self->let_go_count += on ? 1 : -1u;
}

void cbpd_let_everything_go(struct tracer *self)
{
    interrupt_those_let_go(self, true);
}

void cbpd_let_released_go(struct cbpd_helper *helper)
{
    struct tracer *self = tracer_of(helper);
    uint32_t count = 0;
    for (struct task *task = first_task(&self->helper); task; task = next_task(task)) {
        struct process *process = task->process;
        if (!process)
            continue;
        if (!process->base.standing.is_let_go && cbpd_lets_go(self, task) && !self->helper.leaving)
            change_standing(process, true);
        count += process->base.standing.is_let_go;
    }
    self->let_go_count = count;
    interrupt_those_let_go(self, true);
}

bool cbpd_anybody_needs_us(struct tracer *self)
{
    return !self->helper.leaving || self->filtered_count > 0 || self->unowned_count > 0 ||
           cbpd_anything_held(&self->helper) || cbpd_parked_count() > 0 || cbpd_any_job_waits();
}

/* An execution by a thread that was let go may have ended all others. Then the helper may have lost one of
 * these by its id, without being told of an end. */
struct process *cbpd_find_whole_process(struct tracer *self, uint32_t pid)
{
    struct process *process = find_process(&self->helper, pid);
    if (!process || !process->base.standing.is_let_go)
        return process;
    for (struct task *task = first_task(&self->helper), *next; task; task = next) {
        struct status_facts facts;
        next = next_task(task);
        if (task->process == process &&
            (!cbpd_read_status(self, task->base.tid, &facts) || facts.tracer_pid != (uint32_t) getpid()))
            cbpd_forget_detached(self, task);
    }
    return find_process(&self->helper, pid);
}

/* ---- Between helpers ---- */

static volatile sig_atomic_t is_wished;

static void note_wish(int signal)
{
    (void) signal; /* it also ends a wait; the other helper repeats it */
    is_wished = 1;
}

void cbpd_listen_for_wishes(void)
{
    const struct sigaction action = {.sa_handler = note_wish};
    sigaction(WISH_SIGNAL, &action, NULL);
}

void cbpd_serve_wishes(struct tracer *self)
{
    if (!is_wished)
        return;
    is_wished = 0;
    interrupt_those_let_go(self, false);
}

bool cbpd_is_other_helper(uint32_t tracer_pid)
{
    static const char expected[] = HELPER_NAME "\n";
    char name[sizeof expected];
    return tracer_pid != 0 && tracer_pid != (uint32_t) getpid() &&
           cbpd_read_proc_file(tracer_pid, "comm", name, sizeof name) > 0 && strcmp(name, expected) == 0;
}

uint32_t cbpd_other_helper_of(struct tracer *self, uint32_t pid)
{
    struct id_list list;
    uint32_t found = 0;
    if (cbpd_list_ids(self, pid, &list) != KNOWN)
        return 0;
    for (uint32_t i = 0; i < list.count && found == 0; i++) {
        struct status_facts facts;
        if (cbpd_read_status(self, list.ids[i], &facts) && cbpd_is_other_helper(facts.tracer_pid))
            found = facts.tracer_pid;
    }
    cbpd_free_id_list(&list);
    return found;
}

void cbpd_wish_for_tasks_of(uint32_t helper_pid)
{
    (void) kill((pid_t) helper_pid, WISH_SIGNAL);
}
