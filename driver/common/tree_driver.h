/* What every tree driver's helper has alike: rules and stances of processes, who is told what, slots and
 * answers. The functions of driver/common/ work on the driver's own data, which its supervisor.h declares:
 * struct process, struct task, struct operation and self, with the members that are named at the end.
 *
 * One thread, the tracer, owns all of it. Knows the protocol; no operating system, no core, no Python. */
#ifndef CBP_TREE_DRIVER_H
#define CBP_TREE_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cbp_channel.h"
#include "cbp_message.h"
#include "cbp_ruleset.h"
#include "text.h"

enum { HANDLE_OPERATIONS = CBP_PROC_EVT_PROCESS_HANDLE_OPERATION | CBP_PROC_EVT_THREAD_HANDLE_OPERATION };

struct operation;
struct process;
struct task;

/* A rule that a process is remembered to have. Sets of rules come and go under it: what counts is whether the
 * session that it was of still has one with that id. */
struct rule_ref {
    uint32_t session_id;
    uint32_t session_serial; /* ids of sessions are used again, these are not */
    uint32_t rule_id;
    bool is_launch; /* made by a launch (this process, its descendants, ask): in no set */
};

/* Shared, and immutable but for the stamp. */
struct rule_list {
    uint32_t reference_count;
    uint32_t count;
    uint32_t stamp; /* of whoever goes through many lists and wants to see each once */
    struct rule_ref refs[];
};

/* A file that an execution goes through, by its names. */
struct image_file {
    const char *path; /* where it lies */
    uint32_t path_size;
    const char *given; /* by which name it was meant: a link, maybe relative */
    uint32_t given_size;
    uint64_t device, inode; /* where the driver knows them; else 0 */
    bool is_deleted;        /* the path leads to it no more */
};

enum { IMAGE_FILE_MAX = 8 };

/* What a process executes. Immutable but for the cache of matching rules; shared by forks. */
struct image {
    uint32_t reference_count;
    uint32_t rules_generation; /* for which matches was computed; 0: never */
    const char *path;          /* of the executable: the last file's */
    uint32_t path_size;
    const char *given; /* the path that execve was given: the first file's */
    uint32_t given_size;
    struct rule_list *matches; /* the name rules that match; NULL: none */
    bool is_vague;             /* it has names that are not known */
    uint32_t file_count;
    struct image_file files[]; /* their texts follow */
};

/* What the rules make of a process: computed when it is asked for, once for each generation of the rules. */
struct standing {
    uint32_t rules_generation; /* for which stances and bequest were computed; 0: never */
    bool is_of_concern;        /* some rule concerns it */
    bool is_let_go;            /* it has been taken out: whatever rules say, it is nobody's business */
    struct rule_ref launch;    /* the rule of the launch that it is the root of; rule id 0: none */
    struct rule_list *inherited;
    struct rule_list *bequest; /* what its children inherit */
    struct cbp_stance stances[CBP_SESSION_MAX];
    /* Of lines.c. */
    uint64_t walk;           /* the last one that came by */
    struct process *below;   /* in that walk: the next one down the line */
    struct rule_list *fresh; /* while there are new rules: what of them its children inherit; else NULL */
    uint64_t search;         /* the last one that came by */
    const struct process *branch; /* what it has found */
};

/* A part of a session's rules that has been validated, with what is asked about it as a whole. */
struct rule_set {
    struct cbp_ruleset *block;                      /* a copy of its own */
    uint64_t *matches;                              /* for one match at a time: all 0 between */
    uint32_t counts[CBP_ACTION_STRIP + 1];          /* by action */
    uint32_t match_counts[CBP_RULE_MATCH_NAME + 1]; /* by what they match */
    uint32_t strip_mask;                            /* of all strip rules together */
};

/* All sessions' rules. */
struct rule_sets {
    struct rule_set *of[CBP_SESSION_MAX][CBP_RULES_PART_COUNT]; /* NULL: none */
    uint32_t generation;                                        /* of them all; never 0 */
    uint32_t counts[CBP_ACTION_STRIP + 1];
    uint32_t broad_count; /* for names and for all: they may concern anybody later */
    uint32_t strip_mask;  /* of those that have gone, too */
};

/* What an answer to a message can do. */
struct answerable {
    uint32_t refusable_items; /* bits: items whose result code refuses */
    uint32_t access;          /* of a handle operation: rights whose loss refuses */
    bool is_creation;         /* the session's timeout action applies */
};

struct session {
    bool open;
    uint32_t events;
    uint32_t timeout_ms;
    uint32_t timeout_action;
    uint32_t refuse_with;
    uint32_t flags;
    uint64_t sequence; /* of the last event */
    uint64_t altitude;
    uint64_t opened;       /* counts up with each session that is opened */
    uint32_t last_rule_id; /* the highest that was ever in force: ids only rise */
};

/* Events of one task that belong together, before they are told to sessions. */
struct report {
    struct task *task;
    struct process *process;
    struct image *image; /* under which name the process is told */
    const char *arguments;
    uint32_t arguments_size;
    uint32_t originator_pid, originator_tid;
    uint32_t user_id;
    uint32_t exit_status;
    uint32_t item_count;
    uint32_t thread_id;
    uint32_t access;                 /* of a handle operation: what it asks for */
    uint32_t source_pid, target_pid; /* of a duplication */
    uint32_t result_code;            /* not 0: it is refused already, whatever rules say */
    uint64_t since_ns;               /* from when on deadlines count; 0: from now on */
    bool is_past;                    /* it has happened already: nothing is held */
    bool is_by_creator; /* the originator has created the subject, or who did, and has stayed what it was */
    uint32_t types[CBP_BATCH_MAX];
    uint32_t flags[CBP_BATCH_MAX];
    const struct cbp_stance *originator; /* stances by session; NULL: nobody's */
    const struct cbp_stance *subject;
};

/* ---- reserve.c: memory for what has to be done ---- */
/* All 0; from a reserve where the system has none. NULL: that is used up, too, or has no block so large. Any
 * thread. */
void *allocate_surely(size_t size);
void free_surely(void *memory);

/* ---- table.c: tasks and processes by id ---- */
struct task *find_task(uint32_t tid);
struct task *make_task(uint32_t tid); /* NULL without memory */
void rename_task(struct task *task, uint32_t tid);
void free_task(struct task *task);
struct process *find_process(uint32_t pid); /* that has not ended */
/* Without a reference, which the caller takes; it holds its parent. NULL without memory. */
struct process *add_process(uint32_t pid, struct process *parent);
void end_process(struct process *process); /* the id may be another's from now on */
/* Gives a reference back; with the last one the process is forgotten, and its reference to its parent. */
void release_process(struct process *process);

/* ---- rule_sets.c: the rules of the sessions ---- */
/* Makes a set of a copy of a block, which becomes the set's, aligned to 8, to be freed with free(); freed at
 * once if it is malformed or not for this system. Any thread. CBP_ERROR_INVALID_DATA,
 * CBP_ERROR_NOT_ENOUGH_MEMORY. */
uint32_t make_rule_set(void *block, size_t size, struct rule_set **set);
void free_rule_set(struct rule_set *set);
void clear_matches(struct rule_set *set);
/* Puts the set in the place of what the request says; it is freed where that fails. Error codes and
 * *failed_rule_id for the reply. */
uint32_t install_rules(const struct cbp_rules *request, struct rule_set *set, uint64_t *failed_rule_id);
void remove_session_rules(uint32_t session_id);
/* Whether the name rules of a set, which is not in force yet, want a running process with this image: those
 * that have RULE_FLAG_ATTACH, and if wanted_rule_id is not ATTACH_ALL, that id. */
enum attachment { ATTACH_NOTHING, ATTACH_PROCESS, ATTACH_TREE /* its descendants as well */ };
enum attachment attachment_for(const struct image *image, struct rule_set *set, uint32_t wanted_rule_id);

/* ---- rules.c: what the rules make of whom ---- */
/* By session, until the rules or the process's name change. */
const struct cbp_stance *stances_of(struct process *process);
void stances_under_image(const struct process *process, struct image *image, struct cbp_stance *stances);
void rename_standing(struct process *process);         /* it goes by another image */
struct rule_list *bequest_of(struct process *process); /* what its children inherit; NULL: nothing */
/* Adds what these stances oblige to, until the rules change; exemptions it has only where they have them. */
void oblige(struct process *process, const struct cbp_stance *stances);
void inherit_rules(struct process *child, struct process *parent);
/* Nobody knows whose child it is: besides what it has it gets what this one would have left it, but for what
 * exempts from anything: a guess must never free anybody. */
void inherit_obligations(struct process *child, struct process *candidate);
bool is_exemption(const struct rule_ref *ref); /* the rule ignores or allows, or is none any more */
void release_standing(struct process *process);
/* Whether an attached process is to be let go: no rule concerns it, nor may one when it executes another
 * program. */
bool is_released(struct process *process);

/* ---- rule_lists.c ---- */
extern struct rule_list unknown_rules; /* of whom there was no memory to remember the rules of: refuse all */
struct rule_list *make_rule_list(const struct rule_ref *refs, uint32_t count); /* NULL: of none */
struct rule_list *share_rule_list(struct rule_list *list);
void release_rule_list(struct rule_list *list);

/* ---- lines.c: who descends from whom, and what changes for those who live ---- */
/* A set has taken effect: descendants that live now inherit those of its rules with ids above newer_than. */
void bequeath_to_living(uint32_t session_id, struct rule_set *set, uint32_t newer_than);
/* The rule (its descendants too, ask) of a launch whose root is the process. */
void add_launch_rule(uint32_t session_id, uint32_t rule_id, struct process *process);
uint32_t forget_launch(uint32_t session_id, uint32_t rule_id);
/* Of many processes, who descends from one: until the next search begins each step up is taken once. */
void begin_search(const struct process *ancestor);
/* The child of that ancestor from which the process descends, or which it is; NULL: it is no descendant. */
const struct process *branch_of(struct process *process);

/* ---- sessions.c ---- */
/* Whether the session is told before the other one, and its refusal goes before the other's. */
bool session_is_above(uint32_t session_id, uint32_t other_id);
/* Whether some open session has asked for any of these events. */
bool any_session_wants(uint32_t events);
/* Error codes for the reply to the request. */
uint32_t set_session(const struct cbp_session_settings *settings);
uint32_t close_session(uint32_t session_id);

/* ---- post.c: who is told what ---- */
/* Tells every session that wants it. Who is asked is waited for by *operation, which is made if it is NULL
 * (not yet complete); still NULL afterwards: nothing is asked. *refusal keeps the code of an earlier refusal,
 * or gets that of a rule that denies; *is_stripped (may be NULL) becomes true if a rule takes a right away
 * that is asked for. sequences (may be NULL) gets each session's first sequence number or 0. */
void post_report(const struct report *report, struct operation **operation, uint32_t *refusal,
                 bool *is_stripped, uint64_t *sequences);

/* The same for what has happened already: nobody is asked. */
void tell_past(struct report *report);

/* ---- slots.c: messages into the channel, answers out of it ---- */
void slots_init(void);
struct cbp_channel_session *channel_of(uint32_t session_id);
/* Room for a message of size bytes; NULL without memory. To be followed by commit_message with the same slot.
 */
struct cbp_event_message *begin_message(uint32_t size, uint32_t *slot);
/* Sends it; operation (may be NULL) waits for its answer. False: it is lost, and nobody waits. */
bool commit_message(struct cbp_event_message *message, uint32_t slot, struct operation *operation,
                    const struct answerable *answerable);
bool session_is_stale(uint32_t session_id, uint64_t now);
/* Counts an operation that was let go at its deadline; *result_code gets a refusal if the session wants one.
 */
void count_timeout(uint32_t session_id, bool is_creation, uint32_t *result_code);
bool answers_are_there(void);
bool answers_settle_everything(void);               /* whether nothing will be held once they are collected */
bool collect_answers(void);                         /* whether there was one */
void expire_operations(void);                       /* those whose deadline has passed */
void cancel_operation(struct operation *operation); /* its task is gone */
void release_session_slots(uint32_t session_id);
void release_every_slot(void);
bool anything_held(void);
/* Whether an operation with so much to tell can be held as well. */
bool has_room_to_hold(size_t size);
uint64_t next_deadline_ns(void); /* 0: none */

/* ---- image.c ---- */
/* Marks the rules of the set that match one of its names. Gives how many. Those that allow are left out by
 * the first; the second marks them and no others, of one file: it goes by the path alone, and only where that
 * leads to the file in our eyes, too, since the process chooses every other name itself. */
uint32_t match_image_names(const struct image *image, struct rule_set *set);
uint32_t match_allowing(const struct image_file *file, struct rule_set *set);
/* Of a chain of 1 .. IMAGE_FILE_MAX files: scripts, and the executable last. */
struct image *make_chain_image(const struct image_file *files, uint32_t count, bool is_vague);
bool has_same_names(const struct image *a, const struct image *b);
/* Of what there was no memory to name: it has no name, and is vague. Not to be asked about. */
struct image *nameless_image(void);
struct image *share_image(struct image *image);
void release_image(struct image *image);

/* ---- What the driver provides ---- */
uint64_t now_ns(void);                             /* the clock of deadlines */
uint64_t wall_ns(void);                            /* since 1970 */
void apply_operation(struct operation *operation); /* all answers are in */
/* The CAP_ bits that hold for one process. */
uint32_t capabilities_of(const struct process *process);
/* The parent, as the system would say now. */
uint32_t parent_of(struct process *process);
/* Wakes one of the session's workers that sleep on its bell. */
void wake_worker(uint32_t session_id);
/* Gives the memory of a large slot back to the system, but for its first page. */
void discard_slot(void *slot, size_t size);
/* Lets the attached processes go that no rule concerns any more: nothing is told of them from now on. */
void let_released_go(void);
/* Takes a running process with all its threads under the filter, with its descendants if children. 0;
 * CBP_ERROR_INVALID_PARAMETER: there is no such process; CBP_ERROR_BUSY: another tracer has it, or nobody can
 * list processes now; CBP_ERROR_ACCESS_DENIED: it must not be traced. On an error it goes on as if nothing
 * had been tried. */
uint32_t attach_process(uint32_t pid, uint64_t start_time, bool children);
/* The same for every process of our user for whose image attachment_for() says so; those that cannot be had
 * are left alone. An error if processes cannot be listed. */
uint32_t attach_matching(struct rule_set *set, uint32_t wanted_rule_id);
/* Whether the file's path leads us to it: in a root or a mount namespace of its own a process can give any
 * path to any file. */
bool path_leads_to_file(const struct image_file *file);
/* Sees to it that this can be answered for every process's program. Until there is a rule that allows, it
 * need not be. */
void identify_programs(void);
/* How this system's names are compared, CBP_COMPARE_; and a name in the units of that, valid until the next
 * call. NULL: no rule matches it. */
extern const uint32_t name_comparison;
const void *name_units(const char *name, uint32_t size, size_t *count);

#endif
