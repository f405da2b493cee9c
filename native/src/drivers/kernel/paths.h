/* Offers paths of Windows with a bound, and what installing does with files. Knows nothing of packages and
 * drivers. */
#ifndef CBPI_KERNEL_PATHS_H
#define CBPI_KERNEL_PATHS_H

#include "windows_api.h"

#include <stdbool.h>

/* The functions of Windows for cabinets take no longer paths. */
struct cbpi_path {
    WCHAR text[MAX_PATH];
};

/* Sets path to folder, a separator and name. False if that is too long. */
bool cbpi_path_join(struct cbpi_path *path, const WCHAR *folder, const WCHAR *name);

/* Sets path to the folder of the system's drivers. */
bool cbpi_path_of_drivers(struct cbpi_path *path);

/* Says whether there is a file or folder. */
bool cbpi_path_exists(const struct cbpi_path *path);

/* Reads a whole file of at most so many bytes into memory that the caller frees. Codes as
 * cbpi_fail_file(); CBP_ERROR_INVALID_DATA if the file is larger. */
uint32_t cbpi_path_read(const WCHAR *path, size_t size_max, uint8_t **bytes, size_t *size);

/* Fails with the code for the system's error about a file, and a sentence that begins with what could not be
 * done: CBP_ERROR_FILE_NOT_FOUND, CBP_ERROR_PATH_NOT_FOUND, else as cbpi_fail_os(). */
uint32_t cbpi_fail_file(uint32_t os_error, const char *what);

#endif
