/* The controller of the scripted cases: the helper's loop, sessions, rules and launches, and what its
 * handlers are asked. A check that fails says where, and ends the program with status 1. */
#ifndef SCRIPTED_CONTROLLER_H
#define SCRIPTED_CONTROLLER_H

#include "system.h"

#include <stdio.h>
#include <stdlib.h>

#include "ruleset_build.h"

#define CHECK(condition)                                                                                     \
    do                                                                                                       \
        if (!(condition)) {                                                                                  \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);                                           \
            exit(1);                                                                                         \
        }                                                                                                    \
    while (0)

#define ROOT "C:\\tools\\root.exe"
#define CHILD "C:\\tools\\child.exe"
#define BUSY_STATUS 0xc00700aau /* for error 170 */
#define DENIED_STATUS 0xc0000022u

extern struct debugger *const self;      /* the helper */
extern struct cbp_launch_result *result; /* of the last claim */

void begin(void);       /* to be called first: a session, without rules */
void turn(void);        /* of the helper's loop */
void pass(uint64_t ms); /* as if nothing else happened for so long; workers are alive */
uint32_t request(const void *message, uint32_t size); /* the status of the reply */
uint32_t claim(uint32_t pid);
void set_launch_count(uint32_t count);
uint32_t install(const struct cbpi_rule *rules, uint32_t count); /* the session's only ones from now on */
void set_rules(const struct cbpi_rule *rules, uint32_t count);   /* which succeeds */
void deny(const char *pattern);                                  /* the only rule */
const struct cbp_event_message *next_message(void);              /* which stays unanswered; NULL: none */
void answer(uint32_t result_code);                               /* to the last message */
/* The next message, of that process, asks for its creation. */
const struct cbp_event_message *asked(uint32_t pid);
struct scripted *launch(void); /* a launched program that runs, with the id 100 */

#endif
