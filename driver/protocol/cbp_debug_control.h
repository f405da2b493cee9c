/* Defines how the core and the debug helper speak besides the channel: one section without a name holds the
 * channel and then this structure. The core creates it with all its contents and copies it, and the objects
 * named here, into the helper, which has not run yet; the values are the helper's handles. The helper's own
 * handle of the section is its only argument. Knows no OS call.
 *
 * The core writes one request at a time, sets the request event and waits for the reply event. */
#ifndef CBP_DEBUG_CONTROL_H
#define CBP_DEBUG_CONTROL_H

#include "cbp_channel.h"

#define CBP_DEBUG_REQUEST_SIZE_MAX 65536u
#define CBP_DEBUG_HELPER_NAME "cbprocess-debug.exe"

struct cbp_debug_control {
    uint64_t controller_handle;      /* the core's process: its end is waited for */
    uint64_t answer_event;           /* the answer bell: wakes the helper */
    uint64_t request_event;          /* set: a request is here, or is_closing is set */
    uint64_t reply_event;            /* set: the reply is here */
    uint64_t bells[CBP_SESSION_MAX]; /* semaphores on which the sessions' workers sleep */
    uint64_t debug_object;           /* a handle that the helper made; written before its first reply */
    uint32_t is_closing;             /* atomic; the core does not need this helper any more */
    uint32_t request_size;
    uint32_t launch_count; /* atomic; launches that have begun and are not claimed yet */
    uint32_t reserved;
    struct cbp_reply reply;
    unsigned char request[CBP_DEBUG_REQUEST_SIZE_MAX];
};

#define CBP_DEBUG_CONTROL_OFFSET ((CBP_CHANNEL_SIZE + 4095u) & ~(uint64_t) 4095u)
#define CBP_DEBUG_SECTION_SIZE (CBP_DEBUG_CONTROL_OFFSET + sizeof(struct cbp_debug_control))

#endif
