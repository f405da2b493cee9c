/* Reads one of the processes that the walk of platform.h visits. Knows /proc; no drivers. */
#ifndef CBPI_PROCESS_LIST_H
#define CBPI_PROCESS_LIST_H

#include "platform.h"

/* Visits that process, as cbpi_processes_visit() would; not if it has gone. Gives the visit's error, or one of
 * cbp_snapshot_create(). */
uint32_t cbpi_process_visit(uint32_t process_id, uint32_t with_arguments, cbpi_process_visitor *visit,
                            void *context);

#endif
