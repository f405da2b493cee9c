/* How the core and the debug helper speak besides the channel: one section without a name that holds the
 * channel and behind it this. The core creates it with everything in it, and copies it and the objects named
 * here into the helper, which has not run yet; the values are the helper's. The section's own is the helper's
 * only argument.
 * Knows no OS call.
 *
 * One request at a time: the core writes it, sets the request event and waits for the reply event. */
#ifndef CBP_DEBUG_CONTROL_H
#define CBP_DEBUG_CONTROL_H

#include "cbp_channel.h"

#define CBP_DEBUG_REQUEST_SIZE_MAX 65536u
#define CBP_DEBUG_HELPER_NAME "cbprocess-debug.exe"

struct cbp_debug_control {
    uint64_t controller_handle;      /* the core's process, to wait for */
    uint64_t answer_event;           /* the answer bell: wakes the helper */
    uint64_t request_event;          /* a request stands here, or is_closing is set */
    uint64_t reply_event;            /* the reply stands here */
    uint64_t bells[CBP_SESSION_MAX]; /* semaphores that the sessions' workers sleep on */
    uint64_t debug_object;           /* the helper's, a handle of its own; written before its first reply */
    uint32_t is_closing;             /* atomic: the core has done with this helper */
    uint32_t request_size;
    uint32_t launch_count; /* atomic: launches that have been begun and not claimed yet */
    uint32_t reserved;
    struct cbp_reply reply;
    unsigned char request[CBP_DEBUG_REQUEST_SIZE_MAX];
};

#define CBP_DEBUG_CONTROL_OFFSET ((CBP_CHANNEL_SIZE + 4095u) & ~(uint64_t) 4095u)
#define CBP_DEBUG_SECTION_SIZE (CBP_DEBUG_CONTROL_OFFSET + sizeof(struct cbp_debug_control))

#endif
