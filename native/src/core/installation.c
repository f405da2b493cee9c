/* Answers questions about drivers and the machine without a session: status, version, installation, shutdown.
 * All drivers of today's builds run from the library's own folder and need no installation. */
#include "core.h"

#include <stdlib.h>

#define KNOWN_INSTALL_FLAGS                                                                                  \
    (CBP_INSTALL_REMOVE_OLD_VERSIONS | CBP_INSTALL_KEEP_START_TYPE | CBP_INSTALL_REQUESTS_VIA_DRIVER_STACK | \
     CBP_INSTALL_ALWAYS_PREPARE_FILES | CBP_INSTALL_FORCE_APP_PERMISSION_CHECK |                             \
     CBP_INSTALL_FORCE_SECURITY_CHECKS)

static uint32_t check_driver(const char *product_guid, const char *driver, const void *result)
{
    if (!product_guid || !cbpi_is_guid(product_guid))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "the product GUID is not a GUID in braces");
    if (!cbpi_is_driver_name(driver))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "there is no driver of this name");
    if (!result)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "there is no place for the result");
    return 0;
}

/* Checks as check_driver(), and that this is no handler. */
static uint32_t check_question(const char *product_guid, const char *driver, const void *result)
{
    uint32_t error = check_driver(product_guid, driver, result);
    return error ? error : cbpi_check_outside_handler("asking for a driver");
}

uint32_t cbp_driver_status(const char *product_guid, const char *driver, uint32_t *status)
{
    uint32_t error = check_question(product_guid, driver, status);
    if (error == 0)
        *status = cbpi_driver_find(driver) ? CBP_MODULE_STATUS_RUNNING : CBP_MODULE_STATUS_NOT_PRESENT;
    return error;
}

uint32_t cbp_driver_version(const char *product_guid, const char *driver, uint64_t *version)
{
    uint32_t error = check_question(product_guid, driver, version);
    if (error != 0)
        return error;
    uint64_t words = 0;
    char *at = (char *) (uintptr_t) CBP_VERSION;
    for (unsigned shift = 48; cbpi_driver_find(driver) && *at; shift -= 16) {
        words |= (uint64_t) strtoul(at, &at, 10) << shift;
        at += *at == '.';
    }
    *version = words;
    return 0;
}

static uint32_t change_installation(const char *product_guid, const char *driver, uint32_t flags,
                                    uint32_t known_flags, uint32_t *must_reboot)
{
    uint32_t error = check_driver(product_guid, driver, must_reboot);
    if (error != 0)
        return error;
    if ((flags & ~known_flags) != 0)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "0x%x has bits that are no flags", (unsigned) flags);
    error = cbpi_check_outside_handler("installing a driver");
    if (error != 0)
        return error;
    if (!cbpi_driver_find(driver))
        return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "the %s driver is not part of this build", driver);
    *must_reboot = 0;
    return 0;
}

uint32_t cbp_driver_install(const char *product_guid, const char *driver, const char *package_path,
                            const char *target_folder, uint32_t flags, uint32_t *must_reboot)
{
    (void) package_path;
    (void) target_folder;
    return change_installation(product_guid, driver, flags, KNOWN_INSTALL_FLAGS, must_reboot);
}

uint32_t cbp_driver_uninstall(const char *product_guid, const char *driver, const char *package_path,
                              const char *target_folder, uint32_t flags, uint32_t *must_reboot)
{
    (void) package_path;
    (void) target_folder;
    return change_installation(product_guid, driver, flags, CBP_UNINSTALL_VERSION_ALL, must_reboot);
}

uint32_t cbp_system_shutdown(const char *prompt, uint32_t timeout_s, uint32_t force, uint32_t reboot,
                             uint32_t *initiated)
{
    if (force > 1 || reboot > 1 || !initiated)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "force and reboot are 0 or 1");
    uint32_t error = cbpi_check_outside_handler("shutting down");
    if (error != 0)
        return error;
    struct cbpi_shutdown request = {.prompt = prompt ? prompt : "", .force = force, .reboot = reboot};
    if (*request.prompt)
        request.timeout_s = timeout_s;
    *initiated = cbpi_shutdown_ask(&request) == 0;
    return 0;
}
