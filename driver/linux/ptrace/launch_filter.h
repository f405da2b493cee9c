/* The seccomp filter under which a supervised tree's executions stop before they happen. */
#ifndef CBP_LAUNCH_FILTER_H
#define CBP_LAUNCH_FILTER_H

#include <stdbool.h>

/* Installs the filter for the calling process and all it will create. Without CAP_SYS_ADMIN it sets
 * no_new_privs first, as the kernel demands. Gives false with errno set. */
bool install_launch_filter(void);

#endif
