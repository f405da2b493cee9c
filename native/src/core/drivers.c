/* The drivers by name. The list of those in this build is each platform's own (drivers_<platform>.c). */
#include "core.h"

#include <stdio.h>
#include <string.h>

const char *const cbpi_driver_names[CBPI_DRIVER_NAME_COUNT] = {"auto",      "ptrace", "bpf",
                                                               "simulated", "debug",  "kernel"};

const struct cbpi_transport_ops *cbpi_transport_find(const char *name)
{
    if (strcmp(name, "auto") == 0)
        return cbpi_transports[0];
    for (const struct cbpi_transport_ops *const *ops = cbpi_transports; *ops; ops++)
        if (strcmp((*ops)->name, name) == 0)
            return *ops;
    return NULL;
}

int cbpi_is_driver_name(const char *name)
{
    for (uint32_t i = 0; name && i < CBPI_DRIVER_NAME_COUNT; i++)
        if (strcmp(cbpi_driver_names[i], name) == 0)
            return 1;
    return 0;
}

uint32_t cbp_driver_probe(const char *driver, uint32_t *capabilities, char *reason, uint64_t size)
{
    if (!cbpi_is_driver_name(driver))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "there is no driver of this name");
    if (!capabilities || (!reason && size != 0))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "capabilities and reason must not be NULL");
    const struct cbpi_transport_ops *ops = cbpi_transport_find(driver);
    if (ops) {
        if (size > 0)
            reason[0] = '\0';
        *capabilities = ops->probe(reason, size);
    } else {
        snprintf(reason, (size_t) size, "the %s driver is not part of this build (%s)", driver,
                 cbpi_platform_name());
        *capabilities = 0;
    }
    return 0;
}
