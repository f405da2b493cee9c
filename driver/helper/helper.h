/* A program that serves one controller from a process of its own: slots and messages over the channel,
 * answers, tasks by id, memory that does not run out. What a driver's helper is made of, beside the policy.
 *
 * One thread owns all of it, the one that traces or debugs. Knows the channel and the policy; no operating
 * system, no core, no Python. */
#ifndef CBPD_HELPER_H
#define CBPD_HELPER_H

#include "cbp_channel.h"
#include "policy.h"
#include "text.h"

/* ---- Records: each the first member of the driver's own ---- */

struct cbpd_task {
    struct cbpd_task *hash_next;
    struct cbpd_task *next, *previous; /* all tasks */
    uint32_t tid;
    struct cbpd_held *held; /* what it waits for, if anything */
};

/* One operation that is held: one message for each session that was asked. */
struct cbpd_held {
    struct cbpd_operation base;
    struct cbpd_held *next_settled;
    struct cbpd_task *task; /* NULL once it goes another way */
    uint32_t kind;          /* the driver's own */
};

/* Events of one task that belong together, before sessions are told. */
struct cbpd_report {
    struct cbpd_request request;
    const struct cbpd_process *process;
    const struct cbpd_image *image; /* under which name the process is told */
    const char *arguments;
    uint32_t arguments_size;
    uint32_t originator_pid, originator_tid;
    uint32_t user_id;
    uint32_t exit_status;
    uint32_t thread_id;
    uint32_t source_pid, target_pid; /* of a duplication */
    uint32_t capabilities;           /* the CAP_ bits that hold for the process */
    uint64_t since_ns;               /* from when on deadlines count; 0: from now on */
    bool is_past;                    /* it has happened already: nothing is held */
};

struct cbpd_helper;

/* What the driver provides. The helper is the first member of what the driver has. */
struct cbpd_helper_host {
    size_t task_size, held_size;                                     /* of the driver's records */
    uint32_t (*capabilities_of)(const struct cbpd_process *process); /* the CAP_ bits that hold for it */
    uint64_t (*now_ns)(void);                                        /* the clock of deadlines */
    uint64_t (*wall_ns)(void);                                       /* since 1970 */
    /* Wakes one of the session's workers that sleep on its bell. */
    void (*wake_worker)(struct cbpd_helper *helper, uint32_t session_id);
    /* The parent's id, as the system would say now: asked for each message. */
    uint32_t (*parent_pid_of)(struct cbpd_helper *helper, const struct cbpd_process *process);
    /* Gives the memory of a large slot back to the system, but for its first page. */
    void (*discard_slot)(void *slot, size_t size);
    /* Takes a running process with all its threads under the filter, with its descendants if children. 0;
     * CBP_ERROR_INVALID_PARAMETER: there is no such process; CBP_ERROR_BUSY: another tracer has it, or nobody
     * can list processes now; CBP_ERROR_ACCESS_DENIED: it must not be traced. On an error it goes on as if
     * nothing had been tried. */
    uint32_t (*attach_process)(struct cbpd_helper *helper, uint32_t pid, uint64_t start_time, bool children);
    /* Likewise, for every process of our user for whose image cbpd_attachment_for() says so; those that
     * cannot be had are left alone. An error if processes cannot be listed. */
    uint32_t (*attach_matching)(struct cbpd_helper *helper, struct cbpd_rule_set *set,
                                uint32_t wanted_rule_id);
    /* Lets the attached processes go that no rule concerns any more: nothing is told of them from now on. */
    void (*let_released_go)(struct cbpd_helper *helper);
    /* There is a rule that allows: sees to it that cbpd_path_leads_to_file() can be answered for every process's
     * program. Until then it need not be. */
    void (*identify_programs)(struct cbpd_helper *helper);
};

enum { CBPD_TASK_BUCKET_BITS = 12, CBPD_ONLY_CONTROLLER = 0 };

/* All of it; all 0 before cbpd_helper_init(). */
struct cbpd_helper {
    struct cbpd_policy policy;
    const struct cbpd_helper_host *host;
    struct cbp_channel *channel;
    struct cbpd_held *settled, **settled_tail; /* all answers are in, and they have not been applied */
    struct cbpd_task *tasks;
    struct cbpd_task *task_buckets[1 << CBPD_TASK_BUCKET_BITS];
    uint32_t task_count;
    bool leaving;         /* the controller is gone or done: let everything go */
    bool controller_gone; /* nobody answers any more */
};

/* The channel is there by now. False: no memory. */
bool cbpd_helper_init(struct cbpd_helper *helper, const struct cbpd_helper_host *host,
                      const struct cbpd_host *policy_host);

/* ---- reserve.c: memory for what has to be done ---- */
/* All 0; from a reserve where the system has none. NULL: that is used up, too, or has no block so large. Any
 * thread. */
void *cbpd_allocate_surely(size_t size);
void cbpd_free_surely(void *memory);
/* For a struct cbpd_host. */
void *cbpd_allocate(size_t size, bool surely);

/* ---- tasks.c: tasks by id ---- */
struct cbpd_task *cbpd_find_task(const struct cbpd_helper *helper, uint32_t tid);
struct cbpd_task *cbpd_make_task(struct cbpd_helper *helper, uint32_t tid); /* NULL without memory */
void cbpd_rename_task(struct cbpd_helper *helper, struct cbpd_task *task, uint32_t tid);
void cbpd_free_task(struct cbpd_helper *helper, struct cbpd_task *task);

/* ---- messages.c: telling and asking sessions ---- */
/* Tells every session that wants it. A session that is asked is waited for by *held, which is made if it is
 * NULL (not yet complete); still NULL afterwards: nothing is asked. *refusal keeps the code of an earlier
 * refusal, or gets that of a rule that denies, and whether a rule takes a right away that is asked for.
 * sequences (may be NULL) gets each session's first sequence number or 0. */
void cbpd_post(struct cbpd_helper *helper, const struct cbpd_report *report, struct cbpd_held **held,
               struct cbpd_refusal *refusal, uint64_t *sequences);
/* Like cbpd_post(), for an operation that has already happened: sessions are told, and no answer is awaited.
 */
void cbpd_tell_past(struct cbpd_helper *helper, struct cbpd_report *report);

/* ---- reports.c: what a task is held for ---- */
void cbpd_add_item(struct cbpd_report *report, uint32_t type, uint32_t flags);
void cbpd_hold(struct cbpd_task *task, struct cbpd_held *held, uint32_t kind); /* until its answers are in */
/* Posts a report on a task that stands still. True: somebody is asked, and the task waits. False: *result_code
 * is what rules say. */
bool cbpd_is_held(struct cbpd_helper *helper, struct cbpd_task *task, const struct cbpd_report *report,
                  uint32_t kind, uint32_t *result_code);

/* ---- messages.c ---- */
/* Adds to a counter of every open session: offset is that of the counter in struct cbp_channel_session. */
void cbpd_count_for_all(struct cbpd_helper *helper, size_t offset);

/* ---- slots.c: messages into the channel, answers out of it ---- */
void cbpd_slots_init(void);
struct cbp_channel_session *cbpd_channel_of(const struct cbpd_helper *helper, uint32_t session_id);
/* Room for a message of size bytes; NULL without memory. To be followed by cbpd_commit_message() with the
 * same slot. */
struct cbp_event_message *cbpd_begin_message(struct cbpd_helper *helper, uint32_t size, uint32_t *slot);
/* Sends it; held (may be NULL) waits for its answer. False: it is lost, and nobody waits. */
bool cbpd_commit_message(struct cbpd_helper *helper, struct cbp_event_message *message, uint32_t slot,
                         struct cbpd_held *held, const struct cbpd_answerable *answerable);
/* The dispatcher has been silent for longer than a deadline: as if every deadline had passed already. */
bool cbpd_session_is_stale(const struct cbpd_helper *helper, uint32_t session_id, uint64_t now);
/* Counts an operation that was let go at its deadline. Gives the code with which the session refuses it, or
 * 0.
 */
uint32_t cbpd_count_timeout(struct cbpd_helper *helper, uint32_t session_id, bool is_creation);
bool cbpd_answers_are_there(const struct cbpd_helper *helper);
/* Whether nothing will be held once they are collected. */
bool cbpd_answers_settle_everything(const struct cbpd_helper *helper);
void cbpd_collect_answers(struct cbpd_helper *helper);
void cbpd_expire_operations(struct cbpd_helper *helper); /* those whose deadline has passed */
/* An operation whose answers are all in, which the caller applies and frees; NULL: there is none. To be asked
 * after each of the two above, and after sessions were closed. */
struct cbpd_held *cbpd_next_settled(struct cbpd_helper *helper);
bool cbpd_drop_held(struct cbpd_task *task); /* it goes another way; false: it did not wait */
void cbpd_release_session_slots(struct cbpd_helper *helper, uint32_t session_id);
void cbpd_release_every_slot(struct cbpd_helper *helper);
bool cbpd_anything_held(void);
/* Whether an operation with so much to tell can be held as well. */
bool cbpd_has_room_to_hold(size_t size);
uint64_t cbpd_next_deadline_ns(void); /* 0: none */

/* ---- rules.c: the one controller's rules ---- */
/* Puts the set in the place of what the request says; it is freed where that fails. Error codes and
 * *failed_rule_id for the reply. */
uint32_t cbpd_serve_rules(struct cbpd_helper *helper, const struct cbp_rules *request,
                          struct cbpd_rule_set *set, uint64_t *failed_rule_id);
uint32_t cbpd_serve_launch_forget(struct cbpd_helper *helper, const struct cbp_launch_forget *request);

/* ---- loading.c: rules on their way into force ---- */
/* One request at a time, whose owner its state names. */
enum cbpd_loading_state { CBPD_LOADING_IDLE, CBPD_LOADING_WANTED /* another thread's */, CBPD_LOADING_DONE };

struct cbpd_loading {
    uint32_t state; /* atomic */
    struct cbp_rules request;
    uint32_t status;
    struct cbpd_rule_set *set; /* if status is 0 */
};

void cbpd_begin_loading(struct cbpd_loading *loading, const struct cbp_rules *request);
bool cbpd_is_in_state(const struct cbpd_loading *loading, enum cbpd_loading_state state);
/* The other thread's: validates the block, if status is 0, and takes it over. */
void cbpd_validate_rules(struct cbpd_loading *loading, const struct cbpd_host *host, uint32_t status,
                         void *block);
/* Once they are validated: puts them in force. Gives the status for the reply to loading->request, and *value. */
uint32_t cbpd_finish_loading(struct cbpd_helper *helper, struct cbpd_loading *loading, uint64_t *value);

/* ---- sessions.c: the one controller's sessions ---- */
/* Error codes for the reply to the request. */
uint32_t cbpd_serve_session(struct cbpd_helper *helper, const struct cbp_session_settings *settings);
uint32_t cbpd_serve_session_close(struct cbpd_helper *helper, uint32_t session_id);

/* ---- requests.c: what the controller asks for ---- */
/* The type of a request; 0: it is malformed. The size is what has come. */
uint32_t cbpd_request_type(const void *message, uint64_t size);
/* Serves a request of that type, but for launches and the loading of rules, which are the driver's. Gives the
 * status for its reply: CBP_ERROR_INVALID_DATA for any other type. */
uint32_t cbpd_serve_request(struct cbpd_helper *helper, uint32_t type, const void *message, uint64_t *value);
struct cbp_reply cbpd_reply_to(struct cbpd_helper *helper, const struct cbp_message_header *request,
                               uint32_t status, uint64_t value);

#endif
