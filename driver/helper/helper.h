/* Offers what a driver's helper is made of, beside the policy. A helper serves one controller from a process
 * of its own: slots and messages over the channel, answers, tasks by id, memory that does not run out.
 *
 * One thread owns all of it: the tracer or the debugger. Knows the channel and the policy, but no operating
 * system, no core and no Python. */
#ifndef CBPD_HELPER_H
#define CBPD_HELPER_H

#include "cbp_channel.h"
#include "event_messages.h"
#include "slots.h"
#include "text.h"

/* ---- Records: each is the first member of the driver's own ---- */

struct cbpd_task {
    struct cbpd_task *hash_next;
    struct cbpd_task *next, *previous; /* all tasks */
    uint32_t tid;
    struct cbpd_held *held; /* the operation that it waits for, if any */
};

/* An operation is held while sessions that were asked have not answered; each has one message. */
struct cbpd_held {
    struct cbpd_operation base;
    struct cbpd_held *next_settled;
    struct cbpd_task *task; /* NULL: the task no longer waits for it */
    uint32_t kind;          /* the driver's own number for it */
};

struct cbpd_helper;

/* The driver provides this. The helper is the first member of the driver's own. */
struct cbpd_helper_host {
    size_t task_size, held_size;                                     /* sizes of the driver's records */
    uint32_t (*capabilities_of)(const struct cbpd_process *process); /* the CAP_ bits that hold for it */
    uint64_t (*now_ns)(void);                                        /* the clock of deadlines */
    uint64_t (*wall_ns)(void);                                       /* since 1970 */
    /* Wakes one of the session's workers that sleep on its bell. */
    void (*wake_worker)(struct cbpd_helper *helper, uint32_t session_id);
    /* Gives the parent's id as the system has it now. Each message asks for it. */
    uint32_t (*parent_pid_of)(struct cbpd_helper *helper, const struct cbpd_process *process);
    /* Gives the memory of a large slot back to the system, except its first page. NULL: it stays. */
    void (*discard_slot)(void *slot, size_t size);
    /* Copies the block of helper->loading.request, because the core could still write to it, and closes what
     * it came in. Another thread than the helper's calls this. CBP_ERROR_INVALID_DATA,
     * CBP_ERROR_NOT_ENOUGH_MEMORY. */
    uint32_t (*copy_rules)(struct cbpd_helper *helper, void **block);
    /* Takes a running process with all its threads, and its descendants if children, under the filter. On an
     * error the process goes on as if nothing had been tried. CBP_ERROR_INVALID_PARAMETER: there is no such
     * process. CBP_ERROR_BUSY: it has another tracer, or processes cannot be listed now.
     * CBP_ERROR_ACCESS_DENIED: it must not be traced. */
    uint32_t (*attach_process)(struct cbpd_helper *helper, uint32_t pid, uint64_t start_time, bool children);
    /* Attaches to every process of the helper's user for whose image cbpd_attachment_for() says so, and skips
     * those that it cannot attach to. An error means that processes cannot be listed. */
    uint32_t (*attach_matching)(struct cbpd_helper *helper, struct cbpd_rule_set *set,
                                uint32_t wanted_rule_id);
    /* Lets attached processes go that no rule concerns any more. Nothing is told of them from then on. */
    void (*let_released_go)(struct cbpd_helper *helper);
    /* The first rule that allows is in force: from now on cbpd_path_leads_to_file() must be able to answer
     * for every process's program. NULL: it always is. */
    void (*identify_programs)(struct cbpd_helper *helper);
};

enum { CBPD_ONLY_CONTROLLER = 0 };

/* One request at a time is loaded, and its state names the thread that owns it. */
enum cbpd_loading_state { CBPD_LOADING_IDLE, CBPD_LOADING_WANTED /* by another thread */, CBPD_LOADING_DONE };

struct cbpd_loading {
    uint32_t state; /* atomic */
    struct cbp_rules request;
    uint32_t status;
    struct cbpd_rule_set *set; /* if status is 0 */
};

/* This is a helper's state, all 0 before cbpd_helper_init(). Only the reserve of memory (reserve.c) is the
 * whole process's. */
struct cbpd_helper {
    struct cbpd_policy policy;
    const struct cbpd_helper_host *host;
    struct cbp_channel *channel;
    struct cbpd_loading loading;
    struct cbpd_slots slots;
    struct cbpd_held *settled, **settled_tail; /* operations with all answers, not yet applied */
    struct cbpd_task *tasks;
    struct cbpd_task *task_buckets[1 << CBPD_BUCKET_BITS];
    uint32_t task_count;
    bool leaving;         /* the controller is done or gone: let everything go */
    bool controller_gone; /* no answers come any more */
};

/* Starts a helper that has its channel. False: no memory. */
bool cbpd_helper_init(struct cbpd_helper *helper, const struct cbpd_helper_host *host,
                      const struct cbpd_host *policy_host);

/* ---- reserve.c: memory for what has to be done ---- */
/* Gives memory that is all 0, from a reserve if the system has none. NULL: the reserve is used up, too, or
 * has no block so large. Any thread. */
void *cbpd_allocate_surely(size_t size);
void cbpd_free_surely(void *memory);
/* Serves as cbpd_host's allocate. */
void *cbpd_allocate(size_t size, bool surely);

/* ---- task_table.c: tasks by id ---- */
struct cbpd_task *cbpd_find_task(const struct cbpd_helper *helper, uint32_t tid);
/* Makes a task with that id. NULL without memory. */
struct cbpd_task *cbpd_make_task(struct cbpd_helper *helper, uint32_t tid);
void cbpd_rename_task(struct cbpd_helper *helper, struct cbpd_task *task, uint32_t tid);
void cbpd_free_task(struct cbpd_helper *helper, struct cbpd_task *task);

/* ---- telling.c: telling and asking sessions ---- */
/* Tells every session that wants the report. If a session is asked, *held waits for its answer; a *held that
 * is NULL is made, and stays NULL if no session is asked. *refusal keeps the code of an earlier refusal or
 * gets that of a rule, and whether a rule takes away a right that is asked for. sequences (may be NULL) gets
 * each session's first sequence number, or 0. */
void cbpd_post(struct cbpd_helper *helper, const struct cbpd_report *report, struct cbpd_held **held,
               struct cbpd_refusal *refusal, uint64_t *sequences);
/* Works like cbpd_post() for an operation that has already happened: no answer is awaited. */
void cbpd_tell_past(struct cbpd_helper *helper, struct cbpd_report *report);

/* ---- holding.c: what a task is held for ---- */
/* The task waits until the operation has all its answers. */
void cbpd_hold(struct cbpd_task *task, struct cbpd_held *held, uint32_t kind);
/* Posts a report on a task that stands still. True: a session is asked, and the task waits. False:
 * *result_code gets what rules say. */
bool cbpd_is_held(struct cbpd_helper *helper, struct cbpd_task *task, const struct cbpd_report *report,
                  uint32_t kind, uint32_t *result_code);

/* ---- telling.c ---- */
/* Adds to a counter of every open session, at that offset in struct cbp_channel_session. */
void cbpd_count_for_all(struct cbpd_helper *helper, size_t offset);
void cbpd_count_lost(struct cbpd_helper *helper); /* an event that no session can be told of */

/* ---- slots.c: messages into the channel, answers out of it ---- */
void cbpd_slots_init(struct cbpd_slots *slots);
struct cbp_channel_session *cbpd_channel_of(const struct cbpd_helper *helper, uint32_t session_id);
/* Gives room for a message of size bytes; cbpd_commit_message() must follow. NULL without memory. */
struct cbp_event_message *cbpd_begin_message(struct cbpd_helper *helper, uint32_t size, uint32_t *slot);
/* Sends the message; held (may be NULL) waits for its answer. False: it is lost, and held does not wait. */
bool cbpd_commit_message(struct cbpd_helper *helper, struct cbp_event_message *message, uint32_t slot,
                         struct cbpd_held *held, const struct cbpd_answerable *answerable);
/* Says whether the session's dispatcher has been silent for so long that every deadline counts as passed. */
bool cbpd_session_is_stale(const struct cbpd_helper *helper, uint32_t session_id, uint64_t now);
/* Counts an operation that timed out. Gives the code with which the session refuses it, or 0. */
uint32_t cbpd_count_timeout(struct cbpd_helper *helper, uint32_t session_id, bool is_creation);
bool cbpd_answers_are_there(const struct cbpd_helper *helper);
/* Says whether nothing will be held once the answers are collected. */
bool cbpd_answers_settle_everything(const struct cbpd_helper *helper);
void cbpd_collect_answers(struct cbpd_helper *helper);
/* Stops waiting for answers whose deadline has passed. */
void cbpd_expire_operations(struct cbpd_helper *helper);
/* Gives an operation that has all its answers, which the caller applies and frees, or NULL. Call it after
 * each of the two functions above, and after sessions were closed. */
struct cbpd_held *cbpd_next_settled(struct cbpd_helper *helper);
/* The task no longer waits. False: it did not wait before. */
bool cbpd_drop_held(struct cbpd_task *task);
void cbpd_release_session_slots(struct cbpd_helper *helper, uint32_t session_id);
void cbpd_release_every_slot(struct cbpd_helper *helper);
bool cbpd_anything_held(const struct cbpd_helper *helper);
/* Says whether an operation whose message has that size can be held as well. */
bool cbpd_has_room_to_hold(const struct cbpd_helper *helper, size_t size);
uint64_t cbpd_next_deadline_ns(const struct cbpd_helper *helper); /* 0: none */

/* ---- rule_requests.c: the one controller's rules ---- */
/* Puts the set in force in place of what the request names, or frees it and gives an error. The reply has the
 * error code and *failed_rule_id. */
uint32_t cbpd_serve_rules(struct cbpd_helper *helper, const struct cbp_rules *request,
                          struct cbpd_rule_set *set, uint64_t *failed_rule_id);

/* ---- loading.c: rules on their way into force ---- */
void cbpd_begin_loading(struct cbpd_helper *helper, const struct cbp_rules *request);
bool cbpd_is_loading(const struct cbpd_helper *helper, enum cbpd_loading_state state);
/* Copies and validates rules that wait for it. False: there are none. The other thread calls this. */
bool cbpd_load_wanted_rules(struct cbpd_helper *helper);
/* Puts rules in force that have been loaded (CBPD_LOADING_DONE). Gives the reply to their request. */
struct cbp_reply cbpd_finish_loading(struct cbpd_helper *helper);

/* ---- requests.c: what the controller asks for ---- */
/* Gives the type of a request of which size bytes have come, or 0 if it is malformed. */
uint32_t cbpd_request_type(const void *message, uint64_t size);
/* Serves a request of that type, except launches and the loading of rules, which are the driver's. Gives the
 * status for its reply, which is CBP_ERROR_INVALID_DATA for any other type. */
uint32_t cbpd_serve_request(struct cbpd_helper *helper, uint32_t type, const void *message, uint64_t *value);
struct cbp_reply cbpd_reply_to(struct cbpd_helper *helper, const struct cbp_message_header *request,
                               uint32_t status, uint64_t value);

#endif
