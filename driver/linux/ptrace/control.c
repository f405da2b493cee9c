/* Requests of the core and reports of launchers. A thread of its own watches their descriptors and wakes the
 * tracer, which reads and answers everything itself. Only rules are read and validated by the watching thread
 * (rule_loading.c), because thousands of them take longer than a stopped task should wait. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cbp_atomic.h"
#include "cbp_message_check.h"
#include "look.h"
#include "messages.h"
#include "tracer.h"

enum { WAKE_AGAIN_NS = 1000000, REFUSAL_LIMIT_MS = 5000 };

/* A program on its way: from the core's request until its image runs or it is known to have failed. */
struct launch {
    struct launch *next;
    struct task *task; /* NULL until the launcher has reported */
    int launcher_fd, result_fd;
    uint32_t session_id, rule_id, thread_id;
};

static struct launch *launches;
static int epoll_fd = -1;
static pid_t tracer_tid;
static uint32_t attention; /* atomic: something is readable */
static bool control_is_open = true;

/* ---- The watching thread ---- */

static void futex_wait(uint32_t *word, uint32_t value, long timeout_ns)
{
    struct timespec timeout = {0, timeout_ns};
    syscall(SYS_futex, word, FUTEX_WAIT, value, &timeout, NULL, 0);
}

/* Until the tracer has served control. A signal that arrives just before it enters wait4 is lost on it: so
 * again, until it has noticed. */
static void call_tracer(struct tracer *self)
{
    cbp_store_u32(&attention, 1);
    while (cbp_load_u32(&attention) != 0) {
        cbp_add_u32(&self->helper.channel->answer_bell, 1);
        syscall(SYS_futex, &self->helper.channel->answer_bell, FUTEX_WAKE, 1, NULL, NULL, 0);
        syscall(SYS_tgkill, getpid(), tracer_tid, SIGUSR1);
        futex_wait(&attention, 1, WAKE_AGAIN_NS);
    }
}

static void *watch(void *argument)
{
    struct tracer *self = argument;
    for (;;) {
        struct epoll_event event;
        if (epoll_wait(epoll_fd, &event, 1, -1) <= 0)
            continue;
        call_tracer(self);
        while (cbpd_load_wanted_rules(self))
            call_tracer(self); /* which may take over the next request */
    }
    return NULL;
}

static bool watch_descriptor(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

bool cbpd_control_init(struct tracer *self)
{
    pthread_t thread;
    sigset_t all, before;
    tracer_tid = (pid_t) syscall(SYS_gettid);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0 || !watch_descriptor(CONTROL_FD) || !watch_descriptor(CONTROLLER_FD))
        return false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, NULL, watch, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return error == 0;
}

bool cbpd_control_wants_attention(void)
{
    return cbp_load_u32(&attention) != 0;
}

/* ---- Requests ---- */

static void reply(struct tracer *self, const struct cbp_message_header *request, uint32_t status,
                  uint64_t value)
{
    struct cbp_reply reply = {
        .header = {.size = sizeof reply, .type = CBP_MESSAGE_REPLY, .id = request->id},
        .status = status,
        .version = CBP_PROTOCOL_VERSION,
        .value = value,
        .clock_ns = cbpd_now_ns(),
    };
    cbpd_publish_counts(self, NULL);
    cbpd_send_message(CONTROL_FD, &reply, sizeof reply);
}

void cbpd_control_refuse(struct tracer *self, int os_error)
{
    bool out_of_descriptors = os_error == EMFILE || os_error == ENFILE;
    uint32_t status = out_of_descriptors ? CBP_ERROR_TOO_MANY_OPEN_FILES : CBP_ERROR_NO_SYSTEM_RESOURCES;
    struct received received;
    struct pollfd control = {.fd = CONTROL_FD, .events = POLLIN};
    (void) poll(&control, 1, REFUSAL_LIMIT_MS);
    if (cbpd_receive_message(CONTROL_FD, &received) == RECEIVED_MESSAGE &&
        received.size >= sizeof(struct cbp_message_header))
        reply(self, (const void *) cbpd_message_buffer.bytes, status, 0);
    cbpd_close_descriptors(&received);
}

static uint32_t accept_hello(const struct cbp_hello *hello)
{
    if (hello->magic != CBP_PROTOCOL_MAGIC || hello->version != CBP_PROTOCOL_VERSION)
        return CBP_ERROR_INVALID_KERNEL_INFO_VERSION;
    /* Deadlines are told in the controller's clock: it must be ours. */
    return hello->clock_ns > cbpd_now_ns() ? CBP_ERROR_APP_INIT_FAILURE : 0;
}

static uint32_t begin_launch(const struct cbp_launch *request, int launcher_fd, int result_fd)
{
    int on = 1;
    struct launch *launch = calloc(1, sizeof *launch);
    if (launch == NULL || launcher_fd < 0 || result_fd < 0 ||
        setsockopt(launcher_fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0 ||
        !watch_descriptor(launcher_fd)) {
        free(launch);
        return CBP_ERROR_NO_SYSTEM_RESOURCES;
    }
    launch->launcher_fd = launcher_fd;
    launch->result_fd = result_fd;
    launch->session_id = request->session_id;
    launch->rule_id = request->rule_id;
    launch->thread_id = request->thread_id;
    launch->next = launches;
    launches = launch;
    return 0;
}

static uint32_t query_process(struct tracer *self, const struct cbp_process_query *query,
                              uint64_t *capabilities)
{
    const struct process *process = find_process(self, query->process_id);
    if (process == NULL || process->base.standing.is_let_go)
        return CBP_ERROR_NOT_FOUND;
    *capabilities = cbpd_capabilities_of(process);
    return 0;
}

static bool serve_request(struct tracer *self)
{
    struct received received;
    enum reception reception = cbpd_receive_message(CONTROL_FD, &received);
    if (reception != RECEIVED_MESSAGE) {
        control_is_open = reception != RECEIVED_END;
        return false;
    }
    int *descriptors = received.descriptors;
    const struct cbp_message_header *header = (const void *) cbpd_message_buffer.bytes;
    uint32_t status = CBP_ERROR_INVALID_DATA;
    uint64_t value = CBP_PTRACE_CAPABILITIES;
    bool is_sound = received.is_whole && received.size >= sizeof *header &&
                    header->type != CBP_MESSAGE_EVENT &&
                    cbp_message_check(cbpd_message_buffer.bytes, received.size, header->type) == 0;
    switch (is_sound ? header->type : 0) {
    case CBP_MESSAGE_HELLO:
        status = accept_hello((const void *) cbpd_message_buffer.bytes);
        break;
    case CBP_MESSAGE_SESSION:
        status = cbpd_serve_session(&self->helper, (const void *) cbpd_message_buffer.bytes);
        break;
    case CBP_MESSAGE_SESSION_CLOSE:
        status = cbpd_serve_session_close(
            &self->helper,
            ((const struct cbp_session_close *) (const void *) cbpd_message_buffer.bytes)->session_id);
        cbpd_apply_settled(self);
        break;
    case CBP_MESSAGE_RULES:
        cbpd_begin_loading_rules((const void *) cbpd_message_buffer.bytes, descriptors[0]);
        descriptors[0] = -1;
        cbpd_close_descriptors(&received);
        return true;
    case CBP_MESSAGE_LAUNCH_FORGET: {
        const struct cbp_launch_forget *request = (const void *) cbpd_message_buffer.bytes;
        status = cbpd_serve_launch_forget(&self->helper, request);
        break;
    }
    case CBP_MESSAGE_LAUNCH:
        status = begin_launch((const void *) cbpd_message_buffer.bytes, descriptors[0], descriptors[1]);
        if (status == 0) /* they are the launch's now */
            descriptors[0] = descriptors[1] = -1;
        break;
    case CBP_MESSAGE_PROCESS_QUERY:
        status = query_process(self, (const void *) cbpd_message_buffer.bytes, &value);
        break;
    default:
        break;
    }
    cbpd_close_descriptors(&received);
    if (received.size >= sizeof *header)
        reply(self, header, status, value);
    return true;
}

/* ---- Launches ---- */

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
    if (launch->task != NULL) {
        result.process_id = launch->task->process->base.pid;
        result.start_time = launch->task->process->base.start_time;
        launch->task->launch = NULL;
    }
    cbpd_publish_counts(self, NULL);
    cbpd_send_message(launch->result_fd, &result, sizeof result);
    /* Somebody may hold a copy, and then closing alone would not end the watch. */
    (void) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, launch->launcher_fd, NULL);
    close(launch->launcher_fd);
    close(launch->result_fd);
    free(launch);
}

/* What the filter of a new tree has to stop: what sessions want to refuse with an errno, handle operations if
 * somebody wants to know them or a rule takes rights out. */
static uint32_t wanted_filter_parts(struct tracer *self)
{
    uint32_t parts = self->helper.policy.rule_counts[CBP_ACTION_STRIP] > 0 ? CBP_LAUNCH_FLAG_HANDLES : 0;
    if (self->helper.policy.strip_mask & CBP_PROCESS_QUERY_LIMITED_INFORMATION)
        parts |= CBP_LAUNCH_FLAG_HARMLESS_SIGNALS;
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++) {
        const struct cbpd_session *session = &self->helper.policy.sessions[id];
        if (!session->open)
            continue;
        if (session->refuse_with == CBP_REFUSE_WITH_ERRNO &&
            ((session->events & CBP_PROC_EVT_PROCESS_CREATION) != 0 ||
             self->helper.policy.rule_counts[CBP_ACTION_DENY] > 0))
            parts |= CBP_LAUNCH_FLAG_EXECUTIONS;
        if (session->events & CBPD_HANDLE_OPERATIONS)
            parts |= CBP_LAUNCH_FLAG_HANDLES | CBP_LAUNCH_FLAG_HARMLESS_SIGNALS;
    }
    return parts;
}

static uint32_t wanted_scope(struct tracer *self)
{
    uint32_t scope = 0;
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++) {
        uint32_t flags = self->helper.policy.sessions[id].open ? self->helper.policy.sessions[id].flags : 0;
        if (flags & CBP_SESSION_FLAG_SCOPE_SIGNALS)
            scope |= CBP_LAUNCH_FLAG_SCOPE_SIGNALS;
        if (flags & CBP_SESSION_FLAG_SCOPE_PROC_FILES)
            scope |= CBP_LAUNCH_FLAG_SCOPE_PROC_FILES;
    }
    return scope;
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
        process->creator_tid = launch->thread_id;
        task->creator_pid = process->creator_pid;
        task->creator_tid = process->creator_tid;
        process->user_id = sender->uid;
        process->is_launcher = true;
        if (launch->rule_id != 0)
            cbpd_add_launch_rule(&self->helper.policy, launch->session_id, launch->rule_id, &process->base);
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
    const struct cbp_message_header *header = (const void *) cbpd_message_buffer.bytes;
    uint32_t type = received.is_whole && received.size >= sizeof *header ? header->type : 0;
    if (cbp_message_check(cbpd_message_buffer.bytes, received.size, type) != 0)
        type = 0;
    if (type == CBP_MESSAGE_LAUNCH_READY && launch->task == NULL && !self->helper.leaving) {
        seize_launcher(self, launch, &received.sender);
    } else if (type == CBP_MESSAGE_LAUNCH_RESULT) {
        const struct cbp_launch_result *result = (const void *) cbpd_message_buffer.bytes;
        end_launch(self, launch, 0, (int) result->os_error);
    } else if (launch->task == NULL) {
        end_launch(self, launch, CBP_ERROR_BROKEN_PIPE, 0);
    } else {
        /* Its end was closed by a successful execve, or by its death: the stops will tell which. */
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, launch->launcher_fd, NULL);
    }
}

/* A launcher that has died may have said why, in a message that has not been read yet. */
void cbpd_finish_launch(struct tracer *self, struct task *task, uint32_t status, int os_error)
{
    if (status == CBP_ERROR_BROKEN_PIPE)
        serve_launcher(self, task->launch);
    if (task->launch != NULL)
        end_launch(self, task->launch, status, os_error);
}

/* One message of each: whatever is still readable brings the next attention. */
static void serve_launchers(struct tracer *self)
{
    for (struct launch *launch = launches, *next; launch != NULL; launch = next) {
        next = launch->next;
        serve_launcher(self, launch);
    }
}

/* ---- All of it ---- */

bool cbpd_controller_has_ended(void)
{
    struct epoll_event events[16];
    int count = epoll_wait(epoll_fd, events, 16, 0);
    for (int i = 0; i < count; i++)
        if (events[i].data.fd == CONTROLLER_FD)
            return true;
    return false;
}

/* What stays for a tree may outlive the controller by far: nobody must wait for the end of its standard
 * error. */
static void let_go_of_stderr(void)
{
    int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0) {
        (void) dup2(null, STDERR_FILENO);
        close(null);
    }
}

/* What follows rules waits until they are in force. */
static void serve_requests(struct tracer *self)
{
    struct cbp_rules request;
    uint64_t value = 0;
    uint32_t status;
    if (cbpd_finish_loading_rules(self, &request, &status, &value))
        reply(self, &request.header, status, value);
    while (control_is_open && !cbpd_is_loading_rules() && serve_request(self)) {
    }
}

void cbpd_serve_control(struct tracer *self)
{
    if (!cbpd_control_wants_attention())
        return;
    serve_launchers(self);
    serve_requests(self);
    self->helper.controller_gone |= cbpd_controller_has_ended();
    if ((self->helper.controller_gone || !control_is_open) && !self->helper.leaving) {
        cbpd_release_every_slot(&self->helper);
        cbpd_apply_settled(self);
        self->helper.leaving = true;
        cbpd_end_every_look(self);
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, CONTROL_FD, NULL);
        epoll_ctl(epoll_fd, EPOLL_CTL_DEL, CONTROLLER_FD, NULL);
        while (launches != NULL)
            end_launch(self, launches, CBP_ERROR_BROKEN_PIPE, 0);
        cbpd_let_everything_go(self);
        if (self->helper.task_count > 0)
            let_go_of_stderr();
    }
    cbp_store_u32(&attention, 0);
    syscall(SYS_futex, &attention, FUTEX_WAKE, 1, NULL, NULL, 0);
}
