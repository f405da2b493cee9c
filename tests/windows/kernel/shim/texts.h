/* Offers texts of 16-bit units to files of the shim, because the C library's are wider; and tokens. */
#ifndef SHIM_TEXTS_H
#define SHIM_TEXTS_H

#include "shim.h"

size_t shim_length(const wchar_t *text);
bool shim_differ(const wchar_t *a, const wchar_t *b); /* without regard to case, as names of objects */

/* Makes an object that is a file with that name on its volume. */
struct shim_object *shim_file_named(const wchar_t *name);

struct shim_token {
    struct shim_object object;
    uint32_t pid;
};

#endif
