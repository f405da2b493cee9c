/* Asks the system about one process. Nothing here knows the books, which are never held meanwhile. */
#include "kernel.h"

/* Gives the path of a process's program, or NULL. */
static char *read_path(PEPROCESS process, const struct cbpd_drives *drives, uint32_t *size)
{
    PUNICODE_STRING path = NULL;
    char *name = NULL;
    if (!NT_SUCCESS(SeLocateProcessImageName(process, &path)) || !path)
        return NULL;
    if (path->Length > 0)
        name = cbpd_name_of_path(drives, path, size);
    ExFreePoolWithTag(path, 0); /* the system's, under a tag of its own */
    return name;
}

void cbpd_facts_read(PEPROCESS process, const struct cbpd_drives *drives, struct cbpd_facts *facts)
{
    *facts = (struct cbpd_facts){
        .pid = HandleToUlong(PsGetProcessId(process)),
        .start_time = (uint64_t) PsGetProcessCreateTimeQuadPart(process),
    };
    if (drives)
        facts->path = read_path(process, drives, &facts->path_size);
}

void cbpd_facts_free(struct cbpd_facts *facts)
{
    cbpd_pool_free(facts->path);
    cbpd_pool_free(facts->given);
    facts->path = facts->given = NULL;
}
