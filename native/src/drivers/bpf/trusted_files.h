/* Offers files and folders that nobody but root can change: root executes what lies there. No symbolic link is
 * followed inside of them. Knows nothing of drivers and products. */
#ifndef CBPI_TRUSTED_FILES_H
#define CBPI_TRUSTED_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CBPI_TRUSTED_PATH_SIZE 1024u

struct cbpi_trusted_folder {
    int fd; /* -1: closed */
    char path[CBPI_TRUSTED_PATH_SIZE];
};

/* Opens a folder of which all parents, too, belong to root. Links in the path are followed first, and what
 * they lead to is checked. CBP_ERROR_PATH_NOT_FOUND, CBP_ERROR_ACCESS_DENIED: its sentence names the folder
 * that others may change. */
uint32_t cbpi_trusted_open(const char *path, struct cbpi_trusted_folder *folder);

/* Opens a folder inside of another, and makes it if it is not there. */
uint32_t cbpi_trusted_make(const struct cbpi_trusted_folder *parent, const char *name,
                           struct cbpi_trusted_folder *folder);

/* Does nothing if it is closed. */
void cbpi_trusted_close(struct cbpi_trusted_folder *folder);

/* Opens a file for reading. CBP_ERROR_FILE_NOT_FOUND; CBP_ERROR_ACCESS_DENIED if it is not a file of root's
 * alone. */
uint32_t cbpi_trusted_open_file(const struct cbpi_trusted_folder *folder, const char *name, int *fd,
                                uint64_t *size);

/* Reads a file of at most size - 1 bytes, and adds a NUL. Codes as for opening; CBP_ERROR_INVALID_DATA if it
 * is larger. */
uint32_t cbpi_trusted_read(const struct cbpi_trusted_folder *folder, const char *name, char *text,
                           size_t size);

/* Makes a new file that is empty. Another one of that name goes. */
uint32_t cbpi_trusted_create(const struct cbpi_trusted_folder *folder, const char *name, mode_t mode,
                             int *fd);

/* Writes all of the bytes. path is for the error's sentence. */
uint32_t cbpi_trusted_write(int fd, const char *path, const void *bytes, size_t size);

/* Makes sure that the file is on the disk, and closes it in any case. */
uint32_t cbpi_trusted_finish(int fd, const char *path);

/* Fails with the code for the errno of a call about that file in the folder; name may be "". */
uint32_t cbpi_fail_path(int os_error, const char *folder, const char *name);

#endif
