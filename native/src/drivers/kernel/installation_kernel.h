/* Installs the kernel driver for products, and tells what is installed. */
#ifndef CBPI_INSTALLATION_KERNEL_H
#define CBPI_INSTALLATION_KERNEL_H

#include "installation.h"

/* Says whether a driver is installed that a filter could load, for whichever product. */
bool cbpi_kernel_is_installed(void);

extern const struct cbpi_installation_ops cbpi_kernel_installation_ops;

#endif
