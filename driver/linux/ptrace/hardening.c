/* What the supervisor does against programs of its own user before it serves anybody: nobody but root reads
 * its memory, opens its descriptors or traces it, and the limits of whoever started the controller are not
 * its own. Knows nothing of tasks. */
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "supervisor.h"

enum { DESCRIPTORS_MAX = 1 << 20 }; /* what the kernel allows unless told otherwise */

/* Up to the hard limit; above it if we may (CAP_SYS_RESOURCE). */
static void raise_limit(int resource)
{
    const rlim_t most = resource == RLIMIT_NOFILE ? DESCRIPTORS_MAX : RLIM_INFINITY;
    struct rlimit limit;
    if (getrlimit(resource, &limit) != 0)
        return;
    struct rlimit higher = {most, most}, allowed = {limit.rlim_max, limit.rlim_max};
    if (limit.rlim_max >= most || setrlimit(resource, &higher) != 0)
        (void) setrlimit(resource, &allowed);
}

void harden(void)
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
