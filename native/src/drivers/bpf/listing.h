/* Lists the running processes for a snapshot by iterators in the kernel, without a session. Knows when that can
 * be done and when it is worth while. */
#ifndef CBPI_LISTING_H
#define CBPI_LISTING_H

#include "platform.h"

/* Is the driver's list_processes (transport.h). */
uint32_t cbpi_bpf_list_processes(bool with_arguments, bool is_asked_for, cbpi_process_visitor *visit,
                                 void *context);

/* Closes the iterators in the child of a fork, which may give up its rights. */
void cbpi_bpf_listing_forget(void);

#endif
