/* Lists the system calls by which a task executes, or operates on other tasks, with their numbers. It is for every
 * program here, also for BPF, and includes nothing. Source: the kernel's syscall tables. */
#ifndef CBP_SYSCALL_LIST_H
#define CBP_SYSCALL_LIST_H

enum { X32_SYSCALL_BIT = 0x40000000 };

/* Entries are X(kind, filter's part with it, number on x86-64, x32, i386, AArch64, 32-bit Arm). Executions
 * come first, because the filter is asked about them most. */
#define WATCHED_SYSCALL_LIST(X)                                                                              \
    X(EXECVE, EXECUTIONS, 59, 520, 11, 221, 11)                                                              \
    X(EXECVEAT, EXECUTIONS, 322, 545, 358, 281, 387)                                                         \
    X(SECCOMP, FILTER, 317, 317, 354, 277, 383)                                                              \
    X(CLONE, FILTER, 56, 56, 120, 220, 120)                                                                  \
    X(CLONE3, FILTER, 435, 435, 435, 435, 435)                                                               \
    X(PTRACE, FILTER, 101, 521, 26, 117, 26)                                                                 \
    X(KILL, HANDLES, 62, 62, 37, 129, 37)                                                                    \
    X(TKILL, HANDLES, 200, 200, 238, 130, 238)                                                               \
    X(TGKILL, HANDLES, 234, 234, 270, 131, 268)                                                              \
    X(RT_SIGQUEUEINFO, HANDLES, 129, 524, 178, 138, 178)                                                     \
    X(RT_TGSIGQUEUEINFO, HANDLES, 297, 536, 335, 240, 363)                                                   \
    X(PIDFD_SEND_SIGNAL, HANDLES, 424, 424, 424, 424, 424)                                                   \
    X(PIDFD_OPEN, HANDLES, 434, 434, 434, 434, 434)                                                          \
    X(PIDFD_GETFD, HANDLES, 438, 438, 438, 438, 438)                                                         \
    X(PROCESS_VM_READV, HANDLES, 310, 539, 347, 270, 376)                                                    \
    X(PROCESS_VM_WRITEV, HANDLES, 311, 540, 348, 271, 377)                                                   \
    X(PROCESS_MADVISE, HANDLES, 440, 440, 440, 440, 440)                                                     \
    X(PROCESS_MRELEASE, HANDLES, 448, 448, 448, 448, 448)                                                    \
    X(PRLIMIT64, HANDLES, 302, 302, 340, 261, 369)                                                           \
    X(SETPRIORITY, HANDLES, 141, 141, 97, 140, 97)                                                           \
    X(IOPRIO_SET, HANDLES, 251, 251, 289, 30, 314)                                                           \
    X(SCHED_SETAFFINITY, HANDLES, 203, 203, 241, 122, 241)                                                   \
    X(SCHED_SETPARAM, HANDLES, 142, 142, 154, 118, 154)                                                      \
    X(SCHED_SETSCHEDULER, HANDLES, 144, 144, 156, 119, 156)                                                  \
    X(SCHED_SETATTR, HANDLES, 314, 314, 351, 274, 380)                                                       \
    X(FCNTL, HANDLES, 72, 72, 55, 25, 55)                                                                    \
    X(FCNTL64, HANDLES, 72, 72, 221, 25, 221)                                                                \
    X(IOCTL, HANDLES, 16, 514, 54, 29, 54)                                                                   \
    X(PERF_EVENT_OPEN, HANDLES, 298, 298, 336, 241, 364)                                                     \
    X(MOVE_PAGES, HANDLES, 279, 533, 317, 239, 344)                                                          \
    X(MIGRATE_PAGES, HANDLES, 256, 256, 294, 238, 400)                                                       \
    X(KCMP, HANDLES, 312, 312, 349, 272, 378)                                                                \
    X(GET_ROBUST_LIST, HANDLES, 274, 531, 312, 100, 339)                                                     \
    X(PRCTL, HANDLES, 157, 157, 172, 167, 172)                                                               \
    X(KEYCTL, FILTER, 250, 250, 288, 219, 311)                                                               \
    X(CHROOT, EXECUTIONS, 161, 161, 61, 51, 61)                                                              \
    X(PIVOT_ROOT, EXECUTIONS, 155, 155, 217, 41, 218)                                                        \
    X(UNSHARE, EXECUTIONS, 272, 272, 310, 97, 337)                                                           \
    X(SETNS, EXECUTIONS, 308, 308, 346, 268, 375)

#endif
