/* Provides what the policy needs from the core, and keeps the processes of the machine in it. Knows /proc for
 * processes of which no record tells; no sessions and no events. */
#include "machine.h"

#include "masks.h"
#include "proc_files.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void *allocate(size_t size, bool surely)
{
    (void) surely;
    return calloc(1, size);
}

/* Says whether the path leads to the file here, too. What the programs could not tell is believed. */
static bool path_leads_to_file(const struct cbpd_image_file *file)
{
    struct stat found;
    if (file->inode == 0 || file->is_deleted)
        return !file->is_deleted;
    return stat(file->path, &found) == 0 && found.st_dev == file->device && found.st_ino == file->inode;
}

const struct cbpd_host cbpi_machine_host = {.allocate = allocate,
                                            .release = free,
                                            .process_size = sizeof(struct cbpi_machine_process),
                                            .name_comparison = CBP_COMPARE_BYTES,
                                            .path_leads_to_file = path_leads_to_file};

/* ---- Images ---- */

static struct cbpd_image *image_of_path(struct cbpi_machine *machine, uint32_t process_id)
{
    char path[PATH_MAX];
    uint32_t thread_id;
    bool is_gone = false;
    size_t size = cbpd_read_program_path(process_id, path, sizeof path, &thread_id, &is_gone);
    const struct cbpd_image_file file = {.path = path,
                                         .path_size = (uint32_t) size,
                                         .given = path,
                                         .given_size = (uint32_t) size,
                                         .is_deleted = is_gone};
    return size > 0 ? cbpd_make_image(&machine->policy, &file, 1, false) : NULL;
}

struct cbpd_image *cbpi_machine_image_of(struct cbpi_machine *machine, uint32_t process_id)
{
    struct cbpi_execution execution;
    if (cbpi_execution_look(machine->executions, process_id, false, &execution) && execution.file_count > 0)
        return cbpd_make_image(&machine->policy, execution.files, execution.file_count, execution.is_vague);
    return image_of_path(machine, process_id);
}

/* ---- Processes ---- */

struct cbpi_machine_process *cbpi_machine_find(const struct cbpi_machine *machine, uint32_t process_id)
{
    return cbpi_machine_process(cbpd_find_process(&machine->policy, process_id));
}

void cbpi_machine_end(struct cbpi_machine *machine, struct cbpi_machine_process *process)
{
    if (process->base.ended)
        return;
    for (struct cbpi_approval *approval; (approval = process->approvals);) {
        process->approvals = approval->next;
        cbpi_masks_undecide(machine, approval->thread_id);
        cbpi_machine_note_failed(machine, approval, 0);
        cbpi_machine_free_approval(machine, approval);
    }
    cbpd_end_process(&machine->policy, &process->base);
    cbpd_release_process(&machine->policy, &process->base);
}

void cbpi_machine_end_all(struct cbpi_machine *machine)
{
    while (machine->policy.processes)
        cbpi_machine_end(machine, cbpi_machine_process(machine->policy.processes));
}

/* Says whether nothing of a process fires that has this creator. */
static bool is_born_exempt(const struct cbpi_machine *machine, uint32_t process_id,
                           const struct cbpi_machine_process *creator)
{
    if (process_id == machine->controller_pid)
        return false;
    if (creator)
        return creator->is_exempt;
    return machine->only_descendants;
}

struct cbpi_machine_process *cbpi_machine_add(struct cbpi_machine *machine, uint32_t process_id,
                                              uint64_t start_time, struct cbpi_machine_process *creator)
{
    struct cbpd_policy *policy = &machine->policy;
    struct cbpi_machine_process *before = cbpi_machine_find(machine, process_id);
    if (before)
        cbpi_machine_end(machine, before); /* its end has been lost */
    struct cbpi_machine_process *process =
        cbpi_machine_process(cbpd_add_process(policy, process_id, creator ? &creator->base : NULL));
    if (!process)
        return NULL;
    process->base.reference_count = 1;
    process->base.start_time = start_time;
    process->is_exempt = is_born_exempt(machine, process_id, creator);
    if (!creator)
        return process;
    process->parent_pid = process->creator_pid = creator->base.pid;
    process->user_id = creator->user_id;
    process->base.creator_tenure = creator->base.tenure;
    process->base.image = cbpd_share_image(creator->base.image);
    cbpd_inherit_rules(policy, &process->base, &creator->base);
    cbpd_forget_old_ancestors(policy, &creator->base);
    return process;
}

struct cbpi_machine_process *cbpi_machine_learn(struct cbpi_machine *machine, uint32_t process_id,
                                                uint64_t start_time, uint32_t parent_id)
{
    struct cbpi_machine_process *process = cbpi_machine_find(machine, process_id);
    if (process &&
        (start_time == 0 || process->base.start_time == 0 || process->base.start_time == start_time))
        return process;
    struct cbpi_machine_process *parent =
        parent_id != process_id ? cbpi_machine_find(machine, parent_id) : NULL;
    process = cbpi_machine_add(machine, process_id, start_time, parent);
    if (!process)
        return NULL;
    struct cbpd_image *image = cbpi_machine_image_of(machine, process_id);
    if (image) {
        cbpd_release_image(&machine->policy, process->base.image);
        process->base.image = image;
        cbpd_rename_standing(&process->base);
    }
    process->base.executed = true; /* what it was created for is not known any more */
    process->parent_pid = parent_id;
    return process;
}
