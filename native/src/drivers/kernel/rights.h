/* Says what this process may do. */
#ifndef CBPI_KERNEL_RIGHTS_H
#define CBPI_KERNEL_RIGHTS_H

#include <stdbool.h>

/* Says whether the calling thread acts for an administrator, with those rights in effect. Such a process can
 * install the driver, and open its device. */
bool cbpi_kernel_is_administrator(void);

#endif
