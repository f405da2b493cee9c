/* See proc_state.h. */
#include "proc_state.h"

#include <dirent.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

const char *cbpi_proc_obstacle(void)
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

uint32_t cbpi_proc_living_thread(uint32_t process_id)
{
    char path[64], target[1];
    snprintf(path, sizeof path, "/proc/%u/task", (unsigned) process_id);
    DIR *folder = opendir(path);
    const struct dirent *entry;
    uint32_t found = 0;
    while (found == 0 && folder && (entry = readdir(folder)) != NULL) {
        uint32_t thread_id = (uint32_t) strtoul(entry->d_name, NULL, 10);
        snprintf(path, sizeof path, "/proc/%u/task/%u/exe", (unsigned) process_id, (unsigned) thread_id);
        if (thread_id != 0 && readlink(path, target, sizeof target) > 0)
            found = thread_id;
    }
    if (folder)
        closedir(folder);
    return found;
}
