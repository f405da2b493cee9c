/* Is the seam between drivers/helper and the way by which a driver reaches its helper: a process, or a driver
 * of the kernel. Passes requests, their replies, and wake-ups, but knows no session and no delivery.
 *
 * A link has one base, which each driver's own structure begins with. A driver of the kernel takes the
 * helper's place, and has no process id. One thread at a time is in send,
 * send_rules and receive; any thread calls the rest. */
#ifndef CBPI_LINK_H
#define CBPI_LINK_H

#include "platform.h"

struct cbp_channel;
struct cbp_message_header;
struct cbp_reply;
struct cbp_rules;

struct cbpi_link {
    const struct cbpi_link_ops *ops;
    uint32_t process_id;         /* of the helper; 0: a driver of the kernel is in its place */
    struct cbp_channel *channel; /* memory that is shared with it; NULL where deliveries come another way */

    /* The rest belongs to helper_link.c. */
    uint32_t is_dead;         /* atomic: the helper has gone */
    struct cbpi_link *next;   /* in the list of links, whose mutex guards the next two as well */
    uint32_t reference_count; /* sessions */
    uint32_t session_bits;    /* ids in use, or not safe to use again */
    struct cbpi_mutex request_mutex;
    uint64_t last_request_id; /* request_mutex */
};

enum cbpi_link_state {
    CBPI_LINK_RUNS,
    CBPI_LINK_STOPPED, /* by a signal or a debugger */
    CBPI_LINK_GONE,
};

/* A parcel goes beside a request. It is the driver's own, and may have descriptors. */
struct cbpi_link_parcel;

/* bell_wake takes this in place of a session's number for the helper itself. */
#define CBPI_BELL_OF_HELPER UINT32_MAX

struct cbpi_link_ops {
    bool is_for_one_session; /* else all active sessions of the driver share one link */

    /* Starts the helper and gives the link, in memory that shut frees. Error codes of cbp_session_start(). */
    uint32_t (*open)(struct cbpi_link **link);

    /* Ends the conversation and frees what open has made. */
    void (*shut)(struct cbpi_link *link);

    /* Closes in the child of a fork what was inherited, without a word to the helper. NULL where no process
     * is a fork. */
    void (*abandon)(struct cbpi_link *link);

    enum cbpi_link_state (*look)(struct cbpi_link *link);

    /* Sends a request, and a parcel unless that is NULL. CBP_ERROR_BROKEN_PIPE: the helper has gone. */
    uint32_t (*send)(struct cbpi_link *link, const struct cbp_message_header *request,
                     const struct cbpi_link_parcel *parcel);

    /* Sends rules, whose block, of request->block_size bytes, goes beside the request. Errors as for send,
     * and CBP_ERROR_NOT_ENOUGH_MEMORY, CBP_ERROR_NO_SYSTEM_RESOURCES. */
    uint32_t (*send_rules)(struct cbpi_link *link, struct cbp_rules *request, const void *block);

    /* Waits for one message of the size of a reply until the time of the monotonic clock, or until it sees
     * that the helper is stopped: CBP_ERROR_TIMEOUT. CBP_ERROR_BROKEN_PIPE: the helper has gone. */
    uint32_t (*receive)(struct cbpi_link *link, uint64_t deadline_ns, struct cbp_reply *reply);

    /* Sleeps until a session's bell of cbp_channel.h is rung, or does not begin to if its word is not value
     * any more; only for links with a channel. Gives true if the bell was rung for this sleeper. UINT64_MAX:
     * no limit. May end early. */
    bool (*bell_wait)(struct cbpi_link *link, uint32_t session_id, uint32_t value, uint64_t timeout_ns);

    /* Wakes up to count of a session's sleepers, or the helper. */
    void (*bell_wake)(struct cbpi_link *link, uint32_t session_id, uint32_t count);
};

#endif
