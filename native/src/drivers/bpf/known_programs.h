/* Remembers of programs that they are no scripts, and which loader they have, so that an execution need not read
 * the header again. A wrong memory is harmless, as execution.h says of any guess. Knows no threads. */
#ifndef CBPI_KNOWN_PROGRAMS_H
#define CBPI_KNOWN_PROGRAMS_H

#include "proc_files.h"

/* A file is known again by all of these. */
struct cbpi_file_version {
    struct file_identity identity;
    uint64_t change_ns, size;
};

struct cbpi_known_program {
    struct cbpi_file_version version;
    bool has_loader;
    struct file_identity loader; /* the one that was seen last */
    char *loader_path;           /* in memory of malloc; NULL: not known */
};

enum { CBPI_KNOWN_PROGRAMS_MAX = 1024 };

struct cbpi_known_programs {
    struct cbpi_known_program rows[CBPI_KNOWN_PROGRAMS_MAX]; /* a program has one place, and may lose it */
};

/* NULL: it is not known. */
struct cbpi_known_program *cbpi_find_program(struct cbpi_known_programs *programs,
                                             const struct cbpi_file_version *version);
/* Copies the path. */
void cbpi_remember_program(struct cbpi_known_programs *programs, const struct cbpi_known_program *program);
void cbpi_forget_programs(struct cbpi_known_programs *programs);

bool cbpi_is_same_file(const struct file_identity *a, const struct file_identity *b);

#endif
