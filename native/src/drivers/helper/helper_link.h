/* Keeps the links of this controller process to helpers, and sends requests over them. All active sessions of
 * a driver share one link, unless its links are for one session each. Knows link.h, the messages of requests and their replies, but no driver and no
 * delivery. */
#ifndef CBPI_HELPER_LINK_H
#define CBPI_HELPER_LINK_H

#include "link.h"

/* Forgets all links, in the child of a fork. */
void cbpi_link_forget_after_fork(void);

/* Gives the running helper, or a new one, and a session id on it. CBP_ERROR_FS_DRIVER_REQUIRED,
 * CBP_ERROR_APP_INIT_FAILURE, CBP_ERROR_INVALID_KERNEL_INFO_VERSION, CBP_ERROR_NO_SYSTEM_RESOURCES,
 * CBP_ERROR_TOO_MANY_OPEN_FILES. */
uint32_t cbpi_link_acquire(const struct cbpi_link_ops *ops, struct cbpi_link **link, uint32_t *session_id);

/* Gives the session id back, unless keeps_id (the helper may still use it); the last one ends the
 * conversation, upon which the helper leaves by itself. */
void cbpi_link_release(struct cbpi_link *link, uint32_t session_id, bool keeps_id);

/* Sends a request, whose header gets its id here, and waits for the reply (NULL: it is thrown away); gives
 * its status. CBP_ERROR_BROKEN_PIPE, CBP_ERROR_SERVICE_REQUEST_TIMEOUT after some seconds, sooner if the
 * helper is stopped. */
uint32_t cbpi_link_request(struct cbpi_link *link, struct cbp_message_header *request,
                           const struct cbpi_link_parcel *parcel, struct cbp_reply *reply);
uint32_t cbpi_link_request_rules(struct cbpi_link *link, struct cbp_rules *request, const void *block,
                                 struct cbp_reply *reply);

/* Looks what the helper does. link->is_dead remembers that it has gone. */
enum cbpi_link_state cbpi_link_look(struct cbpi_link *link);

#endif
