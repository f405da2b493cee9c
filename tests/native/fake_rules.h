/* The rules that the fake helper was given: checks each set against the contract and keeps it. Of the
 * commands (see fake_helper.c) it obeys itself
 *     !ended         the processes of all launches of the session have ended
 *     !dump PATH     what the session has stands in this file from now on, after every change: a line for
 * each launch's rule, "launch ID", one of what was taken so far, "taken SETS BYTES", and for each rule of the
 * sets, by its id, "PART ID MATCH FLAGS ACTION VALUE PROCESS START PATTERN" */
#ifndef FAKE_RULES_H
#define FAKE_RULES_H

#include "cbp_message.h"

/* Ends the program with a line on stderr: the core has broken the contract. */
void broken(const char *what);

/* Takes the set of a request from the memory file fd: 0. If it attaches, and refusal is not 0, it is left as
 * it is: refusal, and *rule_id is the rule that could not be attached for. */
uint32_t fake_rules_take(const struct cbp_rules *request, int fd, uint32_t refusal, uint32_t *rule_id);

/* The next command that came with the set taken last and never before, or NULL; and whether there is a
 * certain one among them. */
const char *fake_rules_next_command(void);
int fake_rules_has_heard(const char *command);

uint32_t fake_rules_count(void); /* of all sessions, the launches' included; commands are none */
void fake_rules_close(uint32_t session_id);

void fake_rules_launch(uint32_t session_id, uint32_t rule_id);
uint32_t fake_rules_forget_launch(uint32_t session_id, uint32_t rule_id);

#endif
