/* Changes what is in force for the sessions of the machine. Takes the machine's control, unless said otherwise.
 */
#ifndef CBPI_CONTROL_BPF_H
#define CBPI_CONTROL_BPF_H

#include "machine.h"

/* Takes the session's settings, also those that it was opened with. After an error they are as they were, or
 * the guard has not done all that they ask for. CBP_ERROR_BROKEN_PIPE. */
uint32_t cbpi_machine_update(struct cbpi_machine_session *session,
                             const struct cbpi_session_settings *settings);
uint32_t cbpi_machine_set_rules(struct cbpi_machine_session *session, const struct cbpi_rules_change *change);
/* A session has gone: takes back what nobody else wants. control is held. */
void cbpi_machine_refresh(struct cbpi_machine *machine);

#endif
