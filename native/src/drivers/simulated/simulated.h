/* The simulated driver: transport.h inside the core, for scripts and recordings. */
#ifndef CBPI_SIMULATED_H
#define CBPI_SIMULATED_H

#include "transport.h"

extern const struct cbpi_transport_ops cbpi_simulated_transport;

#endif
