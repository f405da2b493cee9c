/* See launch_scope.h. Nothing else is restricted: no file, no port. Source: landlock(7). */
#include "launch_scope.h"

#include <errno.h>
#include <stdint.h>
#include <sys/prctl.h>

#include "launch_system.h"

/* Of the kernel's interface; younger than the headers that this is built with. */
enum { CREATE_RULESET = 444, RESTRICT_SELF = 446, SCOPE_SIGNAL = 2 };

struct ruleset_attributes {
    uint64_t handled_access_files;
    uint64_t handled_access_network;
    uint64_t scoped;
};

int scope_signals(void)
{
    const struct ruleset_attributes attributes = {.scoped = SCOPE_SIGNAL};
    long ruleset = call_system(CREATE_RULESET, address_of(&attributes), sizeof attributes, 0, 0, 0, 0);
    if (ruleset < 0)
        return (int) -ruleset;
    long result = call_system(RESTRICT_SELF, ruleset, 0, 0, 0, 0, 0);
    /* Without CAP_SYS_ADMIN the kernel demands it, as for a filter. */
    if (result == -EPERM && call_system(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0) == 0)
        result = call_system(RESTRICT_SELF, ruleset, 0, 0, 0, 0, 0);
    (void) call_system(SYS_close, ruleset, 0, 0, 0, 0, 0);
    return (int) -result;
}
