/* The drivers of a Windows build, the default one first. */
#include "debug_link.h"
#include "simulated.h"
#include "transport.h"

const struct cbpi_transport_ops *const cbpi_transports[] = {&cbpi_debug_transport, &cbpi_simulated_transport,
                                                            NULL};
