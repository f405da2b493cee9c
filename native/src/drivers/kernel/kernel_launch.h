/* Offers the launches of the kernel driver, by the caller. */
#ifndef CBPI_KERNEL_LAUNCH_H
#define CBPI_KERNEL_LAUNCH_H

#include "launch.h"

extern const struct cbpi_launch_ops cbpi_kernel_launch_ops;

#endif
