/* Asks the system about one process. Nothing here knows the books, which are never held meanwhile. */
#include "kernel.h"

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

void cbpd_facts_free(struct cbpd_facts *facts)
{
    cbpd_pool_free(facts->path);
    cbpd_pool_free(facts->given);
    facts->path = facts->given = NULL;
}
