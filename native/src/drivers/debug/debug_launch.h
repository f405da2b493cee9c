/* Offers the launches of the debug driver, by the caller. */
#ifndef CBPI_DEBUG_LAUNCH_H
#define CBPI_DEBUG_LAUNCH_H

#include "launch.h"

extern const struct cbpi_launch_ops cbpi_debug_launch_ops;

#endif
