/* The library as a whole: what happens when it is loaded and when its process forks, and the calls that need
 * no session. */
#include "cbp_rules.h"
#include "core.h"

#include <stdlib.h>
#include <string.h>

static void after_fork(void)
{
    cbpi_deferrals_forget();
    for (const struct cbpi_transport_ops *const *ops = cbpi_transports; *ops; ops++)
        (*ops)->forget_after_fork();
}

CBP_ON_LOAD(load)
{
    cbpi_deferrals_init();
    for (const struct cbpi_transport_ops *const *ops = cbpi_transports; *ops; ops++)
        (*ops)->load();
    cbpi_on_fork_child(after_fork);
}

const char *cbp_version(void)
{
    return CBP_VERSION;
}

uint32_t cbp_message_validate(const void *message, uint64_t size, uint32_t type)
{
    const void *aligned = message;
    void *copy = NULL;
    if (((uintptr_t) message & 7u) != 0) {
        copy = malloc((size_t) size + 1);
        if (!copy)
            return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a message");
        aligned = memcpy(copy, message, (size_t) size);
    }
    uint32_t error = aligned ? cbp_message_check(aligned, (size_t) size, type) : CBP_ERROR_INVALID_DATA;
    free(copy);
    return error ? cbpi_fail(error, "not a well-formed message of type %u", type) : 0;
}

uint32_t cbp_pattern_match(const char *pattern, uint64_t pattern_size, const char *name, uint64_t name_size,
                           uint32_t *matches)
{
    if (!pattern || pattern_size == 0 || pattern_size > CBP_PATTERN_SIZE_MAX)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "a pattern has 1 to %u bytes",
                         (unsigned) CBP_PATTERN_SIZE_MAX);
    if (memchr(pattern, 0, (size_t) pattern_size))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "a pattern has no NUL");
    if (!matches || (!name && name_size != 0))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "name and matches must not be NULL");
    *matches = cbp_name_matches(pattern, (size_t) pattern_size, name, (size_t) name_size) != 0;
    return 0;
}
