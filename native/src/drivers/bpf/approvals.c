/* Keeps what has been decided about executions that the ring has not told of yet, with their processes. */
#include "machine.h"

#include "masks.h"

#include <stdlib.h>

void cbpi_machine_free_approval(struct cbpi_machine *machine, struct cbpi_approval *approval)
{
    if (!approval)
        return;
    cbpd_release_image(&machine->policy, approval->image);
    free(approval);
}

struct cbpi_approval *cbpi_machine_take_approval(struct cbpi_machine_process *process, uint32_t thread_id)
{
    struct cbpi_approval **at = &process->approvals;
    while (*at && (*at)->thread_id != thread_id)
        at = &(*at)->next;
    struct cbpi_approval *found = *at;
    if (found)
        *at = found->next;
    return found;
}

void cbpi_machine_note_failed(struct cbpi_machine *machine, const struct cbpi_approval *approval,
                              uint32_t os_error)
{
    for (uint32_t place = 0; place < CBP_SESSION_MAX; place++) {
        struct cbpi_machine_session *session = machine->sessions[place];
        if (session && approval->sequences[place] != 0)
            session->failed[session->counts.failed_after++ % CBPI_FAILED_MAX] =
                (struct cbpi_failed_execution){approval->sequences[place], os_error};
    }
}

void cbpi_machine_end_approval(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                               uint32_t thread_id)
{
    struct cbpi_approval *approval = cbpi_machine_take_approval(process, thread_id);
    if (!approval)
        return;
    cbpi_masks_undecide(machine, thread_id);
    cbpi_machine_note_failed(machine, approval, 0);
    cbpi_machine_free_approval(machine, approval);
}
