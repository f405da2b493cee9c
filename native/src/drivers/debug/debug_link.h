/* Offers the link to the debug driver's helper, and what transport_debug.c needs besides link.h. Knows
 * nothing of deliveries. */
#ifndef CBPI_DEBUG_LINK_H
#define CBPI_DEBUG_LINK_H

#include "link.h"

struct cbp_debug_control;

/* A link has a section, a handle of the controller, the events for answers, requests and replies, then the
 * sessions' bells. */
#define CBPI_DEBUG_HANDLES_MAX 32u

struct cbpi_debug_link {
    struct cbpi_link base;
    void *handles
        [CBPI_DEBUG_HANDLES_MAX]; /* ours, NULL where there is none; the control block has the helper's */
    void *process;
    struct cbp_debug_control *control; /* behind the channel; it names the events and semaphores */
};

extern const struct cbpi_link_ops cbpi_debug_link_ops;

/* Gives a process a copy of a handle: the copy's number, 0 if that cannot be done. */
uint64_t cbpi_debug_give(void *process, void *handle);

/* Makes a section of that size and maps it; *memory is the caller's to unmap. NULL: GetLastError() says why
 * not. */
void *cbpi_debug_make_section(uint64_t size, void **memory);

/* Says whether the helper's program lies beside the library. */
bool cbpi_debug_helper_is_there(void);

#endif
