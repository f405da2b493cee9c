/* Implements helper_session.h. */
#include "helper_session.h"

#include "cbp_message.h"
#include "cbp_ruleset.h"
#include "errors.h"

#include <stdio.h>

/* So much time lies between two looks at whether the helper is stopped: every second beat looks. */
#define LOOK_NS (400 * CBP_NS_PER_MS)

uint32_t cbpi_helper_refuse_scopes(const struct cbpi_session_settings *settings, const char *system)
{
    if (settings->policy.flags & CBP_SESSION_FLAG_SCOPE_SIGNALS)
        return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "ScopeSignals is not possible on %s", system);
    if (settings->policy.flags & CBP_SESSION_FLAG_SCOPE_PROC_FILES)
        return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "ScopeProcFiles is not possible on %s", system);
    return 0;
}

uint32_t cbpi_helper_join(struct cbpi_helper_session *session, const struct cbpi_helper_driver *driver,
                          const struct cbpi_session_settings *settings)
{
    uint32_t error = driver->check_settings(settings);
    session->driver = driver;
    return error != 0 ? error : cbpi_link_acquire(driver->link_ops, &session->link, &session->session_id);
}

void cbpi_helper_leave(struct cbpi_helper_session *session)
{
    cbpi_link_release(session->link, session->session_id, session->keeps_id);
}

uint32_t cbpi_helper_update(struct cbpi_transport *transport, const struct cbpi_session_settings *settings)
{
    const struct cbpi_helper_session *session = cbpi_helper_session(transport);
    uint32_t error = session->driver->check_settings(settings);
    if (error != 0)
        return error;
    struct cbp_session_settings message = settings->policy;
    message.header = (struct cbp_message_header){.size = sizeof message, .type = CBP_MESSAGE_SESSION};
    message.session_id = session->session_id;
    return cbpi_link_request(session->link, &message.header, NULL, NULL);
}

uint32_t cbpi_helper_close(struct cbpi_helper_session *session)
{
    struct cbp_session_close message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_SESSION_CLOSE},
                                        .session_id = session->session_id};
    uint32_t error = cbpi_link_request(session->link, &message.header, NULL, NULL);
    session->keeps_id = error != 0;
    return error;
}

/* Gives the process that a rule of the set is for, 0 if it is for none. */
static uint32_t process_of_rule(const struct cbp_ruleset *set, uint64_t rule_id)
{
    uint32_t count = cbpd_ruleset_rule_count(set), process_id = 0;
    uint64_t start_time;
    uint32_t index = rule_id <= UINT32_MAX ? cbpd_ruleset_find(set, (uint32_t) rule_id) : count;
    if (index < count)
        cbpd_ruleset_process_of(set, index, &process_id, &start_time);
    return process_id;
}

uint32_t cbpi_helper_set_rules(struct cbpi_transport *transport, const struct cbpi_rules_change *change)
{
    const struct cbpi_helper_session *session = cbpi_helper_session(transport);
    struct cbp_reply reply = {.value = 0};
    struct cbp_rules message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_RULES},
                                .session_id = session->session_id,
                                .part = change->part,
                                .attach_rule_id = change->attach_rule_id,
                                .gone_rule_id = change->gone_rule_id,
                                .block_size = change->size};
    uint32_t error = cbpi_link_request_rules(session->link, &message, change->set, &reply);
    uint32_t process_id = error != 0 ? process_of_rule(change->set, reply.value) : 0;
    if (process_id == 0)
        return error;
    if (error == CBP_ERROR_INVALID_PARAMETER)
        return cbpi_fail(error, "no process with the id %u lives any more", process_id);
    const char *obstacle = session->driver->attach_obstacle(error);
    return obstacle ? cbpi_fail(error, "process %u cannot be attached to: %s", process_id, obstacle) : error;
}

uint32_t cbpi_helper_forget_launch(struct cbpi_transport *transport, uint32_t rule_id)
{
    const struct cbpi_helper_session *session = cbpi_helper_session(transport);
    struct cbp_launch_forget message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_LAUNCH_FORGET},
                                        .session_id = session->session_id,
                                        .rule_id = rule_id};
    return cbpi_link_request(session->link, &message.header, NULL, NULL);
}

uint32_t cbpi_helper_process_capabilities(struct cbpi_transport *transport, uint32_t process_id,
                                          uint32_t *capabilities)
{
    struct cbp_reply reply;
    struct cbp_process_query message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_PROCESS_QUERY},
                                        .process_id = process_id};
    uint32_t error = cbpi_link_request(cbpi_helper_session(transport)->link, &message.header, NULL, &reply);
    if (error == CBP_ERROR_NOT_FOUND)
        return cbpi_fail(error, "process %u is not supervised", process_id);
    if (error == 0)
        *capabilities = (uint32_t) reply.value;
    return error;
}

uint32_t cbpi_helper_trouble(struct cbpi_transport *transport, char *text, uint64_t size)
{
    struct cbpi_helper_session *session = cbpi_helper_session(transport);
    uint64_t now_ns = cbpi_now_ns();
    if (now_ns < session->next_look_ns)
        return 0;
    session->next_look_ns = now_ns + LOOK_NS;
    enum cbpi_link_state state = cbpi_link_look(session->link);
    bool is_stopped = state == CBPI_LINK_STOPPED;
    if (state == CBPI_LINK_GONE || is_stopped == session->is_stopped)
        return 0;
    session->is_stopped = is_stopped;
    snprintf(text, (size_t) size, "the helper (process %u) %s", (unsigned) session->link->process_id,
             is_stopped ? "has been stopped by a signal: what it supervises stands, and no deadline comes, "
                          "until it is continued (SIGCONT)"
                        : "runs again after it had been stopped by a signal");
    return CBP_ERROR_SERVICE_REQUEST_TIMEOUT;
}
