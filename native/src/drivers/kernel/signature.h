/* Says whether the signature of a driver's file holds on this machine, and makes its catalog known to the
 * system. Knows nothing of packages and services. */
#ifndef CBPI_KERNEL_SIGNATURE_H
#define CBPI_KERNEL_SIGNATURE_H

#include "paths.h"

/* Checks the driver's own signature, or else that of a catalog which lists the driver. A machine in test
 * mode takes any signer, and one that checks no drivers takes a file without a signature; a file that was
 * changed after it was signed is refused everywhere. CBP_ERROR_INVALID_IMAGE_HASH. */
uint32_t cbpi_signature_check(const WCHAR *driver, const WCHAR *catalog, bool *is_catalog_signed);

/* Adds the catalog to the system's, under that name; *is_new says that it was not there. */
uint32_t cbpi_catalog_add(const WCHAR *catalog, const WCHAR *name, bool *is_new);

/* Removes the catalog of that name, if it is there. */
void cbpi_catalog_remove(const WCHAR *name);

#endif
