/* The one helper process of this controller process and the channel to it, shared by the active
 * sessions of a tree driver. Knows requests and their replies; nothing of deliveries. How the process is
 * started and spoken to is each platform's (the second half). */
#ifndef CBPI_TREE_LINK_H
#define CBPI_TREE_LINK_H

#include "cbp_channel.h"
#include "platform.h"

#if defined(_WIN32)
#include "../../platform/windows/link_types.h"
#else
#include "../../platform/linux/link_types.h" /* struct cbpi_link_ends */
#endif

struct cbpi_link {
    struct cbpi_link *next;   /* in the list of links, which guards the next two as well */
    uint32_t reference_count; /* sessions */
    uint32_t session_bits;    /* ids in use, or not safe to use again */
    struct cbp_channel *channel;
    struct cbpi_link_ends ends;
    uint32_t process_id;
    uint32_t is_dead; /* atomic: the helper has gone */
    struct cbpi_mutex request_mutex;
    uint64_t last_request_id; /* request_mutex */
};

/* When the library is loaded; in the child of a fork. */
void cbpi_link_load(void);
void cbpi_link_forget_after_fork(void);

/* Gives the running helper, or a new one, and a session id on it. CBP_ERROR_FS_DRIVER_REQUIRED,
 * CBP_ERROR_APP_INIT_FAILURE, CBP_ERROR_INVALID_KERNEL_INFO_VERSION, CBP_ERROR_NO_SYSTEM_RESOURCES,
 * CBP_ERROR_TOO_MANY_OPEN_FILES. */
uint32_t cbpi_link_acquire(struct cbpi_link **link, uint32_t *session_id);

/* Gives the session id back, unless keeps_id (the helper may still use it); the last one ends the
 * conversation, upon which the helper leaves by itself. */
void cbpi_link_release(struct cbpi_link *link, uint32_t session_id, uint32_t keeps_id);

/* Sends a request, whose header gets its id here, and waits for the reply; gives the reply's status.
 * CBP_ERROR_BROKEN_PIPE, CBP_ERROR_SERVICE_REQUEST_TIMEOUT after some
 * seconds, sooner if the helper is stopped. The second hands over up to two descriptors with it,
 * where the system can do that. */
uint32_t cbpi_link_request(struct cbpi_link *link, struct cbp_message_header *request,
                           struct cbp_reply *reply);
uint32_t cbpi_link_request_with(struct cbpi_link *link, struct cbp_message_header *request, const int *fds,
                                uint32_t fd_count, struct cbp_reply *reply);

/* Asks for rules, whose block, of request->block_size bytes, goes beside the request; each platform's own
 * way. CBP_ERROR_NOT_ENOUGH_MEMORY, CBP_ERROR_NO_SYSTEM_RESOURCES. */
uint32_t cbpi_link_request_rules(struct cbpi_link *link, struct cbp_rules *request, const void *block,
                                 struct cbp_reply *reply);

/* Whether the helper has gone; remembers it. */
uint32_t cbpi_link_is_dead(struct cbpi_link *link);

/* Remembers that it has gone, and fails with CBP_ERROR_BROKEN_PIPE. */
uint32_t cbpi_link_fail_dead(struct cbpi_link *link);

/* ---- Each platform's own ---- */

/* Makes the channel and starts the helper: channel, ends and process_id. After a failure, too,
 * cbpi_link_shut() follows. */
uint32_t cbpi_link_open(struct cbpi_link *link);

/* Ends the conversation and frees what open has made. */
void cbpi_link_shut(struct cbpi_link *link);

/* In the child of a fork: closes what was inherited, without a word to the helper. */
void cbpi_link_abandon(struct cbpi_link *link);

/* Whether the helper has gone. */
uint32_t cbpi_link_look(struct cbpi_link *link);

/* Whether it is there, but a signal or a debugger has stopped it. Any thread. */
uint32_t cbpi_link_is_stopped(const struct cbpi_link *link);

/* request_mutex is held by the caller of these two. The second waits for one message of the size of a reply
 * until the time of the monotonic clock, or until it sees that the helper is stopped: CBP_ERROR_TIMEOUT.
 * Both: CBP_ERROR_BROKEN_PIPE if the helper has
 * gone. */
uint32_t cbpi_link_send(struct cbpi_link *link, const struct cbp_message_header *request, const int *fds,
                        uint32_t fd_count);
uint32_t cbpi_link_receive(struct cbpi_link *link, uint64_t deadline_ns, struct cbp_reply *reply);

#endif
