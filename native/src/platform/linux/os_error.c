/* Implements os_error.h. */
#define _GNU_SOURCE
#include "os_error.h"

#include "errors.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

/* Names the limits of processes. The kernel gives one errno for all of them; if the user has none, it is
 * another one's. */
static uint32_t fail_processes(const char *what)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    getrlimit(RLIMIT_NPROC, &limit);
    char own[64] = "";
    if (limit.rlim_cur != RLIM_INFINITY)
        snprintf(own, sizeof own, "RLIMIT_NPROC (%llu for this user), ", (unsigned long long) limit.rlim_cur);
    return cbpi_fail(CBP_ERROR_NO_SYSTEM_RESOURCES,
                     "%s: a limit of processes and threads is reached: %spids.max of the control group or "
                     "kernel.threads-max",
                     what, own);
}

static uint32_t fail_descriptors(const char *what)
{
    struct rlimit limit = {0, 0};
    getrlimit(RLIMIT_NOFILE, &limit);
    return cbpi_fail(CBP_ERROR_TOO_MANY_OPEN_FILES,
                     "%s: a limit of file descriptors is reached: RLIMIT_NOFILE (%llu for this process)",
                     what, (unsigned long long) limit.rlim_cur);
}

uint32_t cbpi_fail_os(int os_error, const char *what)
{
    switch (os_error) {
    case EMFILE:
        return fail_descriptors(what);
    case ENFILE:
        return cbpi_fail(CBP_ERROR_TOO_MANY_OPEN_FILES,
                         "%s: a limit of file descriptors is reached: fs.file-max (for the whole system)",
                         what);
    case EAGAIN:
        return fail_processes(what);
    case ENOMEM:
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "%s: %s", what, strerror(os_error));
    default:
        return cbpi_fail(CBP_ERROR_GEN_FAILURE, "%s: %s", what, strerror(os_error));
    }
}
