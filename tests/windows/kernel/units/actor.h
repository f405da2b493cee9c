/* Is what tests do with the driver: a machine with it, controllers that speak its protocol, and deeds, which
 * are operations of programs in threads of their own. */
#ifndef UNITS_ACTOR_H
#define UNITS_ACTOR_H

#include <pthread.h>

#include "cbp_kernel_control.h"
#include "shim.h"

#include "ruleset_build.h"

DRIVER_INITIALIZE DriverEntry;

enum {
    CONTROLLER_PID = 1000,
    CONTROLLER_TID = 1004,
    SHELL_PID = 2000, /* a program that creates others */
    SHELL_TID = 2004,
    VICTIM_PID = 3000,
    VICTIM_TID = 3004,
    USER_PID = 4000, /* of a user without rights */
    WAIT_MS = 20000  /* longer than anything lasts that is not broken */
};

/* ---- The machine ---- */
void machine_begin(void); /* its programs run, the driver is not loaded */
void machine_start(void); /* and loads the driver, which succeeds */
void machine_stop(void);  /* unloads it, and looks that nothing is left */

/* ---- A controller ---- */
struct actor {
    struct shim_file *file;
    uint32_t pid, tid;
    uint64_t last_id;
};

void actor_open(struct actor *actor, uint32_t pid, uint32_t tid); /* and says hello */
void actor_close(struct actor *actor);
/* Sends a request as it is. Gives the status; *size is what the reply has. */
NTSTATUS actor_send(struct actor *actor, const void *message, size_t message_size, void *reply, size_t *size);
/* Sends a well-formed message, whose id it sets. Gives the Win32 code of the reply. */
uint32_t actor_request(struct actor *actor, void *message, struct cbp_reply *reply);
uint32_t actor_hello(struct actor *actor);
uint32_t actor_settings(struct actor *actor, const struct cbp_session_settings *settings);
uint32_t actor_altitude(struct actor *actor, uint32_t session_id, const char *altitude, bool is_strict);
/* Opens a session with these events at an altitude of its own. */
void actor_session(struct actor *actor, uint32_t session_id, uint32_t events, uint32_t timeout_ms,
                   uint32_t timeout_action);
uint32_t actor_session_close(struct actor *actor, uint32_t session_id);
uint32_t actor_worker(struct actor *actor, uint32_t session_id, bool is_worker);
uint32_t actor_launch(struct actor *actor, uint32_t session_id, uint32_t rule_id, uint32_t tid);
uint32_t actor_beat(struct actor *actor, uint32_t session_id, struct cbp_kernel_counts *counts);
uint32_t actor_rules(struct actor *actor, uint32_t session_id, const struct cbpi_rule *rules, uint32_t count);
uint32_t actor_block(struct actor *actor, const struct cbp_rules *request, const void *block, size_t size,
                     NTSTATUS *status);

/* Waits for the next message. NULL: the receive ended in another way, with *status. Free it with free(). */
struct cbp_event_message *actor_next(struct actor *actor, uint32_t session_id, NTSTATUS *status);
struct cbp_event_message *actor_expect(struct actor *actor, uint32_t session_id, uint32_t type, uint32_t pid);
bool actor_has_nothing(struct actor *actor, uint32_t session_id); /* no message comes at once */
struct shim_call *actor_receive(struct actor *actor, uint32_t session_id, uint64_t id, size_t room);
struct cbp_event_message *actor_taken(struct shim_call *call, NTSTATUS *status); /* frees the call */
uint32_t actor_answer(struct actor *actor, const struct cbp_event_message *message, uint32_t result_code);
uint32_t actor_answer_access(struct actor *actor, const struct cbp_event_message *message, uint32_t access);
uint32_t actor_deadline(struct actor *actor, const struct cbp_event_message *message, bool moves,
                        uint32_t timeout_ms, uint64_t *deadline_ns);
uint32_t actor_token(struct actor *actor, const struct cbp_event_message *message, uint64_t *handle);

/* ---- Rules ---- */
struct cbpi_rule rule_by_name(uint32_t rule_id, const char *pattern, uint32_t action, uint32_t value);
struct cbpi_rule rule_for_all(uint32_t rule_id, uint32_t action, uint32_t value);
struct cbpi_rule rule_for_process(uint32_t rule_id, uint32_t pid, uint32_t action, uint32_t value);

/* ---- Deeds: each runs in a thread of the machine ---- */
enum deed_kind { CREATE_PROCESS, END_PROCESS, CREATE_THREAD, END_THREAD, OPEN_HANDLE };
struct deed {
    enum deed_kind kind;
    uint32_t pid, tid; /* of the acting thread */
    struct shim_creation creation;
    struct shim_opening opening;
    uint32_t subject_pid, subject_tid, exit_status;
    NTSTATUS status;      /* of a creation */
    uint32_t access_left; /* of a handle */
    bool is_done;
    pthread_t thread;
};

void deed_run(struct deed *deed); /* in the calling thread */
void deed_start(struct deed *deed);
void deed_end(struct deed *deed); /* waits for it */
bool deed_is_done(struct deed *deed);
/* The shell creates a program with this path. */
struct deed creation_of(uint32_t pid, const wchar_t *image, const wchar_t *command_line);
struct deed opening_of(uint32_t pid, uint32_t access);
NTSTATUS create_program(uint32_t pid, const wchar_t *image); /* in this thread, as the shell */
void sleep_ms(uint32_t ms);

#endif
