/* Composes what a call of execve or execveat makes of its arguments, as the kernel does. Any thread. Knows no
 * rules and no events. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"

bool cbpd_append_from(struct text *text, const struct text *other, size_t offset)
{
    return other->size == offset || text_append(text, other->bytes + offset, other->size - offset);
}

bool cbpd_compose_arguments(const struct chain *chain, const struct text *list, struct text *composed)
{
    size_t skip = 0;
    composed->size = 0;
    for (uint32_t i = 0; i < chain->dropped && skip < list->size; i++)
        skip += strlen(list->bytes + skip) + 1;
    if (!cbpd_append_from(composed, &chain->prefix, 0) || !cbpd_append_from(composed, list, skip))
        return false;
    return composed->size > 0 || text_append(composed, "", 1); /* like the kernel's */
}

bool cbpd_compose_name(const struct text *path, int fd, struct text *name, bool *is_by_descriptor)
{
    *is_by_descriptor = path->bytes[0] != '/' && fd != AT_FDCWD;
    name->size = 0;
    if (*is_by_descriptor) {
        char prefix[32];
        int size = snprintf(prefix, sizeof prefix, "/dev/fd/%d%s", fd, path->size > 1 ? "/" : "");
        if (!text_append(name, prefix, (size_t) size))
            return false;
    }
    return text_append(name, path->bytes, path->size);
}

bool cbpd_closes_on_execution(uint32_t tid, int fd)
{
    char name[64], text[512];
    snprintf(name, sizeof name, "fdinfo/%d", fd);
    (void) cbpd_read_proc_file(tid, name, text, sizeof text);
    const char *flags = strstr(text, "flags:\t");
    return flags && (strtoul(flags + strlen("flags:\t"), NULL, 8) & O_CLOEXEC) != 0;
}
