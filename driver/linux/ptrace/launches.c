/* Follows launches from the request until the program runs or is known to have failed. Tracer thread only. */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cbp_message_check.h"
#include "messages.h"
#include "tracer.h"

/* A launch lasts from the core's request until the program runs or is known to have failed. */
struct launch {
    struct launch *next;
    struct task *task; /* NULL until the launcher has reported */
    int launcher_fd, result_fd;
    struct cbp_launch request;
};

static struct launch *launches;

uint32_t cbpd_begin_launch(const struct cbp_launch *request, int launcher_fd, int result_fd)
{
    int on = 1;
    struct launch *launch = calloc(1, sizeof *launch);
    if (!launch || launcher_fd < 0 || result_fd < 0 ||
        setsockopt(launcher_fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0 || !cbpd_watch(launcher_fd)) {
        free(launch);
        return CBP_ERROR_NO_SYSTEM_RESOURCES;
    }
    launch->launcher_fd = launcher_fd;
    launch->result_fd = result_fd;
    launch->request = *request;
    launch->next = launches;
    launches = launch;
    return 0;
}

static void end_launch(struct tracer *self, struct launch *launch, uint32_t status, int os_error)
{
    struct launch **link = &launches;
    while (*link != launch)
        link = &(*link)->next;
    *link = launch->next;
    struct cbp_launch_result result = {
        .header = {.size = sizeof result, .type = CBP_MESSAGE_LAUNCH_RESULT},
        .status = status,
        .os_error = (uint32_t) os_error,
    };
    if (launch->task) {
        result.process_id = launch->task->process->base.pid;
        result.start_time = launch->task->process->base.start_time;
        launch->task->launch = NULL;
    }
    cbpd_publish_counts(self, NULL);
    cbpd_send_message(launch->result_fd, &result, sizeof result);
    /* A copy of the descriptor may be open elsewhere, and then closing this one would not end the watch. */
    cbpd_unwatch(launch->launcher_fd);
    close(launch->launcher_fd);
    close(launch->result_fd);
    free(launch);
}

/* Gives the calls that the filter of a new tree has to stop: executions, if a session may refuse with an
 * errno, and handle operations, if a session wants to know them or a rule strips rights. */
static uint32_t wanted_filter_parts(struct tracer *self)
{
    const struct cbpd_policy *policy = &self->helper.policy;
    uint32_t parts = policy->rule_counts[CBP_ACTION_STRIP] > 0 ? CBP_LAUNCH_FLAG_HANDLES : 0;
    if (policy->strip_mask & CBP_PROCESS_QUERY_LIMITED_INFORMATION)
        parts |= CBP_LAUNCH_FLAG_HARMLESS_SIGNALS;
    for (uint32_t i = 0; i < policy->session_count; i++) {
        const struct cbp_session_settings *session = &policy->sessions[policy->order[i]].settings;
        if (session->refuse_with == CBP_REFUSE_WITH_ERRNO &&
            ((session->events & CBP_PROC_EVT_PROCESS_CREATION) != 0 ||
             policy->rule_counts[CBP_ACTION_DENY] > 0))
            parts |= CBP_LAUNCH_FLAG_EXECUTIONS;
        if (session->events & CBPD_HANDLE_OPERATIONS)
            parts |= CBP_LAUNCH_FLAG_HANDLES | CBP_LAUNCH_FLAG_HARMLESS_SIGNALS;
    }
    return parts;
}

static uint32_t wanted_scope(struct tracer *self)
{
    uint32_t flags = flags_of_sessions(self);
    return (flags & CBP_SESSION_FLAG_SCOPE_SIGNALS ? CBP_LAUNCH_FLAG_SCOPE_SIGNALS : 0) |
           (flags & CBP_SESSION_FLAG_SCOPE_PROC_FILES ? CBP_LAUNCH_FLAG_SCOPE_PROC_FILES : 0);
}

static void seize_launcher(struct tracer *self, struct launch *launch, const struct ucred *sender)
{
    uint32_t filter_parts = wanted_filter_parts(self);
    struct cbp_launch_go go = {
        .header = {.size = sizeof go, .type = CBP_MESSAGE_LAUNCH_GO},
        .flags = filter_parts | wanted_scope(self),
        .helper_process_id = (uint32_t) getpid(),
        .controller_process_id = self->controller_pid,
    };
    struct task *task = NULL;
    uint32_t status = cbpd_seize_root(self, (uint32_t) sender->pid, filter_parts, &task);
    if (status == 0) {
        struct process *process = task->process;
        struct status_facts facts;
        task->launch = launch;
        launch->task = task;
        if (cbpd_read_status(self, task->base.tid, &facts))
            process->parent_pid = facts.parent_pid;
        process->creator_pid = process->parent_pid;
        process->creator_tid = launch->request.thread_id;
        task->creator_pid = process->creator_pid;
        task->creator_tid = process->creator_tid;
        process->user_id = sender->uid;
        process->is_launcher = true;
        if (launch->request.rule_id != 0)
            cbpd_add_launch_rule(&self->helper.policy, launch->request.session_id, launch->request.rule_id,
                                 &process->base);
    }
    go.status = status;
    cbpd_send_message(launch->launcher_fd, &go, sizeof go);
    if (status != 0)
        end_launch(self, launch, status, 0);
}

static void serve_launcher(struct tracer *self, struct launch *launch)
{
    struct received received;
    enum reception reception = cbpd_receive_message(launch->launcher_fd, &received);
    cbpd_close_descriptors(&received);
    if (reception == RECEIVED_NOTHING)
        return;
    const struct cbp_message_header *header = received.message;
    uint32_t type = received.is_whole && received.size >= sizeof *header ? header->type : 0;
    if (cbpd_message_check(received.message, received.size, type) != 0)
        type = 0;
    if (type == CBP_MESSAGE_LAUNCH_READY && !launch->task && !self->helper.leaving) {
        seize_launcher(self, launch, &received.sender);
    } else if (type == CBP_MESSAGE_LAUNCH_RESULT) {
        const struct cbp_launch_result *result = received.message;
        end_launch(self, launch, 0, (int) result->os_error);
    } else if (!launch->task) {
        end_launch(self, launch, CBP_ERROR_BROKEN_PIPE, 0);
    } else {
        /* The launcher's execve or its death closed the other end: its stops will tell which. */
        cbpd_unwatch(launch->launcher_fd);
    }
}

/* A launcher that has died may have said why in a message that has not been read yet. */
void cbpd_finish_launch(struct tracer *self, struct task *task, uint32_t status, int os_error)
{
    if (status == CBP_ERROR_BROKEN_PIPE)
        serve_launcher(self, task->launch);
    if (task->launch)
        end_launch(self, task->launch, status, os_error);
}

/* Reads one message of each launcher. If more is readable, the watch calls again. */
void cbpd_serve_launchers(struct tracer *self)
{
    for (struct launch *launch = launches, *next; launch; launch = next) {
        next = launch->next;
        serve_launcher(self, launch);
    }
}

void cbpd_end_every_launch(struct tracer *self)
{
    while (launches)
        end_launch(self, launches, CBP_ERROR_BROKEN_PIPE, 0);
}
