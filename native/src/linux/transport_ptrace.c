/* transport.h for the ptrace tree driver: a session of the supervisor process. Requests go through the link,
 * deliveries through the channel. */
#define _GNU_SOURCE
#include "cbp_atomic.h"
#include "cbp_message_check.h"
#include "channel_client.h"
#include "errors.h"
#include "new_syscalls.h"
#include "platform.h"
#include "ptrace_link.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <unistd.h>

struct cbpi_transport {
    struct cbpi_link *link;
    struct cbpi_channel_client client;
    uint32_t keeps_id; /* the supervisor did not confirm the session's end */
};

static struct cbp_channel_session *channel_session(const struct cbpi_transport *transport)
{
    return &transport->link->channel->sessions[transport->client.session_id];
}

/* ---- What could be done here ---- */

/* The number in a file of /proc/sys, or 0 where there is none. */
static int sysctl_value(const char *path)
{
    char text[16] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    return got > 0 ? atoi(text) : 0;
}

static int has_pidfd(void)
{
    int fd = (int) syscall(SYS_pidfd_open, getpid(), 0);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Process 0 is nobody: whoever may trace at all is told so. */
static int ptrace_is_forbidden(void)
{
    return ptrace(PTRACE_CONT, 0, 0, 0) != 0 && errno != ESRCH;
}

static int has_trace_filter(void)
{
    uint32_t action = SECCOMP_RET_TRACE;
    return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

/* Effective in this process's user namespace, where its own processes live. */
static int has_trace_capability(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & 1u << CAP_SYS_PTRACE) != 0;
}

static int yama_scope(void)
{
    return sysctl_value("/proc/sys/kernel/yama/ptrace_scope");
}

/* Whether the kernel lets this process attach to more than what wants it. */
static int may_attach_to_all(void)
{
    return yama_scope() == 0 || has_trace_capability();
}

/* Why nobody can be traced here; NULL if it is possible. */
static const char *tracing_obstacle(void)
{
    if (yama_scope() >= 3)
        return "kernel.yama.ptrace_scope is 3: nobody may trace, and only a restart changes that";
    if (yama_scope() == 2 && !has_trace_capability())
        return "kernel.yama.ptrace_scope is 2: tracing needs CAP_SYS_PTRACE; run as root, or set it to 1";
    if (ptrace_is_forbidden())
        return "a sandbox (a container's seccomp profile, say) forbids ptrace; a container gets it with "
               "--cap-add=SYS_PTRACE, or a profile that allows it";
    return NULL;
}

/* Why the driver cannot run here at all; NULL if it can. */
static const char *obstacle(void)
{
    char path[PATH_MAX];
    if (cbpi_helper_path(CBPI_SUPERVISOR_NAME, path, sizeof path) != 0)
        return "the program cbprocess-supervisor is missing from the package";
    if (!has_pidfd())
        return "the kernel has no pidfd_open (Linux 5.3), or a sandbox forbids it";
    return tracing_obstacle();
}

static uint32_t probe(char *reason, uint64_t size)
{
    const char *why = obstacle();
    const char *no_filter = "", *no_attach = "";
    uint32_t capabilities = CBP_PTRACE_CAPABILITIES;
    if (why) {
        snprintf(reason, (size_t) size, "%s", why);
        return 0;
    }
    if (!has_trace_filter()) {
        no_filter =
            "no seccomp filters: executions are refused by ending the process, not with an error, and "
            "handle operations are not seen";
        capabilities &= ~(uint32_t) CBP_PTRACE_FILTER_CAPABILITIES;
    }
    if (!may_attach_to_all()) {
        no_attach =
            "kernel.yama.ptrace_scope is 1: programs are supervised from their start (popen, cbprocess "
            "run); running processes cannot be attached to without CAP_SYS_PTRACE, unless they allow it";
        capabilities &= ~(uint32_t) CBP_CAP_ATTACH;
    }
    snprintf(reason, (size_t) size, "%s%s%s", no_filter, *no_filter && *no_attach ? "; " : "", no_attach);
    return capabilities;
}

/* ---- Requests ---- */

static uint32_t update(struct cbpi_transport *transport, const struct cbpi_session_settings *settings)
{
    struct cbp_reply reply;
    struct cbp_session_settings message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_SESSION},
                                           .session_id = transport->client.session_id,
                                           .events = settings->events,
                                           .timeout_ms = settings->timeout_ms,
                                           .timeout_action = settings->timeout_action,
                                           .refuse_with = settings->refuse_with,
                                           .altitude = settings->altitude};
    if (settings->fork_is_creation)
        message.flags |= CBP_SESSION_FLAG_FORK_IS_CREATION;
    if (settings->own_requests)
        message.flags |= CBP_SESSION_FLAG_OWN_REQUESTS;
    return cbpi_link_request(transport->link, &message.header, NULL, 0, &reply);
}

static uint32_t beat(struct cbpi_transport *transport)
{
    cbp_store_u64(&channel_session(transport)->heartbeat_ns, cbpi_now_ns());
    return cbpi_link_is_dead(transport->link) ? CBP_ERROR_BROKEN_PIPE : 0;
}

/* The counts of a session begin at 0; the id may have been another's. */
static void reset_counts(struct cbp_channel_session *session)
{
    cbp_store_u64(&session->lost, 0);
    cbp_store_u64(&session->timed_out, 0);
    cbp_store_u64(&session->refused, 0);
    cbp_store_u64(&session->decided, 0);
    cbp_store_u64(&session->failed_after, 0);
}

static uint32_t open_session(const struct cbpi_session_settings *settings, struct cbpi_transport **transport)
{
    const char *why = tracing_obstacle();
    if (why)
        return cbpi_fail(CBP_ERROR_PRIVILEGE_NOT_HELD, "%s", why);
    struct cbpi_transport *made = calloc(1, sizeof *made);
    if (!made)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a session");
    uint32_t error = cbpi_link_acquire(&made->link, &made->client.session_id);
    if (error != 0)
        goto cleanup;
    made->client.channel = made->link->channel;
    made->client.is_dead = &made->link->is_dead;
    reset_counts(channel_session(made));
    beat(made);
    error = update(made, settings);
    if (error != 0)
        cbpi_link_release(made->link, made->client.session_id, error == CBP_ERROR_TIMEOUT);
cleanup:
    if (error == 0)
        *transport = made;
    else
        free(made);
    return error;
}

static void close_session(struct cbpi_transport *transport)
{
    struct cbp_reply reply;
    struct cbp_session_close message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_SESSION_CLOSE},
                                        .session_id = transport->client.session_id};
    cbp_store_u32(&transport->client.is_closed, 1);
    cbpi_channel_wake(&transport->client);
    transport->keeps_id = cbpi_link_request(transport->link, &message.header, NULL, 0, &reply) != 0;
}

static void release(struct cbpi_transport *transport)
{
    cbpi_channel_drain(&transport->client);
    cbpi_link_release(transport->link, transport->client.session_id, transport->keeps_id);
    free(transport);
}

/* Says what can be done about processes that the supervisor could not attach to. */
static uint32_t explain_attach(uint32_t error, uint32_t process_id)
{
    if (error == CBP_ERROR_BUSY)
        return cbpi_fail(
            error,
            "process %u cannot be attached to: it, or a descendant, has another tracer (a debugger, "
            "strace, another controller), which has to let go of it first",
            process_id);
    if (error == CBP_ERROR_ACCESS_DENIED && !may_attach_to_all())
        return cbpi_fail(
            error,
            "process %u cannot be attached to: kernel.yama.ptrace_scope is 1, which protects what "
            "runs already; start the program with popen(), set the sysctl to 0, or hold "
            "CAP_SYS_PTRACE",
            process_id);
    if (error == CBP_ERROR_ACCESS_DENIED)
        return cbpi_fail(
            error,
            "process %u cannot be attached to: it, or a descendant, belongs to another user or has "
            "privileges that this process has not; run as its user, or hold CAP_SYS_PTRACE",
            process_id);
    if (error == CBP_ERROR_INVALID_PARAMETER)
        return cbpi_fail(error, "no process with the id %u lives any more", process_id);
    return error;
}

static uint32_t add_rule(struct cbpi_transport *transport, const struct cbpi_rule *rule)
{
    struct cbp_reply reply;
    union {
        struct cbp_rule rule;
        unsigned char bytes[sizeof(struct cbp_rule) + CBP_PATTERN_SIZE_MAX];
    } message;
    memset(&message.rule, 0, sizeof message.rule);
    message.rule.header.size = (uint32_t) sizeof message.rule + rule->pattern_size;
    message.rule.header.type = CBP_MESSAGE_RULE_ADD;
    message.rule.session_id = transport->client.session_id;
    message.rule.rule_id = rule->rule_id;
    message.rule.match = rule->match;
    message.rule.flags = rule->flags;
    message.rule.action = rule->action;
    message.rule.action_value = rule->action_value;
    message.rule.process_id = rule->process_id;
    message.rule.start_time = rule->start_time;
    if (rule->pattern_size > 0) {
        message.rule.pattern_offset = sizeof message.rule;
        message.rule.pattern_size = rule->pattern_size;
        memcpy(message.bytes + sizeof message.rule, rule->pattern, rule->pattern_size);
    }
    uint32_t error = cbpi_link_request(transport->link, &message.rule.header, NULL, 0, &reply);
    return rule->flags & CBP_RULE_FLAG_ATTACH ? explain_attach(error, rule->process_id) : error;
}

static uint32_t remove_rule(struct cbpi_transport *transport, uint32_t rule_id)
{
    struct cbp_reply reply;
    struct cbp_rule_remove message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_RULE_REMOVE},
                                      .session_id = transport->client.session_id,
                                      .rule_id = rule_id};
    return cbpi_link_request(transport->link, &message.header, NULL, 0, &reply);
}

static uint32_t process_capabilities(struct cbpi_transport *transport, uint32_t process_id,
                                     uint32_t *capabilities)
{
    struct cbp_reply reply;
    struct cbp_process_query message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_PROCESS_QUERY},
                                        .process_id = process_id};
    uint32_t error = cbpi_link_request(transport->link, &message.header, NULL, 0, &reply);
    if (error == CBP_ERROR_NOT_FOUND)
        return cbpi_fail(error, "process %u is not supervised", process_id);
    if (error == 0)
        *capabilities = (uint32_t) reply.value;
    return error;
}

static uint32_t launch(struct cbpi_transport *transport, int launcher_fd, int result_fd, uint32_t rule_id)
{
    struct cbp_reply reply;
    const int fds[] = {launcher_fd, result_fd};
    struct cbp_launch message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_LAUNCH},
                                 .session_id = transport->client.session_id,
                                 .rule_id = rule_id,
                                 .thread_id = cbpi_thread_id()};
    uint32_t error = cbpi_link_request(transport->link, &message.header, fds, 2, &reply);
    close(launcher_fd);
    close(result_fd);
    return error;
}

static uint32_t helper_process_id(struct cbpi_transport *transport)
{
    return transport->link->process_id;
}

/* ---- Deliveries ---- */

static uint32_t receive(struct cbpi_transport *transport, struct cbpi_delivery *delivery, uint32_t timeout_ms,
                        uint32_t *pending)
{
    uint32_t slot = *pending - 1;
    uint32_t error =
        *pending ? 0 : cbpi_channel_take(&transport->client, timeout_ms, delivery->nobody_waits, &slot);
    if (error != 0)
        return error;
    error = cbpi_channel_read(&transport->client, slot, delivery);
    *pending = error == CBP_ERROR_INSUFFICIENT_BUFFER ? slot + 1 : 0;
    if (error == CBP_ERROR_INVALID_DATA)
        cbpi_channel_return(&transport->client, slot);
    return error;
}

static void skip(struct cbpi_transport *transport, uint32_t *pending)
{
    cbpi_channel_return(&transport->client, *pending - 1);
    *pending = 0;
}

static uint32_t backlog(struct cbpi_transport *transport)
{
    return cbpi_channel_backlog(&transport->client);
}

static void nudge(struct cbpi_transport *transport)
{
    cbpi_channel_wake_one(&transport->client);
}

static uint32_t answer(struct cbpi_transport *transport, const struct cbpi_delivery *delivery)
{
    return cbpi_channel_answer(&transport->client, delivery);
}

static uint32_t check(struct cbpi_transport *transport, const struct cbpi_delivery *delivery)
{
    return cbpi_channel_check(&transport->client, delivery);
}

static uint32_t extend(struct cbpi_transport *transport, const struct cbpi_delivery *delivery,
                       uint32_t timeout_ms)
{
    return cbpi_channel_extend(&transport->client, delivery, timeout_ms);
}

static void counts(struct cbpi_transport *transport, struct cbpi_transport_counts *counts)
{
    const struct cbp_channel_session *session = channel_session(transport);
    const struct cbp_channel *channel = transport->link->channel;
    counts->lost = cbp_load_u64(&session->lost);
    counts->timed_out = cbp_load_u64(&session->timed_out);
    counts->refused = cbp_load_u64(&session->refused);
    counts->decided_by_rule = cbp_load_u64(&session->decided);
    counts->failed_after = cbp_load_u64(&session->failed_after);
    counts->supervised = cbp_load_u32(&channel->supervised_count);
}

const struct cbpi_transport_ops cbpi_ptrace_transport = {
    .name = "ptrace",
    .load = cbpi_link_load,
    .probe = probe,
    .open = open_session,
    .close = close_session,
    .release = release,
    .update = update,
    .add_rule = add_rule,
    .remove_rule = remove_rule,
    .process_capabilities = process_capabilities,
    .receive = receive,
    .skip = skip,
    .backlog = backlog,
    .nudge = nudge,
    .answer = answer,
    .check = check,
    .extend = extend,
    .beat = beat,
    .counts = counts,
    .launch = launch,
    .helper_process_id = helper_process_id,
    .forget_after_fork = cbpi_link_forget_after_fork,
};
