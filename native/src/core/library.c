/* Serves the library as a whole: its load, forks of its process, and the calls that need no session. */
#include "cbp_pattern.h"
#include "cbp_wtf8.h"
#include "core.h"

#include <stdlib.h>
#include <string.h>

static void after_fork(void)
{
    cbpi_deferrals_forget();
    cbpi_drivers_forget();
}

CBP_ON_LOAD(load)
{
    cbpi_deferrals_init();
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
    uint32_t error = aligned ? cbpd_message_check(aligned, (size_t) size, type) : CBP_ERROR_INVALID_DATA;
    free(copy);
    return error ? cbpi_fail(error, "not a well-formed message of type %u", type) : 0;
}

/* A text that is not WTF-8 is in no name on Windows, and matches none. */
static uint32_t match_pattern(const char *pattern, size_t pattern_size, const char *name, size_t name_size,
                              uint32_t *matches)
{
    struct cbp_text wanted = {pattern, pattern_size, CBP_COMPARE_SYSTEM};
    struct cbp_text path = {name, name_size, CBP_COMPARE_SYSTEM};
    uint16_t *units = NULL;
    if (CBP_COMPARE_SYSTEM == CBP_COMPARE_UTF16) {
        units = malloc((pattern_size + name_size) * sizeof *units);
        if (!units)
            return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a name");
        wanted.units = units;
        wanted.size = cbpd_wtf8_decode(pattern, pattern_size, units);
        path.units = units + pattern_size;
        path.size = cbpd_wtf8_decode(name, name_size, units + pattern_size);
    }
    *matches = wanted.size != SIZE_MAX && path.size != SIZE_MAX && cbpd_pattern_matches_path(&wanted, &path);
    free(units);
    return 0;
}

uint32_t cbp_pattern_match(const char *pattern, uint64_t pattern_size, const char *name, uint64_t name_size,
                           uint32_t *matches)
{
    uint32_t error = cbpi_check_pattern(pattern, pattern_size);
    if (error != 0)
        return error;
    if (!matches || (!name && name_size != 0))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "name and matches must not be NULL");
    return match_pattern(pattern, (size_t) pattern_size, name, (size_t) name_size, matches);
}
