/* The ends of the link to the debug helper on Windows: handles, NULL where there is none. */
#ifndef CBPI_LINK_TYPES_H
#define CBPI_LINK_TYPES_H

struct cbp_debug_control;

/* Section, controller, the events for answers, requests and replies, then the sessions' bells. */
#define CBPI_LINK_HANDLES_MAX 32u

struct cbpi_link_ends {
    void *handles[CBPI_LINK_HANDLES_MAX]; /* ours; the control block has the helper's */
    void *process;
    struct cbp_debug_control *control; /* behind the channel; it names the events and semaphores */
};

#endif
