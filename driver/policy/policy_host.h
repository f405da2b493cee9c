/* States what the policy needs from the program that it is linked into: a helper, the core, or a driver in a
 * kernel.
 *
 * The policy has no lock and no clock of its own. Its host serialises all calls about one policy and passes
 * the time where it counts. A kernel driver may call every function of this header and of policy.h at
 * PASSIVE_LEVEL or APC_LEVEL, none at DISPATCH_LEVEL, because names and rules lie in pageable memory. */
#ifndef CBPD_POLICY_HOST_H
#define CBPD_POLICY_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cbpd_image_file;

/* A host provides these functions and facts, which stay valid as long as the policy. */
struct cbpd_host {
    /* Gives memory that is all 0, or NULL if there is none. surely is true for what a running process depends
     * on: the host may have a reserve for it. */
    void *(*allocate)(size_t size, bool surely);
    void (*release)(void *memory); /* NULL: nothing */
    size_t process_size; /* size of the host's record of a process, which begins with struct cbpd_process */
    uint32_t name_comparison; /* CBP_COMPARE_: how this system compares names */
    /* Gives a name in the units of that comparison, valid until the next call. NULL: no rule matches it. The
     * host need not have this function: then the bytes of a name are its units. */
    const void *(*name_units)(void *context, const char *name, uint32_t size, size_t *count);
    void *context; /* the host's own, passed to name_units */
    /* Says whether the path leads the host, too, to this file: a process with a root or a mount namespace of
     * its own can give any path to any file. NULL: every path does. */
    bool (*path_leads_to_file)(const struct cbpd_image_file *file);
};

#endif
