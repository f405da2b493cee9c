/* Offers the requests half of a session with a helper: requests of the core go over a link, as messages.
 * Knows nothing of deliveries; a driver adds the half that brings them, such as channel_session.h. */
#ifndef CBPI_HELPER_SESSION_H
#define CBPI_HELPER_SESSION_H

#include "helper_link.h"
#include "transport.h"

/* A driver with a helper has this of its own. */
struct cbpi_helper_driver {
    const struct cbpi_link_ops *link_ops;

    /* Fails with a sentence if these settings are not possible here. */
    uint32_t (*check_settings)(const struct cbpi_session_settings *settings);

    /* Gives in words what keeps a process from being attached to, after that error; NULL: it is not known. */
    const char *(*attach_obstacle)(uint32_t error);
};

struct cbpi_helper_session {
    struct cbpi_transport base;
    const struct cbpi_helper_driver *driver;
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

/* Serves as check_settings where the system, which the sentence names, can do neither ScopeSignals nor
 * ScopeProcFiles. CBP_ERROR_NOT_SUPPORTED. */
uint32_t cbpi_helper_refuse_scopes(const struct cbpi_session_settings *settings, const char *system);

/* These functions are for the table of operations. */
uint32_t cbpi_helper_update(struct cbpi_transport *transport, const struct cbpi_session_settings *settings);
uint32_t cbpi_helper_set_rules(struct cbpi_transport *transport, const struct cbpi_rules_change *change);
uint32_t cbpi_helper_process_capabilities(struct cbpi_transport *transport, uint32_t process_id,
                                          uint32_t *capabilities);
uint32_t cbpi_helper_trouble(struct cbpi_transport *transport, char *text, uint64_t size);

/* This one is for the table of launches. */
uint32_t cbpi_helper_forget_launch(struct cbpi_transport *transport, uint32_t rule_id);

/* The open, close and release of the other half call these, and do more in each of them. The first only
 * checks the settings: the helper gets them by an update. */
uint32_t cbpi_helper_join(struct cbpi_helper_session *session, const struct cbpi_helper_driver *driver,
                          const struct cbpi_session_settings *settings);
uint32_t cbpi_helper_close(struct cbpi_helper_session *session);
void cbpi_helper_leave(struct cbpi_helper_session *session);

#endif
