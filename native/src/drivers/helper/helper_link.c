/* Implements helper_link.h. */
#include "helper_link.h"

#include "cbp_atomic.h"
#include "cbp_channel.h"
#include "cbp_message_check.h"
#include "errors.h"

#include <stdio.h>

#define REQUEST_LIMIT_MS 10000u
#define CLOSE_LIMIT_MS 3000u /* a stop of the filter, and the end of the program, wait for it */

/* This list has every link; new sessions join the one of their driver whose helper lives. Links whose helper
 * has died stay until their sessions have let go. The mutex also guards the links' counts. */
static struct cbpi_mutex links_mutex = CBPI_MUTEX_INITIALIZER;
static struct cbpi_link *links;

void cbpi_link_forget_after_fork(void)
{
    for (struct cbpi_link *link = links; link; link = link->next)
        link->ops->abandon(link);
    links = NULL;
    cbpi_mutex_init(&links_mutex);
}

enum cbpi_link_state cbpi_link_look(struct cbpi_link *link)
{
    if (cbp_load_u32(&link->is_dead))
        return CBPI_LINK_GONE;
    enum cbpi_link_state state = link->ops->look(link);
    if (state == CBPI_LINK_GONE)
        cbp_store_u32(&link->is_dead, 1);
    return state;
}

/* Names the other side in the sentences of errors. */
static const char *peer_of(const struct cbpi_link *link)
{
    return link->process_id ? "helper" : "driver";
}

static uint32_t fail_silent(struct cbpi_link *link)
{
    const char *why = link->ops->look(link) == CBPI_LINK_STOPPED ? "has been stopped by a signal"
                                                                 : "does not answer: it is busy";
    if (link->process_id == 0)
        return cbpi_fail(CBP_ERROR_SERVICE_REQUEST_TIMEOUT, "the driver %s", why);
    return cbpi_fail(CBP_ERROR_SERVICE_REQUEST_TIMEOUT, "the helper (process %u) %s",
                     (unsigned) link->process_id, why);
}

/* Receives the reply with the request's id; older replies are to requests that were given up. */
static uint32_t receive_reply(struct cbpi_link *link, const struct cbp_message_header *request,
                              struct cbp_reply *reply)
{
    uint32_t limit_ms = request->type == CBP_MESSAGE_SESSION_CLOSE ? CLOSE_LIMIT_MS : REQUEST_LIMIT_MS;
    uint64_t deadline_ns = cbpi_now_ns() + limit_ms * CBP_NS_PER_MS;
    for (;;) {
        uint32_t error = link->ops->receive(link, deadline_ns, reply);
        if (error == CBP_ERROR_TIMEOUT)
            return fail_silent(link);
        if (error != 0)
            return error;
        if (cbpd_message_check(reply, sizeof *reply, CBP_MESSAGE_REPLY) != 0)
            return cbpi_fail(CBP_ERROR_INVALID_DATA, "the %s's reply is malformed", peer_of(link));
        if (reply->header.id == request->id)
            return 0;
    }
}

/* Begins a request: gives it its id. The link is the caller's until end_request(). */
static uint32_t begin_request(struct cbpi_link *link, struct cbp_message_header *request)
{
    cbpi_mutex_lock(&link->request_mutex);
    request->id = ++link->last_request_id;
    return cbp_load_u32(&link->is_dead) ? CBP_ERROR_BROKEN_PIPE : 0;
}

/* Takes the reply to a request that has been sent, unless there was an error. */
static uint32_t end_request(struct cbpi_link *link, const struct cbp_message_header *request, uint32_t error,
                            struct cbp_reply *reply)
{
    struct cbp_reply unwanted;
    if (!reply)
        reply = &unwanted;
    if (error == 0)
        error = receive_reply(link, request, reply);
    if (error == CBP_ERROR_BROKEN_PIPE) {
        cbp_store_u32(&link->is_dead, 1);
        cbpi_fail(error, "the %s has gone", peer_of(link));
    }
    cbpi_mutex_unlock(&link->request_mutex);
    if (error == 0 && reply->status != 0)
        error =
            cbpi_fail(reply->status, "the %s refused: %s", peer_of(link), cbp_error_message(reply->status));
    return error;
}

uint32_t cbpi_link_request(struct cbpi_link *link, struct cbp_message_header *request,
                           const struct cbpi_link_parcel *parcel, struct cbp_reply *reply)
{
    uint32_t error = begin_request(link, request);
    if (error == 0)
        error = link->ops->send(link, request, parcel);
    return end_request(link, request, error, reply);
}

uint32_t cbpi_link_request_rules(struct cbpi_link *link, struct cbp_rules *request, const void *block,
                                 struct cbp_reply *reply)
{
    uint32_t error = begin_request(link, &request->header);
    if (error == 0)
        error = link->ops->send_rules(link, request, block);
    return end_request(link, &request->header, error, reply);
}

static uint32_t shake_hands(struct cbpi_link *link)
{
    struct cbp_hello hello = {.header = {.size = sizeof hello, .type = CBP_MESSAGE_HELLO},
                              .magic = CBP_PROTOCOL_MAGIC,
                              .version = CBP_PROTOCOL_VERSION,
                              .clock_ns = cbpi_now_ns(),
                              .process_id = cbpi_process_id()};
    struct cbp_reply reply;
    uint32_t error = cbpi_link_request(link, &hello.header, NULL, &reply);
    if (error == CBP_ERROR_INVALID_KERNEL_INFO_VERSION)
        return error;
    if (error == CBP_ERROR_NO_SYSTEM_RESOURCES) /* its process is there, but it needs more */
        return cbpi_fail_limit(error, link->process_id ? "the helper cannot start its thread"
                                                       : "the driver has no room");
    if (error == CBP_ERROR_TOO_MANY_OPEN_FILES)
        return cbpi_fail_limit(error, "the helper cannot start");
    if (error != 0) {
        char detail[256];
        snprintf(detail, sizeof detail, "%s", cbp_error_detail());
        return cbpi_fail(CBP_ERROR_APP_INIT_FAILURE, "the %s's handshake failed: %s", peer_of(link), detail);
    }
    if (reply.version != CBP_PROTOCOL_VERSION)
        return cbpi_fail(CBP_ERROR_INVALID_KERNEL_INFO_VERSION, "the %s is of another version",
                         peer_of(link));
    return 0;
}

static void destroy_link(struct cbpi_link *link)
{
    cbpi_mutex_destroy(&link->request_mutex);
    link->ops->shut(link);
}

static uint32_t make_link(const struct cbpi_link_ops *ops, struct cbpi_link **made)
{
    struct cbpi_link *link;
    uint32_t error = ops->open(&link);
    if (error != 0)
        return error;
    link->ops = ops;
    cbpi_mutex_init(&link->request_mutex);
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

static struct cbpi_link *find_living(const struct cbpi_link_ops *ops)
{
    struct cbpi_link *link = links;
    while (link && (link->ops != ops || ops->is_for_one_session || cbpi_link_look(link) == CBPI_LINK_GONE))
        link = link->next;
    return link;
}

uint32_t cbpi_link_acquire(const struct cbpi_link_ops *ops, struct cbpi_link **link, uint32_t *session_id)
{
    uint32_t error = 0;
    cbpi_mutex_lock(&links_mutex);
    struct cbpi_link *joined = find_living(ops);
    if (!joined) {
        error = make_link(ops, &joined);
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

void cbpi_link_release(struct cbpi_link *link, uint32_t session_id, bool keeps_id)
{
    cbpi_mutex_lock(&links_mutex);
    if (!keeps_id)
        link->session_bits &= ~(1u << session_id);
    bool is_last = --link->reference_count == 0;
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
