/* Opens libbpf at run time: see libbpf.h. Libraries of the guard's own folder come first, by path, because a
 * search path of the environment must not decide what root loads. Knows nothing of programs. */
#include "libbpf.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LIBBPF_NAME "libbpf.so.1"

/* Opens a library of the folder, or of the system if it does not lie there. */
static void *open_library(const char *folder, const char *name)
{
    char path[PATH_MAX];
    int length = snprintf(path, sizeof path, "%s/%s", folder, name);
    if (length > 0 && (size_t) length < sizeof path && access(path, F_OK) == 0)
        return dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    return dlopen(name, RTLD_NOW | RTLD_GLOBAL);
}

/* A carried libbpf finds what it needs under the names that are loaded already. Without a carried one the
 * system's loads its own. */
static void open_what_it_needs(const char *folder)
{
    static const char *const names[] = {"libz.so.1", "libzstd.so.1", "libelf.so.1"};
    char path[PATH_MAX];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int length = snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (length > 0 && (size_t) length < sizeof path && access(path, F_OK) == 0)
            (void) dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    }
}

static void *find(void *library, const char *name, const char **missing)
{
    void *function = dlsym(library, name);
    if (!function)
        *missing = name;
    return function;
}

const struct libbpf *cbpd_open_libbpf(const char *folder, char *reason, size_t reason_size)
{
    static struct libbpf table;
    const char *missing = NULL;
    open_what_it_needs(folder);
    void *library = open_library(folder, LIBBPF_NAME);
    if (!library) {
        const char *error = dlerror();
        (void) snprintf(reason, reason_size, "libbpf cannot be loaded: %s", error ? error : LIBBPF_NAME);
        return NULL;
    }
#define X(result, name, parameters) *(void **) &table.name = find(library, #name, &missing);
    LIBBPF_FUNCTIONS(X)
#undef X
    if (missing) {
        (void) snprintf(reason, reason_size, "libbpf is too old: it has no %s", missing);
        return NULL;
    }
    return &table;
}
