/* Is the part of a driver's row for drivers that have to be installed on the machine. A driver that comes with
 * the library has none of it: it runs, and has the library's version. */
#ifndef CBPI_INSTALLATION_H
#define CBPI_INSTALLATION_H

#include "cbprocess.h"

#include <stdbool.h>

struct cbpi_installation_request {
    const char *product_guid;  /* a GUID in braces; case does not matter */
    const char *package_path;  /* "" for none */
    const char *target_folder; /* "" for the usual one */
    uint32_t flags;            /* INSTALL_ or UNINSTALL_ bits */
};

/* All of these can be called in any thread, without a session. */
struct cbpi_installation_ops {
    /* Gives a MODULE_STATUS_: NOT_PRESENT if this product has not installed the driver. */
    uint32_t (*status)(const char *product_guid, uint32_t *status);

    /* Gives the version as cbp_driver_version(): 0 if this product has not installed the driver. */
    uint32_t (*version)(const char *product_guid, uint64_t *version);

    /* Makes the driver ready for a filter of this product: loads it if it is not loaded.
     * CBP_ERROR_FILE_NOT_FOUND if the product has not installed it, or a restart of the machine has to
     * complete that; CBP_ERROR_FS_DRIVER_REQUIRED if it is missing or damaged;
     * CBP_ERROR_INVALID_IMAGE_HASH if the system refuses it; CBP_ERROR_ACCESS_DENIED. */
    uint32_t (*prepare)(const char *product_guid);

    /* Install or update the driver and remove it again; see cbp_driver_install(). After an error everything
     * is as it was. */
    uint32_t (*install)(const struct cbpi_installation_request *request, bool *must_reboot);
    uint32_t (*uninstall)(const struct cbpi_installation_request *request, bool *must_reboot);
};

#endif
