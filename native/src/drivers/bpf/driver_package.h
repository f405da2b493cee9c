/* Finds the driver's files in a folder that they are installed from: the guard, the BPF objects, libraries
 * that came with them and their licences. Knows nothing of products and of what is installed. */
#ifndef CBPI_BPF_DRIVER_PACKAGE_H
#define CBPI_BPF_DRIVER_PACKAGE_H

#include "product_records.h"

#define CBPI_BPF_GUARD_FILE "cbprocess-guard"
#define CBPI_DRIVER_FILES_MAX 64u
#define CBPI_DRIVER_FILE_NAME_SIZE 64u
#define CBPI_DRIVER_FILE_SIZE_MAX (64u * 1024u * 1024u)

struct cbpi_driver_package {
    int fd;           /* of the folder; -1: closed */
    const char *path; /* the caller's, or own_path */
    char own_path[CBPI_TRUSTED_PATH_SIZE];
    char version[CBPI_PRODUCT_VERSION_SIZE];
    uint32_t count;
    char names[CBPI_DRIVER_FILES_MAX][CBPI_DRIVER_FILE_NAME_SIZE];
};

/* Says whether a file of that name is the driver's. */
bool cbpi_driver_package_has(const char *name);

/* Opens the package in a folder, or with "" the one that came with the library. path stays the caller's until
 * close. CBP_ERROR_FILE_NOT_FOUND; CBP_ERROR_BAD_FORMAT if it is no folder, or its programs are for another
 * machine; CBP_ERROR_INVALID_DATA if a file is missing or cut. */
uint32_t cbpi_driver_package_open(struct cbpi_driver_package *package, const char *path);

/* Opens a file of the package for reading. */
uint32_t cbpi_driver_package_open_file(const struct cbpi_driver_package *package, const char *name, int *fd);

/* Does nothing if it is closed. */
void cbpi_driver_package_close(struct cbpi_driver_package *package);

#endif
