/* Declares the mount calls of Linux 5.2, which some C libraries do not have yet. A mount that is made with
 * them stands in no folder, so nobody but the owner of its descriptor can reach it. */
#ifndef CBPD_NEW_MOUNT_H
#define CBPD_NEW_MOUNT_H

#include <stddef.h>

struct mount_option {
    const char *name;
    const char *value; /* NULL: a flag */
};

/* Gives a descriptor of the new mount's root folder, or -1 with errno. */
int cbpd_mount_unseen(const char *type, const struct mount_option *options, size_t option_count);

#endif
