/* transport.h for the drivers whose helper is a process of its own (ptrace, debug): a session of that
 * process. Requests go through the link, deliveries through the channel. Each platform adds what it can do
 * (probe) and how programs are started. */
#ifndef CBPI_TREE_SESSION_H
#define CBPI_TREE_SESSION_H

#include "channel_client.h"
#include "helper_link.h"

struct cbpi_transport {
    struct cbpi_link *link;
    struct cbpi_channel_client client;
    uint32_t keeps_id;     /* the helper did not confirm the session's end */
    uint64_t next_look_ns; /* the dispatcher's: when to look again at whether the helper is stopped */
    uint32_t is_stopped;   /* it was, when it was looked at last */
};

/* ---- The functions of transport.h ---- */

uint32_t cbpi_tree_update(struct cbpi_transport *transport, const struct cbpi_session_settings *settings);
uint32_t cbpi_tree_beat(struct cbpi_transport *transport);
uint32_t cbpi_tree_open(const struct cbpi_session_settings *settings, struct cbpi_transport **transport);
uint32_t cbpi_tree_close(struct cbpi_transport *transport);
void cbpi_tree_release(struct cbpi_transport *transport);
uint32_t cbpi_tree_forget_launch(struct cbpi_transport *transport, uint32_t rule_id);
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
uint32_t cbpi_tree_trouble(struct cbpi_transport *transport, char *text, uint64_t size);
void cbpi_tree_counts(struct cbpi_transport *transport, struct cbpi_transport_counts *counts);
uint32_t cbpi_tree_next_failed(struct cbpi_transport *transport, uint64_t *seen_count,
                               struct cbpi_failed_execution *failed);
uint32_t cbpi_tree_helper_process_id(struct cbpi_transport *transport);

/* The rows of a driver's cbpi_transport_ops that every tree driver has alike. */
#define CBPI_TREE_TRANSPORT_OPS                                                                              \
    .load = cbpi_link_load, .close = cbpi_tree_close, .release = cbpi_tree_release,                          \
    .forget_launch = cbpi_tree_forget_launch, .process_capabilities = cbpi_tree_process_capabilities,        \
    .receive = cbpi_tree_receive, .skip = cbpi_tree_skip, .backlog = cbpi_tree_backlog,                      \
    .nudge = cbpi_tree_nudge, .answer = cbpi_tree_answer, .check = cbpi_tree_check,                          \
    .extend = cbpi_tree_extend, .beat = cbpi_tree_beat, .trouble = cbpi_tree_trouble,                        \
    .counts = cbpi_tree_counts, .next_failed = cbpi_tree_next_failed,                                        \
    .helper_process_id = cbpi_tree_helper_process_id, .forget_after_fork = cbpi_link_forget_after_fork

/* ---- For the platform's set_rules ---- */

/* *failed_process_id is the process that could not be attached to, 0 if the error is about none. */
uint32_t cbpi_tree_set_rules(struct cbpi_transport *transport, const struct cbpi_rules_change *change,
                             uint32_t *failed_process_id);

#endif
