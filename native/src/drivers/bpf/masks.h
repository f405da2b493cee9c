/* Computes what the programs in the kernel need to know of each process, and writes it into the map of tasks:
 * which of its records wake the controller, what waits in the gate, and which rights nobody gets. The
 * machine's mutex is held. */
#ifndef CBPI_MASKS_H
#define CBPI_MASKS_H

#include "machine.h"

/* Computes the masks of one process and writes those that are not in the map yet. */
void cbpi_masks_write(struct cbpi_machine *machine, struct cbpi_machine_process *process);
/* The programs have given a new process the masks of its creator's children. */
void cbpi_masks_inherited(const struct cbpi_machine_process *creator, const struct cbp_machine_fork *record,
                          struct cbpi_machine_process *process);
/* Rules, sessions or their settings have changed: computes and writes the masks of all processes. */
void cbpi_masks_write_all(struct cbpi_machine *machine);
/* Enters a process that ran before the programs did. What is not known is 0; of executions UINT64_MAX. */
void cbpi_masks_enter(struct cbpi_machine *machine, struct cbpi_machine_process *process, uint64_t start_ns,
                      uint64_t execution_count);
/* Marks a thread of the controller: what it starts is exempt. */
uint32_t cbpi_masks_mark_worker(struct cbpi_machine *machine, uint32_t thread_id, bool is_worker);
/* Notes that the thread is about to execute this file, about which has been decided. */
void cbpi_masks_decide(struct cbpi_machine *machine, uint32_t thread_id, uint64_t device, uint64_t inode);
/* Notes that the thread does not execute what has been decided. */
void cbpi_masks_undecide(struct cbpi_machine *machine, uint32_t thread_id);

#endif
