/* Declares the channel of a launch on Windows, where the caller's own thread creates the process for the
 * helper. */
#ifndef CBPI_LAUNCH_TYPES_H
#define CBPI_LAUNCH_TYPES_H

#include <stdbool.h>

struct cbp_launch_result;

/* These are handles, NULL where there is none. */
struct cbpi_launch_channel {
    void *debug_object;               /* the helper's, while the caller's thread creates processes for it */
    void *own_debug_object;           /* which that thread had before */
    bool is_counted;                  /* the helper counts it among the launches that go on */
    void *helper;                     /* the helper process */
    void *event;                      /* set once the result stands */
    struct cbp_launch_result *result; /* in memory shared with the helper */
};

/* Lets the calling thread, for drivers, create processes for that debug object until
 * cbpi_launch_channel_leave(). The handle becomes the channel's. */
void cbpi_launch_channel_enter(struct cbpi_launch_channel *channel, void *debug_object);

#endif
