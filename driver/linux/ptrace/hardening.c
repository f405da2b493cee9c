/* What the helper does against programs of its own user before it serves anybody: nobody but root reads
 * its memory, opens its descriptors or traces it, and the limits of whoever started the controller are not
 * its own. Knows nothing of tasks. */
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tracer.h"

enum { DESCRIPTORS_MAX = 1 << 20 }; /* what the kernel allows unless told otherwise */

/* By a call of its own: in the C library's, a resource's type is the library's. */
static bool set_limit(int resource, const struct rlimit *limit, struct rlimit *before)
{
    return syscall(SYS_prlimit64, 0, resource, limit, before) == 0;
}

/* Up to the hard limit; above it if we may (CAP_SYS_RESOURCE). */
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
    /* Without memory, descriptors or time it could not keep a rule; a file size limit would end it when it
     * writes to its standard error. */
    static const int limits[] = {RLIMIT_AS,    RLIMIT_CPU,    RLIMIT_DATA,
                                 RLIMIT_FSIZE, RLIMIT_NOFILE, RLIMIT_STACK};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        raise_limit(limits[i]);
    sigaction(SIGXCPU, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
}
