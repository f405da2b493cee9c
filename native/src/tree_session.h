/* transport.h for the drivers whose helper is a process of its own (ptrace, debug): a session of that
 * process. Requests go through the link, deliveries through the channel. Each platform adds what it can do
 * (probe) and how programs are started. */
#ifndef CBPI_TREE_SESSION_H
#define CBPI_TREE_SESSION_H

#include "channel_client.h"

struct cbpi_transport {
    struct cbpi_link *link;
    struct cbpi_channel_client client;
    uint32_t keeps_id; /* the helper did not confirm the session's end */
};

/* ---- The link: the one helper process of this controller process, shared by its sessions ---- */

/* Gives the running helper, or a new one, and a session id on it. CBP_ERROR_FS_DRIVER_REQUIRED,
 * CBP_ERROR_APP_INIT_FAILURE, CBP_ERROR_INVALID_KERNEL_INFO_VERSION, CBP_ERROR_NO_SYSTEM_RESOURCES,
 * CBP_ERROR_TOO_MANY_OPEN_FILES. */
uint32_t cbpi_link_acquire(struct cbpi_link **link, uint32_t *session_id);

/* Gives the session id back, unless keeps_id (the helper may still use it); the last one ends the
 * conversation, upon which the helper leaves by itself. */
void cbpi_link_release(struct cbpi_link *link, uint32_t session_id, uint32_t keeps_id);

/* Sends a request, whose header gets its id here, and waits for the reply; gives the reply's status.
 * CBP_ERROR_BROKEN_PIPE, CBP_ERROR_TIMEOUT after 10 s. */
uint32_t cbpi_link_request(struct cbpi_link *link, struct cbp_message_header *request,
                           struct cbp_reply *reply);

/* Whether the helper has gone; remembers it in the word that the next gives, which is atomic. */
uint32_t cbpi_link_is_dead(struct cbpi_link *link);
const uint32_t *cbpi_link_death(const struct cbpi_link *link);
struct cbp_channel *cbpi_link_channel(const struct cbpi_link *link);

/* ---- The functions of transport.h ---- */

uint32_t cbpi_tree_update(struct cbpi_transport *transport, const struct cbpi_session_settings *settings);
uint32_t cbpi_tree_beat(struct cbpi_transport *transport);
uint32_t cbpi_tree_open(const struct cbpi_session_settings *settings, struct cbpi_transport **transport);
void cbpi_tree_close(struct cbpi_transport *transport);
void cbpi_tree_release(struct cbpi_transport *transport);
uint32_t cbpi_tree_add_rule(struct cbpi_transport *transport, const struct cbpi_rule *rule);
uint32_t cbpi_tree_remove_rule(struct cbpi_transport *transport, uint32_t rule_id);
uint32_t cbpi_tree_process_capabilities(struct cbpi_transport *transport, uint32_t process_id,
                                        uint32_t *capabilities);
uint32_t cbpi_tree_receive(struct cbpi_transport *transport, struct cbpi_delivery *delivery,
                           uint32_t timeout_ms, uint32_t *pending);
void cbpi_tree_skip(struct cbpi_transport *transport, uint32_t *pending);
uint32_t cbpi_tree_backlog(struct cbpi_transport *transport);
void cbpi_tree_nudge(struct cbpi_transport *transport);
uint32_t cbpi_tree_answer(struct cbpi_transport *transport, const struct cbpi_delivery *delivery);
uint32_t cbpi_tree_check(struct cbpi_transport *transport, const struct cbpi_delivery *delivery);
uint32_t cbpi_tree_extend(struct cbpi_transport *transport, const struct cbpi_delivery *delivery,
                          uint32_t timeout_ms);
void cbpi_tree_counts(struct cbpi_transport *transport, struct cbpi_transport_counts *counts);

#endif
