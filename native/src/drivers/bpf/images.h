/* Makes images of what records tell about an execution. Knows no rules and no sessions. */
#ifndef CBPI_IMAGES_H
#define CBPI_IMAGES_H

#include "machine.h"

/* The texts of an EXEC record, none with a NUL, each "" if it cannot be had. */
struct cbpi_image_texts {
    const char *path;   /* of the executable */
    const char *given;  /* what execve got */
    const char *folder; /* that a relative one begins in */
    uint32_t path_size, given_size, folder_size;
    bool is_script;  /* what was given is a script, and the path is its interpreter's */
    bool is_deleted; /* the executable */
    uint64_t device, inode;
};

/* NULL: no memory. */
struct cbpd_image *cbpi_image_of_texts(struct cbpi_machine *machine, const struct cbpi_image_texts *texts);

#endif
