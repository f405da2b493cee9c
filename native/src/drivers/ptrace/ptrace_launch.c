/* Implements launch.h for the ptrace driver, over socket pairs: the launcher's conversation with the helper,
 * and the pair on which the helper tells the core how it ended. The target waits in the launcher's queue from
 * the beginning, so that the core need not be there when the launcher reads it. */
#define _GNU_SOURCE
#include "ptrace_launch.h"

#include "cbp_message_check.h"
#include "errors.h"
#include "helper_session.h"
#include "os_error.h"
#include "ptrace_link.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* These are descriptors, -1 where closed or given away. */
struct channel {
    struct cbpi_launch_channel base;
    int launcher_fd;      /* inherited by the launcher */
    int driver_fd;        /* the helper's end of the launcher's pair */
    int result_fd;        /* the core's end of the result pair */
    int driver_result_fd; /* the helper's end of it */
};

static struct channel *own(struct cbpi_launch_channel *channel)
{
    return (struct channel *) channel;
}

static void close_one(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_launcher(struct cbpi_launch_channel *channel)
{
    close_one(&own(channel)->launcher_fd);
}

static void close_channel(struct cbpi_launch_channel *base)
{
    struct channel *channel = own(base);
    close_one(&channel->launcher_fd);
    close_one(&channel->driver_fd);
    close_one(&channel->driver_result_fd);
    close_one(&channel->result_fd);
    free(channel);
}

static uint32_t open_pair(int *one, int *other)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return cbpi_fail_os(errno, "cannot make a socket pair for the launcher");
    *one = pair[0];
    *other = pair[1];
    return 0;
}

/* Sends a message, which is queued whole or not at all. */
static uint32_t send_whole(int fd, const void *message, size_t size)
{
    int room = (int) (size < (size_t) 1 << 20 ? 2 * size + 4096 : (size_t) 1 << 21);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    if (send(fd, message, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t) size)
        return 0;
    return cbpi_fail(errno == EMSGSIZE || errno == EAGAIN ? CBP_ERROR_INVALID_PARAMETER
                                                          : CBP_ERROR_NO_SYSTEM_RESOURCES,
                     "the launcher cannot be told its target: %s", strerror(errno));
}

static uint32_t send_target(int fd, const struct cbpi_launch_target *target, uint32_t helper_process_id)
{
    size_t argument_size = strlen(target->argument0) + 1; /* the launcher wants it as a C text */
    size_t size = sizeof(struct cbp_launch_target) + argument_size + (size_t) target->paths_size;
    if (target->paths_size > UINT32_MAX / 4 || argument_size > UINT32_MAX / 4)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "the target's paths are too long");
    struct cbp_launch_target *message = calloc(1, size);
    if (!message)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a launch");
    message->header.size = (uint32_t) size;
    message->header.type = CBP_MESSAGE_LAUNCH_TARGET;
    message->helper_process_id = helper_process_id;
    message->argument_offset = sizeof *message;
    message->argument_size = (uint32_t) argument_size;
    message->paths_offset = message->argument_offset + message->argument_size;
    message->paths_size = (uint32_t) target->paths_size;
    unsigned char *bytes = (unsigned char *) message;
    memcpy(bytes + message->argument_offset, target->argument0, argument_size);
    memcpy(bytes + message->paths_offset, target->paths, message->paths_size);
    uint32_t error = send_whole(fd, message, size);
    free(message);
    return error;
}

/* Makes the pairs, and leaves the target with the launcher, which lets the helper trace it. */
static uint32_t open_channel(const struct cbpi_launch_target *target, uint32_t helper_process_id,
                             struct channel *channel)
{
    uint32_t error = open_pair(&channel->launcher_fd, &channel->driver_fd);
    if (error == 0)
        error = open_pair(&channel->result_fd, &channel->driver_result_fd);
    return error ? error : send_target(channel->driver_fd, target, helper_process_id);
}

/* Tells the helper of a launch. It gets copies of its ends. */
static uint32_t request_launch(const struct cbpi_helper_session *session, uint32_t rule_id,
                               struct channel *channel)
{
    const struct cbpi_link_parcel parcel = {{channel->driver_fd, channel->driver_result_fd}, 2};
    struct cbp_launch message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_LAUNCH},
                                 .session_id = session->session_id,
                                 .rule_id = rule_id,
                                 .thread_id = cbpi_thread_id()};
    uint32_t error = cbpi_link_request(session->link, &message.header, &parcel, NULL);
    close_one(&channel->driver_fd);
    close_one(&channel->driver_result_fd);
    return error;
}

static uint32_t launch(struct cbpi_transport *transport, const struct cbpi_launch_target *target,
                       uint32_t rule_id, struct cbpi_launch_channel **channel, int32_t *launcher_fd)
{
    const struct cbpi_helper_session *session = cbpi_helper_session(transport);
    struct channel *made = malloc(sizeof *made);
    if (!made)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a launch");
    *made = (struct channel){{&cbpi_ptrace_launch_ops}, -1, -1, -1, -1};
    uint32_t error = open_channel(target, session->link->process_id, made);
    if (error == 0)
        error = request_launch(session, rule_id, made);
    if (error != 0) {
        close_channel(&made->base);
        return error;
    }
    *channel = &made->base;
    *launcher_fd = made->launcher_fd;
    return 0;
}

static uint32_t wait_for_result(struct cbpi_launch_channel *channel, uint32_t slice_ms,
                                struct cbp_launch_result *result)
{
    struct pollfd waiting = {.fd = own(channel)->result_fd, .events = POLLIN};
    int ready;
    do {
        ready = poll(&waiting, 1, slice_ms == 0 ? -1 : slice_ms > INT32_MAX ? INT32_MAX : (int) slice_ms);
    } while (ready < 0 && errno == EINTR && slice_ms == 0);
    if (ready <= 0)
        return cbpi_fail(CBP_ERROR_TIMEOUT, "the launch has not ended yet");
    ssize_t got = recv(waiting.fd, result, sizeof *result, MSG_DONTWAIT | MSG_TRUNC);
    if (got <= 0)
        return cbpi_fail(CBP_ERROR_BROKEN_PIPE, "the launcher or the helper has died");
    if (got > (ssize_t) sizeof *result ||
        cbpd_message_check(result, (size_t) got, CBP_MESSAGE_LAUNCH_RESULT) != 0)
        return cbpi_fail(CBP_ERROR_INVALID_DATA, "the helper's message is malformed");
    if (result->status != 0) /* here a timeout is the helper's, and nothing to wait on for */
        return cbpi_fail(result->status == CBP_ERROR_TIMEOUT ? CBP_ERROR_GEN_FAILURE : result->status,
                         "the program could not be started under the filter: %s",
                         cbp_error_message(result->status));
    return 0;
}

const struct cbpi_launch_ops cbpi_ptrace_launch_ops = {
    .ways = CBPI_LAUNCH_BY_LAUNCHER,
    .launch = launch,
    .close_launcher = close_launcher,
    .wait = wait_for_result,
    .close = close_channel,
    .forget = cbpi_helper_forget_launch,
};
