/* Implements transport.h for the kernel driver: what this machine lets it do. The rest is in kernel_session.c.
 */
#include "device.h"
#include "errors.h"
#include "installation_kernel.h"
#include "kernel_launch.h"
#include "kernel_session.h"
#include "rights.h"

#include <stdio.h>

/* Says why the device cannot be opened. */
static const char *obstacle(uint32_t error)
{
    switch (error) {
    case CBP_ERROR_FILE_NOT_FOUND:
        return cbpi_kernel_is_administrator()
                   ? "cbprocess.sys does not run here: cbprocess install installs it"
                   : "cbprocess.sys does not run here: cbprocess install, as an administrator, installs it";
    case CBP_ERROR_ACCESS_DENIED:
        return "cbprocess.sys serves administrators only; run as one";
    default:
        return cbp_error_detail();
    }
}

/* A driver that is installed and stopped can run: the first filter loads it. */
static uint32_t probe(char *reason, uint64_t size)
{
    struct cbpi_kernel_device *device;
    uint32_t error = cbpi_kernel_device_open(&device);
    if (error == CBP_ERROR_FILE_NOT_FOUND && cbpi_kernel_is_administrator() && cbpi_kernel_is_installed()) {
        snprintf(reason, (size_t) size, "cbprocess.sys is installed, and is loaded by the first filter");
        return CBP_KERNEL_CAPABILITIES;
    }
    if (error != 0) {
        snprintf(reason, (size_t) size, "%s", obstacle(error));
        return 0;
    }
    cbpi_kernel_device_close(device);
    return CBP_KERNEL_CAPABILITIES;
}

/* The product has installed the driver, since the core has asked that before. */
static uint32_t open_session(const struct cbpi_session_settings *settings, struct cbpi_transport **transport)
{
    uint32_t error = cbpi_kernel_session_open(settings, transport);
    return error == CBP_ERROR_FILE_NOT_FOUND
               ? cbpi_fail(CBP_ERROR_FS_DRIVER_REQUIRED, "the kernel driver is installed, but does not run")
               : error;
}

/* The driver is one for all products, and one that has not installed it is told so. */
static bool is_automatic(const char *product_guid)
{
    (void) product_guid;
    return cbpi_kernel_is_administrator();
}

static const struct cbpi_worker_ops worker_ops = {
    .enter = cbpi_kernel_session_enter_worker,
    .leave = cbpi_kernel_session_leave_worker,
};

const struct cbpi_driver cbpi_kernel_driver = {
    .name = "kernel",
    .probe = probe,
    .open = open_session,
    .is_automatic = is_automatic,
    .launches = &cbpi_kernel_launch_ops,
    .workers = &worker_ops,
    .originator_token = cbpi_kernel_session_token,
    .installation = &cbpi_kernel_installation_ops,
};
