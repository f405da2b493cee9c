/* Reads what programs tell of a file from its inode. Knows no paths and no tasks. */
#ifndef CBP_INODES_H
#define CBP_INODES_H

#include "kernel.h"

/* Gives a device number as stat(2) does. Source: Linux, include/linux/kdev_t.h. */
INLINE uint64_t device_of(uint32_t kernel_device)
{
    uint32_t major = kernel_device >> 20, minor = kernel_device & 0xfffffu;
    return (minor & 0xffu) | (major << 8) | ((minor & ~0xffu) << 12);
}

INLINE uint64_t nanoseconds(const struct timespec64 *time)
{
    return (uint64_t) time->tv_sec * 1000000000u + (uint64_t) time->tv_nsec;
}

/* The highest bit of the nanoseconds says whether anybody has asked for them. */
#define CHANGE_TIME_MASK 0x7fffffffu

INLINE uint64_t change_time_of(struct inode *inode)
{
    struct timespec64 time = {.tv_sec = 0};
    struct inode___6_6 *inode_6_6 = (void *) inode;
    struct inode___5_8 *inode_5_8 = (void *) inode;
    if (HAS_MEMBER(inode->i_ctime_sec)) {
        time.tv_sec = READ(inode->i_ctime_sec);
        time.tv_nsec = READ(inode->i_ctime_nsec) & CHANGE_TIME_MASK;
    } else if (HAS_MEMBER(inode_6_6->__i_ctime)) {
        bpf_probe_read_kernel(&time, sizeof time, &inode_6_6->__i_ctime);
    } else {
        bpf_probe_read_kernel(&time, sizeof time, &inode_5_8->i_ctime);
    }
    return nanoseconds(&time);
}

#endif
