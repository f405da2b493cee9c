/* Looks at a thread that waits in an execution, and at the file that it has opened: registers, ids, the given
 * name, the beginning of the argument list. One thread at a time. Knows nothing of rules and decisions. */
#ifndef CBPI_LOOKS_H
#define CBPI_LOOKS_H

#include "cbp_machine.h"

#include <stdbool.h>

struct cbpi_looks {
    int program;                     /* the BPF program "look"; -1: there is none, and /proc is asked */
    struct cbp_machine_look *memory; /* of its map, or of malloc */
};

/* Maps the map. Without a program (-1) or if that cannot be had, /proc is asked. False: no memory. */
bool cbpi_looks_open(struct cbpi_looks *looks, int program, int map);
void cbpi_looks_close(struct cbpi_looks *looks);

/* Looks at a thread and a file of this process (-1: none). NULL: the thread is gone, or cannot be looked at. The
 * result is valid until the next look. */
const struct cbp_machine_look *cbpi_look(struct cbpi_looks *looks, uint32_t thread_id, int descriptor);

#endif
