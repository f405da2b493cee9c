/* Implements bpf_map.h. */
#include "bpf_map.h"

#include <linux/bpf.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static union bpf_attr element(int map, const void *key, const void *value, uint64_t flags)
{
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.map_fd = (uint32_t) map;
    attributes.key = (uintptr_t) key;
    attributes.value = (uintptr_t) value;
    attributes.flags = flags;
    return attributes;
}

bool cbpi_map_read(int map, const void *key, void *value)
{
    union bpf_attr attributes = element(map, key, value, 0);
    return syscall(SYS_bpf, BPF_MAP_LOOKUP_ELEM, &attributes, sizeof attributes) == 0;
}

bool cbpi_map_write(int map, const void *key, const void *value, enum cbpi_map_write how)
{
    union bpf_attr attributes = element(map, key, value, how);
    return syscall(SYS_bpf, BPF_MAP_UPDATE_ELEM, &attributes, sizeof attributes) == 0;
}
