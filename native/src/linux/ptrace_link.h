/* The one supervisor process of this controller process and the channel to it, shared by its active sessions.
 * Knows requests and descriptors; nothing of deliveries. */
#ifndef CBPI_PTRACE_LINK_H
#define CBPI_PTRACE_LINK_H

#include "cbp_channel.h"
#include "platform.h"
#include "transport.h"
#include "tree_session.h"

struct cbpi_link {
    struct cbpi_link *next;   /* in the list of links, which guards the next two as well */
    uint32_t reference_count; /* sessions */
    uint32_t session_bits;    /* ids in use, or not safe to use again */
    struct cbp_channel *channel;
    int control_fd;
    int process_fd; /* a pidfd of the supervisor, -1 where there is none */
    uint32_t process_id;
    uint32_t is_dead; /* atomic: the supervisor has gone */
    struct cbpi_mutex request_mutex;
    uint64_t last_request_id; /* request_mutex */
};

extern const struct cbpi_transport_ops cbpi_ptrace_transport;

/* When the library is loaded; in the child of a fork. */
void cbpi_link_load(void);
void cbpi_link_forget_after_fork(void);

/* cbpi_link_request() with up to two descriptors. */
uint32_t cbpi_link_request_with(struct cbpi_link *link, struct cbp_message_header *request, const int *fds,
                                uint32_t fd_count, struct cbp_reply *reply);

#define CBPI_SUPERVISOR_NAME "cbprocess-supervisor"

/* Starts the supervisor with the three descriptors, as nobody's child: the caller's process gets no SIGCHLD
 * and no status for it. CBP_ERROR_FS_DRIVER_REQUIRED if the program cannot be executed; CBP_ERROR_
 * NO_SYSTEM_RESOURCES, TOO_MANY_OPEN_FILES and NOT_ENOUGH_MEMORY where a limit is reached. */
uint32_t cbpi_supervisor_start(int channel_fd, int control_fd, int controller_fd, uint32_t *process_id);

#endif
