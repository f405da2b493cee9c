/* Remembers what programs are; see known_programs.h. */
#include "known_programs.h"

#include <stdlib.h>
#include <string.h>

static struct cbpi_known_program *row_of(struct cbpi_known_programs *programs,
                                         const struct file_identity *identity)
{
    uint64_t mixed = (identity->inode ^ identity->device << 17) * UINT64_C(0x9e3779b97f4a7c15);
    return &programs->rows[mixed >> 32 & (CBPI_KNOWN_PROGRAMS_MAX - 1)];
}

bool cbpi_is_same_file(const struct file_identity *a, const struct file_identity *b)
{
    return a->device == b->device && a->inode == b->inode;
}

struct cbpi_known_program *cbpi_find_program(struct cbpi_known_programs *programs,
                                             const struct cbpi_file_version *version)
{
    struct cbpi_known_program *row = row_of(programs, &version->identity);
    bool is_it = cbpi_is_same_file(&row->version.identity, &version->identity) &&
                 row->version.change_ns == version->change_ns && row->version.size == version->size;
    return is_it ? row : NULL;
}

void cbpi_remember_program(struct cbpi_known_programs *programs, const struct cbpi_known_program *program)
{
    struct cbpi_known_program *row = row_of(programs, &program->version.identity);
    free(row->loader_path);
    *row = *program;
    row->loader_path = program->loader_path ? strdup(program->loader_path) : NULL;
}

void cbpi_forget_programs(struct cbpi_known_programs *programs)
{
    for (size_t i = 0; i < CBPI_KNOWN_PROGRAMS_MAX; i++)
        free(programs->rows[i].loader_path);
}
