/* Offers the launches of the ptrace driver, by the launcher program. */
#ifndef CBPI_PTRACE_LAUNCH_H
#define CBPI_PTRACE_LAUNCH_H

#include "launch.h"

extern const struct cbpi_launch_ops cbpi_ptrace_launch_ops;

#endif
