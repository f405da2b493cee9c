/* Numbers of system calls that are younger than some C library headers; the same on every architecture here.
 * Whether the running kernel has the call shows when it is made. */
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
