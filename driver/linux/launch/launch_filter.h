/* The seccomp filter under which what a supervised tree does stops before it happens. */
#ifndef CBP_LAUNCH_FILTER_H
#define CBP_LAUNCH_FILTER_H

#include "cbp_message.h"

/* Installs the filter for the calling process and all it will create, as the go-ahead's flags say. Without
 * CAP_SYS_ADMIN it sets no_new_privs first, as the kernel demands. Gives 0 or an errno. */
int cbpd_install_launch_filter(const struct cbp_launch_go *go);

#endif
