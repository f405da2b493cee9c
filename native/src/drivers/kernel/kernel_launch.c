/* Implements launch.h for the kernel driver: the calling thread creates the process, and the driver knows
 * before that which rule the next process of that thread has. The creation itself waits for its answers, so
 * that nothing is left to wait for once the process's id is known. */
#include "kernel_launch.h"

#include "errors.h"
#include "helper_session.h"
#include "platform.h"

#include <stdlib.h>

struct channel {
    struct cbpi_launch_channel base;
    uint32_t thread_id; /* that creates the process */
    bool is_announced;  /* the driver expects a process of that thread */
    uint32_t process_id;
};

static struct channel *own(struct cbpi_launch_channel *channel)
{
    return (struct channel *) channel;
}

/* Tells the driver which rule the next process of the thread has; 0: it expects none any more. */
static uint32_t announce(struct cbpi_transport *transport, struct channel *channel, uint32_t rule_id)
{
    const struct cbpi_helper_session *session = cbpi_helper_session(transport);
    struct cbp_launch message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_LAUNCH},
                                 .session_id = session->session_id,
                                 .rule_id = rule_id,
                                 .thread_id = channel->thread_id};
    uint32_t error = cbpi_link_request(session->link, &message.header, NULL, NULL);
    channel->is_announced = error == 0 && rule_id != 0;
    return error;
}

static uint32_t enter(struct cbpi_transport *transport, uint32_t rule_id,
                      struct cbpi_launch_channel **channel)
{
    struct channel *made = calloc(1, sizeof *made);
    if (!made)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a launch");
    made->base.ops = &cbpi_kernel_launch_ops;
    made->thread_id = cbpi_thread_id();
    uint32_t error = rule_id != 0 ? announce(transport, made, rule_id) : 0;
    if (error == 0)
        *channel = &made->base;
    else
        free(made);
    return error;
}

/* The announcement is taken back by claim(): this has no session to do it with. */
static void leave(struct cbpi_launch_channel *channel)
{
    (void) channel;
}

/* A process that was created has taken the announcement. If there is none, it must not wait for another one
 * that this thread creates for itself. */
static uint32_t claim(struct cbpi_transport *transport, struct cbpi_launch_channel *base, uint32_t process_id,
                      uint32_t rule_id)
{
    struct channel *channel = own(base);
    (void) rule_id;
    channel->process_id = process_id;
    if (!channel->is_announced)
        return 0;
    uint32_t error = announce(transport, channel, 0);
    return process_id != 0 ? 0 : error;
}

static uint32_t wait_for_result(struct cbpi_launch_channel *base, uint32_t slice_ms,
                                struct cbp_launch_result *result)
{
    const struct channel *channel = own(base);
    (void) slice_ms;
    if (channel->process_id == 0)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "cbp_launch_leave() was not told of a process");
    result->process_id = channel->process_id;
    if (cbpi_process_start_time(channel->process_id, &result->start_time) != 0)
        return cbpi_fail(CBP_ERROR_NOT_FOUND,
                         "the process that cbp_launch_leave() was told of is not there any more");
    return 0;
}

static void close_channel(struct cbpi_launch_channel *channel)
{
    free(channel);
}

const struct cbpi_launch_ops cbpi_kernel_launch_ops = {
    .ways = CBPI_LAUNCH_BY_CALLER,
    .enter = enter,
    .leave = leave,
    .claim = claim,
    .wait = wait_for_result,
    .close = close_channel,
    .forget = cbpi_helper_forget_launch,
};
