/* Makes, checks and removes the folder that an installed driver lies in. It has the files of a package and a
 * list of them with sizes and checksums. The checksums find accidents: files are cut, mixed up or changed on
 * the disk. They are no protection against anybody, nor is one needed, because nobody but root can write
 * there. Knows nothing of products. */
#ifndef CBPI_BPF_DRIVER_FOLDER_H
#define CBPI_BPF_DRIVER_FOLDER_H

#include "driver_package.h"

/* A folder of this name is beside the others while it is filled. */
#define CBPI_DRIVER_FOLDER_INCOMING ".incoming"

/* This is a folder that is being put into its place below a base folder. */
struct cbpi_driver_folder {
    const struct cbpi_trusted_folder *base;
    char name[CBPI_PRODUCT_VERSION_SIZE]; /* there */
    char path[CBPI_TRUSTED_PATH_SIZE];
    bool has_incoming; /* something lies beside the place */
    bool is_placed;    /* the new folder is in its place */
    bool is_exchanged; /* and the old one beside it */
};

/* Copies the package beside its place, completely to the disk. */
uint32_t cbpi_driver_folder_write(struct cbpi_driver_folder *folder, const struct cbpi_trusted_folder *base,
                                  const struct cbpi_driver_package *package);

/* Puts the copy into its place, unless an equal one that is whole is there. CBP_ERROR_ALREADY_EXISTS if the
 * place is taken by a folder of others. */
uint32_t cbpi_driver_folder_place(struct cbpi_driver_folder *folder);

/* Takes all of that back. */
void cbpi_driver_folder_undo(struct cbpi_driver_folder *folder);

/* Removes what was in the place before. */
void cbpi_driver_folder_commit(struct cbpi_driver_folder *folder);

/* Checks that all files of an installed driver are there, whole and root's. CBP_ERROR_FS_DRIVER_REQUIRED. */
uint32_t cbpi_driver_folder_check(const char *path);

/* Removes an installed driver. Files of others stay, and with them the folder. */
void cbpi_driver_folder_remove(const char *path);

#endif
