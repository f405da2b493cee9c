/* Implements proc_state.h. */
#include "proc_state.h"

#include <linux/magic.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

const char *cbpd_proc_obstacle(void)
{
    struct statfs system;
    char self[16] = "";
    if (statfs("/proc", &system) != 0 || system.f_type != PROC_SUPER_MAGIC)
        return "/proc is not mounted; `mount -t proc proc /proc` does it, as root of this namespace";
    ssize_t size = readlink("/proc/self", self, sizeof self - 1);
    if (size <= 0 || strtol(self, NULL, 10) != getpid())
        return "/proc belongs to another PID namespace, so its ids are other processes' here; `unshare` has "
               "--mount-proc for it";
    return NULL;
}
