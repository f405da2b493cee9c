/* Protects the helper from programs of its own user before it serves any task: only root can read its memory,
 * open its descriptors or trace it. It also drops the limits that the controller was started with. */
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tracer.h"

enum { DESCRIPTORS_MAX = 1 << 20 }; /* the kernel allows this many by default */

/* Sets a limit by its own system call, because the C library has its own type for resources. */
static bool set_limit(int resource, const struct rlimit *limit, struct rlimit *before)
{
    return syscall(SYS_prlimit64, 0, resource, limit, before) == 0;
}

/* Raises a limit to the hard one, or above that with CAP_SYS_RESOURCE. */
static void raise_limit(int resource)
{
    const rlim_t most = resource == RLIMIT_NOFILE ? DESCRIPTORS_MAX : RLIM_INFINITY;
    struct rlimit limit;
    if (!set_limit(resource, NULL, &limit))
        return;
    struct rlimit higher = {most, most}, allowed = {limit.rlim_max, limit.rlim_max};
    if (limit.rlim_max >= most || !set_limit(resource, &higher, NULL))
        (void) set_limit(resource, &allowed, NULL);
}

void cbpd_harden(void)
{
    /* With too little memory, descriptors or time the helper could not keep a rule. A file size limit would
     * end it when it writes to its standard error. */
    static const int limits[] = {RLIMIT_AS,    RLIMIT_CPU,    RLIMIT_DATA,
                                 RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_STACK};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        raise_limit(limits[i]);
    sigaction(SIGXCPU, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
}
