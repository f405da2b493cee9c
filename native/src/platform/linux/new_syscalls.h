/* Defines numbers of system calls that are younger than some C library headers; they are equal on every
 * architecture here. A call shows whether the running kernel has it. */
#ifndef CBPI_NEW_SYSCALLS_H
#define CBPI_NEW_SYSCALLS_H

#include <sys/syscall.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#endif
