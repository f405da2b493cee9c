/* Declares what a driver keeps beside a worker of the core while that handles a delivery: the deliveries that
 * wait for their turn. The core gives the memory, all 0 at first, and knows nothing of it. */
#ifndef CBPI_TURN_H
#define CBPI_TURN_H

#include <stdbool.h>
#include <stdint.h>

/* A queue has slots one behind the other: numbers plus 1, 0 for none. */
struct cbpi_turn_queue {
    uint32_t first, last;
};

/* A worker handles this. It belongs to the worker, and is zero at first. */
struct cbpi_turn {
    struct cbpi_turn *next;
    struct cbpi_turn_queue waiting; /* what follows */
    bool is_on;
    uint32_t slot;
    bool is_held;    /* a task waits for its answer, or did */
    bool is_whole;   /* it is about the process as a whole */
    bool has_whole;  /* a delivery that waits is about the process as a whole, too */
    bool is_of_none; /* nothing follows it */
    uint32_t process_id, thread_id;
};

#endif
