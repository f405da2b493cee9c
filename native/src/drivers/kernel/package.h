/* Takes a driver's package apart and checks it: a cabinet with the driver, its .inf and its catalog. Knows
 * nothing of what is installed. */
#ifndef CBPI_KERNEL_PACKAGE_H
#define CBPI_KERNEL_PACKAGE_H

#include "driver_image.h"
#include "paths.h"

#define CBPI_DRIVER_FILE L"cbprocess.sys"

/* The parts lie in a folder of their own among the system's drivers, where only administrators can write. So
 * what is installed is what was checked. One installation at a time has that folder. */
struct cbpi_package {
    struct cbpi_path folder; /* "" before open */
    void *lock;              /* a handle, NULL without one */
    struct cbpi_path driver, catalog;
    struct cbpi_driver_image image;
    bool is_catalog_signed;
};

/* Waits until no other process installs or uninstalls, and keeps them out until close. CBP_ERROR_BUSY after a
 * while; CBP_ERROR_ACCESS_DENIED. */
uint32_t cbpi_package_lock(struct cbpi_package *package);

/* Takes the package at that path apart, and checks its driver: it is whole, for this machine, and signed as
 * this machine demands it. The package is locked. CBP_ERROR_FILE_NOT_FOUND, CBP_ERROR_PATH_NOT_FOUND;
 * CBP_ERROR_BAD_FORMAT if it is no cabinet, or for another machine; CBP_ERROR_INVALID_DATA if it is cut or
 * damaged; CBP_ERROR_INVALID_IMAGE_HASH if the signature is missing or does not hold. */
uint32_t cbpi_package_open(struct cbpi_package *package, const char *path);

/* Removes the parts and the lock; also after a failed open. */
void cbpi_package_close(struct cbpi_package *package);

/* Gives the machine that the system runs on, as CBPI_MACHINE_. */
uint16_t cbpi_native_machine(void);

#endif
