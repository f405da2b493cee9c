/* The ends of the link to the debug helper on Windows: handles, NULL where there is none. */
#ifndef CBPI_LINK_TYPES_H
#define CBPI_LINK_TYPES_H

struct cbp_debug_control;

struct cbpi_link_ends {
    void *section;
    void *process;
    struct cbp_debug_control *control; /* behind the channel; it names the events and semaphores */
};

#endif
