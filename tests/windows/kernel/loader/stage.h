/* States what the scenarios of cbprocess.sys are made of: a controller with its sessions and workers, the
 * threads whose operations it is asked about, and the oracle that knows what everybody did.
 *
 * A story is what happens to one process, in this order of steps. Its ids say which story it is, so that any
 * message can be held against it. The oracle never asks the driver. */
#ifndef STAGE_H
#define STAGE_H

#include "cbp_message.h"
#include "scenario.h"

enum step {
    STEP_CREATION,
    STEP_THREAD,
    STEP_OPEN,        /* a handle of the process */
    STEP_OPEN_THREAD, /* one of its thread */
    STEP_DUPLICATE,   /* a copy of a handle of the process */
    STEP_THREAD_END,
    STEP_END,
    STEP_COUNT
};

enum { SESSIONS_MAX = 2, WORKERS_MAX = 8, ORIGINATORS_MAX = 16 };

/* One session of the stage is told this of one step. */
struct told {
    uint32_t deliveries;   /* atomic: messages that a receive has got, whole or in part */
    uint32_t accepted;     /* atomic: answers that the driver has accepted */
    uint32_t flags;        /* CBP_EVENT_FLAG_, as delivered */
    uint32_t code, access; /* of the accepted answer */
    uint64_t sequence;
};

/* One step, as its thread has seen it. */
struct step_record {
    bool is_done;
    bool is_over[SESSIONS_MAX]; /* that session had begun to close when the step returned */
    uint32_t access, left;      /* of a handle operation: asked for, and got */
    NTSTATUS status;            /* of a creation */
    uint64_t began_ns, ended_ns;
};

/* ---- oracle.c ---- */
struct plan {
    uint64_t seed;
    unsigned originators, stories, sessions; /* stories of each originator */
    bool
        counts_exactly; /* nobody closes anything before the end: every step is told and answered or timed out */
    bool refuses;       /* handlers refuse some of the steps */
};
void oracle_open(const struct plan *plan);
void oracle_check(void); /* all threads have ended: compares what was answered with what became of it */
void oracle_close(void);
const struct plan *oracle_plan(void);
struct step_record *oracle_step(unsigned story, enum step step);
uint32_t story_pid(unsigned story);
uint32_t story_tid(unsigned story);
uint32_t originator_pid(unsigned originator);
/* Finds what the message is about, checks each of its fields, and counts the delivery. NULL: it is not about
 * a story of the stage. is_partial: only the fixed part has come. */
struct told *oracle_deliver(unsigned session, const struct cbp_event_message *message, uint64_t size,
                            bool is_partial);
/* Gives what the handler decides about that step in that session. */
void oracle_decide(unsigned session, const struct cbp_event_message *message, uint32_t *code,
                   uint32_t *access);
void oracle_answered(struct told *told, uint32_t code, uint32_t access);
void oracle_session_ends(unsigned session); /* from now on it may let steps go */
bool oracle_session_has_ended(unsigned session);
void oracle_check_counts(unsigned session, const struct cbp_kernel_counts *counts);
unsigned long oracle_deliveries(void); /* of all rounds so far */
unsigned long oracle_answers(void), oracle_timeouts(void), oracle_steps(void);

/* ---- controller.c ---- */
struct worker;
struct controller {
    struct nt_process *process;
    struct nt_thread *thread;
    pthread_mutex_t lock;
    struct io_file *file; /* NULL: closed */
    bool is_dead;         /* its threads send nothing any more */
    bool is_slow;         /* they are interrupted between taking the handle and sending */
};
void controller_open(struct controller *controller, uint32_t pid);
struct io_file *controller_hold(struct controller *controller); /* NULL: closed, or dead */
/* Sends a request in the calling thread. Gives the Win32 code of the reply. */
uint32_t controller_request(struct controller *controller, const void *message, uint32_t size,
                            struct cbp_reply *reply);
enum { CODE_CLOSED = 0xffffffff }; /* there is no file to send it to */
uint32_t controller_hello(struct controller *controller);
struct session_wish {
    uint32_t session_id, events, timeout_ms, timeout_action;
    uint64_t altitude;
};
uint32_t controller_session(struct controller *controller, const struct session_wish *wish);
/* Sends one rule for all. spoiling (may be NULL): one bit of the block is wrong, and *expected gets the code. */
uint32_t controller_rule_all(struct controller *controller, uint32_t session_id, uint32_t action,
                             struct random *spoiling, uint32_t *expected);
uint32_t controller_ask_all(struct controller *controller, uint32_t session_id); /* one rule: ask about all */
uint32_t controller_arm(struct controller *controller, uint32_t session_id, const char *altitude,
                        bool is_strict);
uint32_t controller_beat(struct controller *controller, uint32_t session_id,
                         struct cbp_kernel_counts *counts);
uint32_t controller_close_session(struct controller *controller, uint32_t session_id);
void controller_close_file(struct controller *controller);
void controller_die(struct controller *controller, bool is_file_kept); /* its workers have ended */
void controller_forget(struct controller *controller);

/* ---- workers.c ---- */
/* How workers behave, in parts of 256. */
struct manners {
    unsigned cancel, small, twice, stray, drop, defer, token, deadline, act;
};
struct crew {
    struct controller *controller;
    unsigned session; /* of the stage; its id is the same */
    unsigned count;
    struct manners manners;
    struct controller *rival;     /* of another session; NULL: there is none */
    struct nt_process *bystander; /* with which a worker does something itself */
    uint32_t running;             /* atomic */
    struct player players[WORKERS_MAX];
    struct worker *workers;
};
void crew_start(struct crew *crew, uint64_t seed);
void crew_wait_ready(struct crew *crew);                  /* all of them are known as workers */
void crew_kill(struct crew *crew);                        /* their process ends, and they with it */
void crew_join(struct crew *crew, bool are_threads_told); /* tells the driver that the threads end */

/* ---- originators.c ---- */
struct originators {
    unsigned count;
    struct player players[ORIGINATORS_MAX];
    struct nt_process *processes[ORIGINATORS_MAX];
    bool stops; /* atomic: they end after the story that they are in */
};
void originators_prepare(struct originators *originators, unsigned count);
void originators_start(struct originators *originators);
void originators_join(struct originators *originators);
void originators_forget(struct originators *originators);

/* ---- rounds.c: one load of the driver, from its start to its unload ---- */
enum ending { ENDING_CALM, ENDING_SESSION, ENDING_FILE, ENDING_DEATH, ENDING_DEATH_KEPT, ENDING_COUNT };
struct round {
    uint64_t seed;
    enum ending ending;
    bool unloads_early; /* while operations go on */
    bool is_hasty;      /* deadlines pass, because time does so faster */
    bool has_churn;     /* another controller opens and closes all the time */
    unsigned special_share;
    const char *lacks; /* a routine that this version of the system does not have; NULL: it has all */
    struct plan plan;
    unsigned workers;
    struct manners manners;
    uint64_t took_ns;    /* of a calm round: from the first operation to the last */
    uint64_t release_ns; /* after the death: until the last operation that waited went on */
};
void round_run(struct image *image, struct round *round);

/* ---- the modes ---- */
void races_run(struct image *image, const struct options *options);
void rate_run(struct image *image, const struct options *options);
void death_run(struct image *image, const struct options *options);
void unload_run(struct image *image, const struct options *options);
void deadline_run(struct image *image, const struct options *options);
void failures_run(struct image *image, const struct options *options);
void exempt_run(struct image *image, const struct options *options);

#endif
