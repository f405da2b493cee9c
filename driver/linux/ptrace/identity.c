/* Finds out which file a running program is. Only rules that allow by path need this, so it is looked up
 * while there are such rules, and for programs that already run when the first such rule comes. Knows /proc
 * and images; not what rules say. */
#include "tracer.h"

struct identity_look {
    uint32_t pid;
    struct file_identity found;
};

static enum knowledge look_for_identity(void *block)
{
    struct identity_look *look = block;
    return cbpd_read_program_identity(cbpd_living_thread(look->pid), &look->found, NULL) ? KNOWN : NOT_KNOWN;
}

bool cbpd_files_matter(struct tracer *self)
{
    return self->helper.policy.rule_counts[CBP_ACTION_ALLOW] > 0;
}

void cbpd_identify_program(struct tracer *self, struct cbpd_image *image, uint32_t pid)
{
    if (!image || image->is_vague || image->file_count == 0 || !cbpd_files_matter(self))
        return;
    struct cbpd_image_file *program = &image->files[image->file_count - 1];
    struct identity_look look = {.pid = pid};
    if (program->inode != 0 || look_now(self, look_for_identity, &look, sizeof look) != KNOWN)
        return;
    program->device = look.found.device;
    program->inode = look.found.inode;
}

void cbpd_identify_programs(struct cbpd_helper *helper)
{
    struct tracer *self = tracer_of(helper);
    for (struct process *process = first_process(&self->helper); process; process = next_process(process))
        cbpd_identify_program(self, process->base.image, process->base.pid);
}
