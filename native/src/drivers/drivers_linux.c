/* The drivers of a Linux build, the default one first. */
#include "ptrace_link.h"
#include "simulated.h"
#include "transport.h"

const struct cbpi_transport_ops *const cbpi_transports[] = {&cbpi_ptrace_transport, &cbpi_simulated_transport,
                                                            NULL};
