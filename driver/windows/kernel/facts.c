/* Asks the system about one process. Nothing here knows the books, which are never held meanwhile. */
#include "kernel.h"

enum { NAME_SIZE_MAX = 65536 };

/* Reads the path of a process's program. Processes of the system itself, which have none, have an empty one. */
static void read_path(PEPROCESS process, const struct cbpd_drives *drives, struct cbpd_facts *facts)
{
    PUNICODE_STRING path = NULL;
    if (!NT_SUCCESS(SeLocateProcessImageName(process, &path)) || !path)
        return;
    bool has_program = path->Length > 0;
    if (has_program)
        facts->path = cbpd_name_of_path(drives, path, &facts->path_size);
    facts->is_vague = has_program && !facts->path;
    ExFreePoolWithTag(path, 0); /* the system's, under a tag of its own */
}

void cbpd_facts_read(PEPROCESS process, const struct cbpd_drives *drives, struct cbpd_facts *facts)
{
    *facts = (struct cbpd_facts){
        .pid = HandleToUlong(PsGetProcessId(process)),
        .start_time = (uint64_t) PsGetProcessCreateTimeQuadPart(process),
        .is_vague = true,
    };
    if (drives)
        read_path(process, drives, facts);
}

/* Says whether a part of the path may be abbreviated: it then has a tilde, and another name. The path has a
 * drive letter, or it is not one that can be abbreviated. */
static bool may_be_abbreviated(const struct cbpd_facts *facts)
{
    bool has_tilde = false;
    for (uint32_t i = 0; facts->path && i < facts->path_size; i++)
        has_tilde |= facts->path[i] == '~';
    return has_tilde && facts->path_size > 2 && facts->path[1] == ':';
}

/* Puts the letter of the path in front of the name on the volume. NULL: no memory. */
static char *full_path(const struct cbpd_facts *facts, UNICODE_STRING *name, uint32_t *size)
{
    uint32_t name_size;
    char *text = cbpd_name_of_text(name, &name_size);
    char *path = text ? cbpd_pool_allocate(name_size + 3) : NULL;
    if (path) {
        memcpy(path, facts->path, 2);
        memcpy(path + 2, text, name_size);
        *size = name_size + 2;
    }
    cbpd_pool_free(text);
    return path;
}

/* A path that cannot be lengthened may be another one to the rules. */
void cbpd_facts_lengthen(struct cbpd_facts *facts, PFILE_OBJECT file)
{
    ULONG size;
    if (!may_be_abbreviated(facts))
        return;
    UNICODE_STRING name = {.Buffer = cbpd_pool_allocate(NAME_SIZE_MAX)};
    NTSTATUS status = name.Buffer ? cbpd_system_file_name(file, name.Buffer, NAME_SIZE_MAX, &size)
                                  : STATUS_INSUFFICIENT_RESOURCES;
    char *path = NULL;
    if (NT_SUCCESS(status)) {
        name.Length = name.MaximumLength = (USHORT) size;
        path = full_path(facts, &name, &facts->path_size);
    }
    if (path) {
        cbpd_pool_free(facts->path);
        facts->path = path;
    }
    facts->is_vague |= !path && status != STATUS_NOT_SUPPORTED;
    cbpd_pool_free(name.Buffer);
}

void cbpd_facts_free(struct cbpd_facts *facts)
{
    cbpd_pool_free(facts->path);
    cbpd_pool_free(facts->given);
    facts->path = facts->given = NULL;
}
