/* Puts a driver's file into its place, so that each step can be taken back, also where the old file is in use.
 * Knows nothing of services. */
#ifndef CBPI_KERNEL_DRIVER_FILE_H
#define CBPI_KERNEL_DRIVER_FILE_H

#include "paths.h"

struct cbpi_driver_file {
    struct cbpi_path target;
    struct cbpi_path incoming; /* the new file beside it */
    struct cbpi_path outgoing; /* the old file, out of the way */
    bool is_written, is_set_aside, is_placed;
};

/* Writes a copy of the file beside its place. */
uint32_t cbpi_driver_file_write(struct cbpi_driver_file *file, const WCHAR *source, const WCHAR *folder);

/* Moves the old file out of the way, if there is one, and the new one into its place. A file of a loaded
 * driver can be moved, though not removed. */
uint32_t cbpi_driver_file_place(struct cbpi_driver_file *file);

/* Takes all of that back. */
void cbpi_driver_file_undo(struct cbpi_driver_file *file);

/* Removes the old file, now or at the next start of the system. */
void cbpi_driver_file_commit(struct cbpi_driver_file *file);

/* Removes a file now, or at the next start of the system. */
void cbpi_driver_file_remove(const struct cbpi_path *path);

/* Removes the files that upgrades have moved out of the way in that folder, as far as they are not in use. */
void cbpi_driver_file_remove_old(const WCHAR *folder);

#endif
