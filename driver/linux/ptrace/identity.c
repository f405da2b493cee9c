/* Which file a running program is: what a rule that allows by path asks, and nothing else does. So it is
 * looked up only while there are such rules, and for the programs that run already when the first one comes.
 * Knows /proc and images; nothing of what rules say. */
#include "beside.h"
#include "proc_name.h"
#include "tracer.h"

struct identity_look {
    uint32_t pid;
    struct file_identity found;
};

static void look_for_identity(void *block)
{
    struct identity_look *look = block;
    (void) read_program_identity(living_thread(look->pid), &look->found);
}

bool files_matter(void)
{
    return self.helper.policy.rule_counts[CBP_ACTION_ALLOW] > 0;
}

void identify_program(struct cbpd_image *image, uint32_t pid)
{
    if (image == NULL || image->is_vague || image->file_count == 0 || !files_matter())
        return;
    struct cbpd_image_file *program = &image->files[image->file_count - 1];
    struct identity_look look = {.pid = pid};
    if (program->inode != 0 || !look_now(look_for_identity, &look, sizeof look))
        return;
    program->device = look.found.device;
    program->inode = look.found.inode;
}

void identify_programs(void)
{
    for (struct process *process = first_process(); process != NULL; process = next_process(process))
        identify_program(process->base.image, process->base.pid);
}
