/* See tree_link.h. */
#include "helper_link.h"

#include "cbp_atomic.h"
#include "cbp_message_check.h"
#include "errors.h"

#include <stdio.h>
#include <stdlib.h>

#define REQUEST_LIMIT_MS 10000u
#define CLOSE_LIMIT_MS 3000u /* whoever stops a filter, or ends, waits for it */
#define NS_PER_MS 1000000u

/* Every link; new sessions join the one whose helper lives. Those whose helper has died stay until
 * their sessions have let go. The mutex also guards the links' counts. */
static struct cbpi_mutex links_mutex;
static struct cbpi_link *links;

void cbpi_link_load(void)
{
    cbpi_mutex_init(&links_mutex);
}

void cbpi_link_forget_after_fork(void)
{
    for (struct cbpi_link *link = links; link; link = link->next)
        cbpi_link_abandon(link);
    links = NULL;
    cbpi_mutex_init(&links_mutex);
}

uint32_t cbpi_link_is_dead(struct cbpi_link *link)
{
    if (!cbp_load_u32(&link->is_dead) && cbpi_link_look(link))
        cbp_store_u32(&link->is_dead, 1);
    return cbp_load_u32(&link->is_dead);
}

uint32_t cbpi_link_fail_dead(struct cbpi_link *link)
{
    cbp_store_u32(&link->is_dead, 1);
    return cbpi_fail(CBP_ERROR_BROKEN_PIPE, "the helper has gone");
}

/* Receives the reply with the request's id; older ones are to requests that were given up. */
static uint32_t receive_reply(struct cbpi_link *link, const struct cbp_message_header *request,
                              struct cbp_reply *reply)
{
    uint32_t limit_ms = request->type == CBP_MESSAGE_SESSION_CLOSE ? CLOSE_LIMIT_MS : REQUEST_LIMIT_MS;
    uint64_t deadline_ns = cbpi_now_ns() + (uint64_t) limit_ms * NS_PER_MS;
    for (;;) {
        uint32_t error = cbpi_link_receive(link, deadline_ns, reply);
        if (error == CBP_ERROR_TIMEOUT)
            return cbpi_fail(
                CBP_ERROR_SERVICE_REQUEST_TIMEOUT, "the helper (process %u) %s", (unsigned) link->process_id,
                cbpi_link_is_stopped(link) ? "has been stopped by a signal" : "does not answer: it is busy");
        if (error != 0)
            return error;
        if (cbp_message_check(reply, sizeof *reply, CBP_MESSAGE_REPLY) != 0)
            return cbpi_fail(CBP_ERROR_INVALID_DATA, "the helper's reply is malformed");
        if (reply->header.id == request->id)
            return 0;
    }
}

uint32_t cbpi_link_request_with(struct cbpi_link *link, struct cbp_message_header *request, const int *fds,
                                uint32_t fd_count, struct cbp_reply *reply)
{
    cbpi_mutex_lock(&link->request_mutex);
    request->id = ++link->last_request_id;
    uint32_t error = cbp_load_u32(&link->is_dead) ? cbpi_link_fail_dead(link)
                                                  : cbpi_link_send(link, request, fds, fd_count);
    if (error == 0)
        error = receive_reply(link, request, reply);
    cbpi_mutex_unlock(&link->request_mutex);
    if (error == 0 && reply->status != 0)
        error = cbpi_fail(reply->status, "the helper refused: %s", cbp_error_message(reply->status));
    return error;
}

uint32_t cbpi_link_request(struct cbpi_link *link, struct cbp_message_header *request,
                           struct cbp_reply *reply)
{
    return cbpi_link_request_with(link, request, NULL, 0, reply);
}

static uint32_t shake_hands(struct cbpi_link *link)
{
    struct cbp_hello hello = {.header = {.size = sizeof hello, .type = CBP_MESSAGE_HELLO},
                              .magic = CBP_PROTOCOL_MAGIC,
                              .version = CBP_PROTOCOL_VERSION,
                              .clock_ns = cbpi_now_ns(),
                              .process_id = cbpi_process_id()};
    struct cbp_reply reply;
    uint32_t error = cbpi_link_request(link, &hello.header, &reply);
    if (error == CBP_ERROR_INVALID_KERNEL_INFO_VERSION)
        return error;
    if (error == CBP_ERROR_NO_SYSTEM_RESOURCES) /* its process is there, but it needs more */
        return cbpi_fail_limit(error, "the helper cannot start its thread");
    if (error == CBP_ERROR_TOO_MANY_OPEN_FILES)
        return cbpi_fail_limit(error, "the helper cannot start");
    if (error != 0) {
        char detail[256];
        snprintf(detail, sizeof detail, "%s", cbp_error_detail());
        return cbpi_fail(CBP_ERROR_APP_INIT_FAILURE, "the helper's handshake failed: %s", detail);
    }
    if (reply.version != CBP_PROTOCOL_VERSION)
        return cbpi_fail(CBP_ERROR_INVALID_KERNEL_INFO_VERSION, "the helper is of another version");
    return 0;
}

static void destroy_link(struct cbpi_link *link)
{
    cbpi_link_shut(link);
    cbpi_mutex_destroy(&link->request_mutex);
    free(link);
}

static uint32_t make_link(struct cbpi_link **made)
{
    struct cbpi_link *link = calloc(1, sizeof *link);
    if (!link)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a helper's link");
    cbpi_mutex_init(&link->request_mutex);
    uint32_t error = cbpi_link_open(link);
    if (error == 0)
        error = shake_hands(link);
    if (error == 0)
        *made = link;
    else
        destroy_link(link);
    return error;
}

static uint32_t take_session_id(struct cbpi_link *link, uint32_t *session_id)
{
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if ((link->session_bits & 1u << id) == 0) {
            link->session_bits |= 1u << id;
            *session_id = id;
            return 0;
        }
    return cbpi_fail(CBP_ERROR_NO_SYSTEM_RESOURCES, "%u sessions are active already",
                     (unsigned) CBP_SESSION_MAX);
}

static struct cbpi_link *find_living(void)
{
    struct cbpi_link *link = links;
    while (link && cbpi_link_is_dead(link))
        link = link->next;
    return link;
}

uint32_t cbpi_link_acquire(struct cbpi_link **link, uint32_t *session_id)
{
    uint32_t error = 0;
    cbpi_mutex_lock(&links_mutex);
    struct cbpi_link *joined = find_living();
    if (!joined) {
        error = make_link(&joined);
        if (error == 0) {
            joined->next = links;
            links = joined;
        }
    }
    if (error == 0)
        error = take_session_id(joined, session_id);
    if (error == 0) {
        joined->reference_count++;
        *link = joined;
    }
    cbpi_mutex_unlock(&links_mutex);
    return error;
}

void cbpi_link_release(struct cbpi_link *link, uint32_t session_id, uint32_t keeps_id)
{
    cbpi_mutex_lock(&links_mutex);
    if (!keeps_id)
        link->session_bits &= ~(1u << session_id);
    uint32_t is_last = --link->reference_count == 0;
    if (is_last) {
        struct cbpi_link **at = &links;
        while (*at != link)
            at = &(*at)->next;
        *at = link->next;
    }
    cbpi_mutex_unlock(&links_mutex);
    if (is_last)
        destroy_link(link);
}
