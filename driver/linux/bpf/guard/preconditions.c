/* Says whether this kernel and this process can run the driver, and what the kernel offers. Knows nothing of
 * programs and groups. */
#include "guard.h"

#include "new_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifndef CAP_PERFMON
#define CAP_PERFMON 38
#endif
#ifndef CAP_BPF
#define CAP_BPF 39
#endif

#define BTF_PATH "/sys/kernel/btf/vmlinux"
#define FIRST_PID_NAMESPACE 0xEFFFFFFCu /* its inode in every kernel */

enum { KERNEL_MAJOR = 5, KERNEL_MINOR = 8, BTF_SIZE_MAX = 256 * 1024 * 1024 };

bool cbpd_kernel_is(unsigned major, unsigned minor)
{
    struct utsname name;
    unsigned has_major = 0, has_minor = 0;
    if (uname(&name) != 0 || sscanf(name.release, "%u.%u", &has_major, &has_minor) != 2)
        return false;
    return has_major > major || (has_major == major && has_minor >= minor);
}

static bool has_capability(const struct __user_cap_data_struct *data, unsigned number)
{
    return (data[number / 32].effective >> (number % 32) & 1) != 0;
}

/* CAP_SYS_ADMIN includes the two others for the kernel. */
static uint32_t check_capabilities(struct guard *self)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, data) != 0)
        return cbpd_refuse_request_os(self, errno, "cannot read the capabilities");
    if (has_capability(data, CAP_SYS_ADMIN))
        return 0;
    return cbpd_refuse_request(self, CBP_ERROR_PRIVILEGE_NOT_HELD, "the driver needs %s%sCAP_SYS_ADMIN",
                               has_capability(data, CAP_BPF) ? "" : "CAP_BPF, ",
                               has_capability(data, CAP_PERFMON) ? "" : "CAP_PERFMON, ");
}

static uint32_t check_namespaces(struct guard *self)
{
    struct stat status;
    if (stat("/proc/self/ns/pid", &status) == 0 && status.st_ino != FIRST_PID_NAMESPACE)
        return cbpd_refuse_request(
            self, CBP_ERROR_NOT_SUPPORTED,
            "the driver needs the machine's first PID namespace: this is a container's");
    return 0;
}

uint32_t cbpd_check_machine(struct guard *self)
{
    uint32_t result = 0;
    if (!cbpd_kernel_is(KERNEL_MAJOR, KERNEL_MINOR))
        return cbpd_refuse_request(self, CBP_ERROR_NOT_SUPPORTED, "the driver needs Linux %d.%d",
                                   KERNEL_MAJOR, KERNEL_MINOR);
    result = check_capabilities(self);
    if (result == 0)
        result = check_namespaces(self);
    if (result == 0 && access(BTF_PATH, R_OK) != 0)
        result = cbpd_refuse_request(self, CBP_ERROR_NOT_SUPPORTED,
                                     "the kernel has no description of its types (%s: %s)", BTF_PATH,
                                     strerror(errno));
    return result;
}

/* Reads the whole file, with a NUL behind. */
static char *read_whole(int file, size_t *size)
{
    size_t room = 1 << 20, used = 0;
    char *text = malloc(room);
    while (text) {
        ssize_t got = read(file, text + used, room - used - 1);
        if (got < 0 || used >= BTF_SIZE_MAX) {
            free(text);
            return NULL;
        }
        if (got == 0)
            break;
        used += (size_t) got;
        if (room - used < 2) {
            char *larger = realloc(text, room * 2);
            if (!larger)
                free(text);
            text = larger;
            room *= 2;
        }
    }
    if (text)
        text[used] = 0;
    *size = used;
    return text;
}

bool cbpd_kernel_has_type(const char *name)
{
    size_t size = 0;
    int file = open(BTF_PATH, O_RDONLY | O_CLOEXEC);
    char *btf = file < 0 ? NULL : read_whole(file, &size);
    /* Names stand in it one after the other, each with its NUL; the first one is empty. */
    bool found = false;
    for (char *at = btf; at && !found; at++) {
        at = memmem(at, size - (size_t) (at - btf), name, strlen(name) + 1);
        if (!at)
            break;
        found = at > btf && at[-1] == 0;
    }
    free(btf);
    if (file >= 0)
        close(file);
    return found;
}

bool cbpd_bpf_lsm_is_active(void)
{
    char list[512];
    ssize_t size = -1;
    int mount = cbpd_mount_unseen("securityfs", NULL, 0);
    int file = mount < 0 ? -1 : openat(mount, "lsm", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        size = read(file, list, sizeof list - 1);
        close(file);
    }
    if (mount >= 0)
        close(mount);
    if (size <= 0)
        return false;
    list[size] = 0;
    char *rest = list;
    for (char *name; (name = strsep(&rest, ",\n"));)
        if (strcmp(name, "bpf") == 0)
            return true;
    return false;
}
