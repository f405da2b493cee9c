/* Answers questions about drivers and the machine without a session: status, version, installation, shutdown.
 * Knows nothing of how a driver is installed, nor which ones have to be. */
#include "core.h"

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
    if (error != 0)
        return error;
    const struct cbpi_driver *found = cbpi_driver_find(driver, product_guid);
    if (found)
        return cbpi_driver_installation(found)->status(product_guid, status);
    *status = CBP_MODULE_STATUS_NOT_PRESENT;
    return 0;
}

uint32_t cbp_driver_version(const char *product_guid, const char *driver, uint64_t *version)
{
    uint32_t error = check_question(product_guid, driver, version);
    if (error != 0)
        return error;
    const struct cbpi_driver *found = cbpi_driver_find(driver, product_guid);
    if (found)
        return cbpi_driver_installation(found)->version(product_guid, version);
    *version = 0;
    return 0;
}

typedef uint32_t (*change_function)(const struct cbpi_installation_request *, bool *);

/* Checks what install and uninstall have in common; *found gets the driver's operations. */
static uint32_t check_change(const char *product_guid, const char *driver, uint32_t unknown_flags,
                             const uint32_t *must_reboot, const struct cbpi_installation_ops **found)
{
    uint32_t error = check_driver(product_guid, driver, must_reboot);
    if (error != 0)
        return error;
    if (unknown_flags != 0)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "0x%x has no meaning as flags",
                         (unsigned) unknown_flags);
    error = cbpi_check_outside_handler("installing a driver");
    if (error != 0)
        return error;
    const struct cbpi_driver *row = cbpi_driver_find(driver, product_guid);
    if (!row)
        return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "the %s driver is not part of this build", driver);
    *found = cbpi_driver_installation(row);
    return 0;
}

static uint32_t change(change_function function, const struct cbpi_installation_request *request,
                       uint32_t *must_reboot)
{
    bool is_pending = false;
    uint32_t error = function(request, &is_pending);
    if (error == 0)
        *must_reboot = is_pending;
    return error;
}

uint32_t cbp_driver_install(const char *product_guid, const char *driver, const char *package_path,
                            const char *target_folder, uint32_t flags, uint32_t *must_reboot)
{
    const struct cbpi_installation_ops *found;
    const struct cbpi_installation_request request = {product_guid, package_path ? package_path : "",
                                                      target_folder ? target_folder : "", flags};
    uint32_t error =
        check_change(product_guid, driver, flags & ~(uint32_t) KNOWN_INSTALL_FLAGS, must_reboot, &found);
    return error ? error : change(found->install, &request, must_reboot);
}

uint32_t cbp_driver_uninstall(const char *product_guid, const char *driver, const char *package_path,
                              const char *target_folder, uint32_t flags, uint32_t *must_reboot)
{
    const struct cbpi_installation_ops *found;
    const struct cbpi_installation_request request = {product_guid, package_path ? package_path : "",
                                                      target_folder ? target_folder : "", flags};
    uint32_t error = check_change(product_guid, driver, flags & ~(uint32_t) CBP_UNINSTALL_VERSION_ALL,
                                  must_reboot, &found);
    return error ? error : change(found->uninstall, &request, must_reboot);
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
