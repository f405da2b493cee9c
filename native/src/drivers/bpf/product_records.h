/* Keeps which products have installed which versions of the driver, and where: one small text of root's for
 * each product, "VERSION FOLDER" in each line. One program at a time changes them. Knows nothing of the
 * driver's files. */
#ifndef CBPI_PRODUCT_RECORDS_H
#define CBPI_PRODUCT_RECORDS_H

#include "trusted_files.h"

#define CBPI_PRODUCT_VERSIONS_MAX 8u /* a product keeps so many, until the old ones are removed */
#define CBPI_PRODUCT_VERSION_SIZE 32u

struct cbpi_product_version {
    char text[CBPI_PRODUCT_VERSION_SIZE];
    char folder[CBPI_TRUSTED_PATH_SIZE];
};

struct cbpi_product {
    uint32_t count;
    struct cbpi_product_version versions[CBPI_PRODUCT_VERSIONS_MAX]; /* the newest first */
};

struct cbpi_product_records {
    struct cbpi_trusted_folder own;      /* all of them and the lock are in it */
    struct cbpi_trusted_folder products; /* closed: no product has a record */
    int lock;                            /* -1: none */
};

/* Makes a path below the folder that stands for "/": another one only in tests of root's, where
 * CBPROCESS_TEST_ROOT names it. */
uint32_t cbpi_product_root(const char *path, char *buffer, size_t size);

/* Opens a folder of the system below that root. In a test's root it is made, with its parents. */
uint32_t cbpi_product_open_system(const char *path, struct cbpi_trusted_folder *folder);

/* Says whether the text can be a version, and the name of a folder. */
bool cbpi_product_is_version(const char *text);

/* Opens the records for reading, also where there are none yet. */
uint32_t cbpi_product_records_open(struct cbpi_product_records *records);

/* Opens the records, makes their folders, and keeps other programs from changing them until close.
 * CBP_ERROR_BUSY after half a minute. */
uint32_t cbpi_product_records_lock(struct cbpi_product_records *records);

/* Closes the records. Folders that were locked and are empty go. */
void cbpi_product_records_close(struct cbpi_product_records *records);

/* Reads the record of a product; count is 0 if it has none. CBP_ERROR_FS_DRIVER_REQUIRED if it is damaged. */
uint32_t cbpi_product_read(const struct cbpi_product_records *records, const char *product_guid,
                           struct cbpi_product *product);

/* Puts the record in the place of the former one, at once or not at all; with count 0 there is none then. The
 * records are locked. */
uint32_t cbpi_product_write(const struct cbpi_product_records *records, const char *product_guid,
                            const struct cbpi_product *product);

/* Enters a version, at its place by its age. One of the same number goes; so does the oldest one, if there are
 * too many. */
void cbpi_product_enter(struct cbpi_product *product, const struct cbpi_product_version *version);

/* Says whether any product has this folder; also if that cannot be known. */
bool cbpi_product_folder_is_used(const struct cbpi_product_records *records, const char *folder);

#endif
