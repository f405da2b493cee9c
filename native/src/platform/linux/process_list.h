/* Reads one of the processes that the walk of platform.h visits. Knows /proc; no drivers. */
#ifndef CBPI_PROCESS_LIST_H
#define CBPI_PROCESS_LIST_H

#include "platform.h"
#include "proc_files.h"

#include <limits.h>

/* Belongs to one thread. All is 0 at first but proc and with_arguments; arguments are freed by the owner. */
struct cbpi_process_reader {
    int proc; /* a descriptor of /proc, or AT_FDCWD */
    uint32_t with_arguments;
    char path[PATH_MAX];
    char stat[STAT_SIZE_MAX];
    char *arguments;
    uint64_t arguments_capacity;
};

/* Reads the process facts->process_id as one: if its id belongs to another process by the end, it is read
 * again. Its texts stay valid until the next read. CBP_ERROR_NOT_FOUND if it has gone, or one of
 * cbp_snapshot_create(). */
uint32_t cbpi_process_read(struct cbpi_process_reader *reader, struct cbpi_process_facts *facts);

/* Visits that process, as cbpi_processes_visit() would; not if it has gone. Gives the visit's error, or one of
 * cbp_snapshot_create(). */
uint32_t cbpi_process_visit(uint32_t process_id, uint32_t with_arguments, cbpi_process_visitor *visit,
                            void *context);

#endif
