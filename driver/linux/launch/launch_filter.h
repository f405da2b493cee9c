/* Offers the seccomp filter by which a supervised tree's operations stop before they happen. */
#ifndef CBP_LAUNCH_FILTER_H
#define CBP_LAUNCH_FILTER_H

#include "cbp_message.h"

/* Installs the filter for the calling process and all that it creates, with the parts in the go-ahead's
 * flags. Without CAP_SYS_ADMIN it first sets no_new_privs, as the kernel demands. Gives 0 or an errno. */
int cbpd_install_launch_filter(const struct cbp_launch_go *go);

#endif
