/* The requests half of a session with a helper: what the core asks for goes over a link, as messages. Knows
 * nothing of deliveries; a driver adds the half that brings them, such as channel_session.h. */
#ifndef CBPI_HELPER_SESSION_H
#define CBPI_HELPER_SESSION_H

#include "helper_link.h"
#include "transport.h"

struct cbpi_helper_session {
    struct cbpi_transport base;
    struct cbpi_link *link;
    uint32_t session_id;
    bool keeps_id;         /* the helper did not confirm the session's end */
    bool is_stopped;       /* the helper was, when it was looked at last */
    uint64_t next_look_ns; /* the dispatcher's: when to look again */
};

static inline struct cbpi_helper_session *cbpi_helper_session(struct cbpi_transport *transport)
{
    return (struct cbpi_helper_session *) transport;
}

/* The rows of cbpi_transport_ops that this half fills. */
#define CBPI_REQUEST_OPS                                                                                     \
    .process_capabilities = cbpi_helper_process_capabilities, .trouble = cbpi_helper_trouble

uint32_t cbpi_helper_process_capabilities(struct cbpi_transport *transport, uint32_t process_id,
                                          uint32_t *capabilities);
uint32_t cbpi_helper_trouble(struct cbpi_transport *transport, char *text, uint64_t size);

/* For launch_ops. */
uint32_t cbpi_helper_forget_launch(struct cbpi_transport *transport, uint32_t rule_id);

/* For the open, update, set_rules, close and release of a driver, which does more in each of them.
 * *failed_process_id is the process that could not be attached to, 0 if the error is about none. */
uint32_t cbpi_helper_join(struct cbpi_helper_session *session, const struct cbpi_link_ops *ops);
uint32_t cbpi_helper_update(struct cbpi_transport *transport, const struct cbpi_session_settings *settings);
uint32_t cbpi_helper_set_rules(struct cbpi_transport *transport, const struct cbpi_rules_change *change,
                               uint32_t *failed_process_id);
uint32_t cbpi_helper_close(struct cbpi_helper_session *session);
void cbpi_helper_leave(struct cbpi_helper_session *session);

#endif
