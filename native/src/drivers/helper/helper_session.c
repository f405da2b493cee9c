/* See tree_session.h. */
#include "helper_session.h"

#include "cbp_atomic.h"
#include "cbp_ruleset.h"
#include "errors.h"
#include "platform.h"

#include <stdio.h>
#include <stdlib.h>

#define LOOK_NS 400000000u /* between two looks at whether the helper is stopped: every second beat */

static struct cbp_channel_session *channel_session(const struct cbpi_transport *transport)
{
    return &transport->link->channel->sessions[transport->client.session_id];
}

/* ---- Requests ---- */

uint32_t cbpi_tree_update(struct cbpi_transport *transport, const struct cbpi_session_settings *settings)
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
    if (settings->scope_signals)
        message.flags |= CBP_SESSION_FLAG_SCOPE_SIGNALS;
    if (settings->scope_proc_files)
        message.flags |= CBP_SESSION_FLAG_SCOPE_PROC_FILES;
    return cbpi_link_request(transport->link, &message.header, &reply);
}

uint32_t cbpi_tree_beat(struct cbpi_transport *transport)
{
    cbp_store_u64(&channel_session(transport)->heartbeat_ns, cbpi_now_ns());
    cbpi_channel_expire_turns(&transport->client);
    return cbpi_link_is_dead(transport->link) ? CBP_ERROR_BROKEN_PIPE : 0;
}

uint32_t cbpi_tree_trouble(struct cbpi_transport *transport, char *text, uint64_t size)
{
    uint64_t now_ns = cbpi_now_ns();
    if (now_ns < transport->next_look_ns || cbpi_link_is_dead(transport->link))
        return 0;
    transport->next_look_ns = now_ns + LOOK_NS;
    uint32_t is_stopped = cbpi_link_is_stopped(transport->link);
    if (is_stopped == transport->is_stopped)
        return 0;
    transport->is_stopped = is_stopped;
    snprintf(text, (size_t) size, "the helper (process %u) %s", (unsigned) transport->link->process_id,
             is_stopped ? "has been stopped by a signal: what it supervises stands, and no deadline comes, "
                          "until it is continued (SIGCONT)"
                        : "runs again after it had been stopped by a signal");
    return CBP_ERROR_SERVICE_REQUEST_TIMEOUT;
}

/* The counts of a session begin at 0; the id may have been another's. */
static void reset_counts(struct cbp_channel_session *session)
{
    cbp_store_u64(&session->lost, 0);
    cbp_store_u64(&session->timed_out, 0);
    cbp_store_u64(&session->refused, 0);
    cbp_store_u64(&session->decided, 0);
    cbp_store_u64(&session->failed_after, 0);
    cbp_store_u64(&session->guessed, 0);
}

static void discard(struct cbpi_transport *transport)
{
    cbpi_mutex_destroy(&transport->client.order);
    free(transport);
}

uint32_t cbpi_tree_open(const struct cbpi_session_settings *settings, struct cbpi_transport **transport)
{
    struct cbpi_transport *made = calloc(1, sizeof *made);
    if (!made)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a session");
    cbpi_mutex_init(&made->client.order);
    uint32_t error = cbpi_link_acquire(&made->link, &made->client.session_id);
    if (error != 0)
        goto cleanup;
    made->client.link = made->link;
    made->client.channel = made->link->channel;
    made->client.is_dead = &made->link->is_dead;
    made->client.turns.channel = made->link->channel;
    reset_counts(channel_session(made));
    cbpi_tree_beat(made);
    error = cbpi_tree_update(made, settings);
    if (error != 0)
        cbpi_link_release(made->link, made->client.session_id, error == CBP_ERROR_SERVICE_REQUEST_TIMEOUT);
cleanup:
    if (error == 0)
        *transport = made;
    else
        discard(made);
    return error;
}

uint32_t cbpi_tree_close(struct cbpi_transport *transport)
{
    struct cbp_reply reply;
    struct cbp_session_close message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_SESSION_CLOSE},
                                        .session_id = transport->client.session_id};
    cbp_store_u32(&transport->client.is_closed, 1);
    cbpi_channel_wake(&transport->client);
    uint32_t error = cbpi_link_request(transport->link, &message.header, &reply);
    transport->keeps_id = error != 0;
    return error;
}

void cbpi_tree_release(struct cbpi_transport *transport)
{
    cbpi_channel_drain(&transport->client);
    cbpi_link_release(transport->link, transport->client.session_id, transport->keeps_id);
    discard(transport);
}

/* The process that a rule of the set is for, 0 if it is for none. */
static uint32_t process_of_rule(const struct cbp_ruleset *set, uint64_t rule_id)
{
    uint32_t count = cbp_ruleset_rule_count(set), process_id = 0;
    uint64_t start_time;
    uint32_t index = rule_id <= UINT32_MAX ? cbp_ruleset_find(set, (uint32_t) rule_id) : count;
    if (index < count)
        cbp_ruleset_process_of(set, index, &process_id, &start_time);
    return process_id;
}

uint32_t cbpi_tree_set_rules(struct cbpi_transport *transport, const struct cbpi_rules_change *change,
                             uint32_t *failed_process_id)
{
    struct cbp_reply reply = {.value = 0};
    struct cbp_rules message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_RULES},
                                .session_id = transport->client.session_id,
                                .part = change->part,
                                .attach_rule_id = change->attach_rule_id,
                                .gone_rule_id = change->gone_rule_id,
                                .block_size = change->size};
    uint32_t error = cbpi_link_request_rules(transport->link, &message, change->set, &reply);
    *failed_process_id = error != 0 ? process_of_rule(change->set, reply.value) : 0;
    return error;
}

uint32_t cbpi_tree_forget_launch(struct cbpi_transport *transport, uint32_t rule_id)
{
    struct cbp_reply reply;
    struct cbp_launch_forget message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_LAUNCH_FORGET},
                                        .session_id = transport->client.session_id,
                                        .rule_id = rule_id};
    return cbpi_link_request(transport->link, &message.header, &reply);
}

uint32_t cbpi_tree_process_capabilities(struct cbpi_transport *transport, uint32_t process_id,
                                        uint32_t *capabilities)
{
    struct cbp_reply reply;
    struct cbp_process_query message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_PROCESS_QUERY},
                                        .process_id = process_id};
    uint32_t error = cbpi_link_request(transport->link, &message.header, &reply);
    if (error == CBP_ERROR_NOT_FOUND)
        return cbpi_fail(error, "process %u is not supervised", process_id);
    if (error == 0)
        *capabilities = (uint32_t) reply.value;
    return error;
}

/* ---- Deliveries ---- */

uint32_t cbpi_tree_receive(struct cbpi_transport *transport, struct cbpi_delivery *delivery,
                           uint32_t timeout_ms, uint32_t *pending)
{
    uint32_t slot = *pending - 1;
    uint32_t error = *pending ? 0
                              : cbpi_channel_take(&transport->client, delivery->turn, timeout_ms,
                                                  delivery->nobody_waits, &slot);
    if (error != 0)
        return error;
    error = cbpi_channel_read(&transport->client, slot, delivery);
    *pending = error == CBP_ERROR_INSUFFICIENT_BUFFER ? slot + 1 : 0;
    if (error == CBP_ERROR_INVALID_DATA)
        cbpi_channel_return(&transport->client, slot);
    return error;
}

void cbpi_tree_skip(struct cbpi_transport *transport, uint32_t *pending)
{
    cbpi_channel_return(&transport->client, *pending - 1);
    *pending = 0;
}

uint32_t cbpi_tree_backlog(struct cbpi_transport *transport)
{
    return cbpi_channel_backlog(&transport->client);
}

void cbpi_tree_nudge(struct cbpi_transport *transport)
{
    cbpi_channel_wake_one(&transport->client);
}

uint32_t cbpi_tree_answer(struct cbpi_transport *transport, const struct cbpi_delivery *delivery)
{
    return cbpi_channel_answer(&transport->client, delivery);
}

uint32_t cbpi_tree_check(struct cbpi_transport *transport, const struct cbpi_delivery *delivery)
{
    return cbpi_channel_check(&transport->client, delivery);
}

uint32_t cbpi_tree_extend(struct cbpi_transport *transport, const struct cbpi_delivery *delivery,
                          uint32_t timeout_ms)
{
    return cbpi_channel_extend(&transport->client, delivery, timeout_ms);
}

void cbpi_tree_counts(struct cbpi_transport *transport, struct cbpi_transport_counts *counts)
{
    const struct cbp_channel_session *session = channel_session(transport);
    const struct cbp_channel *channel = transport->link->channel;
    counts->lost = cbp_load_u64(&session->lost);
    counts->timed_out = cbp_load_u64(&session->timed_out);
    counts->refused = cbp_load_u64(&session->refused);
    counts->decided_by_rule = cbp_load_u64(&session->decided);
    counts->failed_after = cbp_load_u64(&session->failed_after);
    counts->guessed = cbp_load_u64(&session->guessed);
    counts->supervised = cbp_load_u32(&channel->supervised_count);
    counts->waiting = cbp_load_u32(&transport->client.turns.waiting_count) -
                      cbp_load_u32(&transport->client.turns.ready_count);
}

uint32_t cbpi_tree_next_failed(struct cbpi_transport *transport, uint64_t *seen_count,
                               struct cbpi_failed_execution *failed)
{
    struct cbp_channel_session *session = channel_session(transport);
    uint64_t at = *seen_count;
    if (at >= cbp_load_u64(&session->failed_after))
        return 0;
    const struct cbp_failed_execution *entry = &session->failed[at % CBP_FAILED_EXECUTION_MAX];
    failed->sequence = cbp_load_u64(&entry->sequence);
    failed->os_error = cbp_load_u32(&entry->os_error);
    /* The one that comes next is being written already, over the oldest. */
    if (cbp_load_u64(&session->failed_after) - at >= CBP_FAILED_EXECUTION_MAX)
        *failed = (struct cbpi_failed_execution){0};
    *seen_count = at + 1;
    return 1;
}

uint32_t cbpi_tree_helper_process_id(struct cbpi_transport *transport)
{
    return transport->link->process_id;
}
