/* What follows from rules: which processes there are, what the rules make of each, what becomes of an
 * operation and of the answers to it. The one policy engine of all drivers: linked into the helpers, into the
 * core for the simulated driver, and into drivers in a kernel.
 *
 * Everything belongs to a struct cbpd_policy, which its host owns and serialises (policy_host.h). Knows the
 * protocol and the rule sets; no operating system, no C library, no channel, no stops. */
#ifndef CBPD_POLICY_H
#define CBPD_POLICY_H

#include "cbp_message.h"
#include "cbp_ruleset.h"
#include "policy_host.h"

enum {
    CBPD_HANDLE_OPERATIONS = CBP_PROC_EVT_PROCESS_HANDLE_OPERATION | CBP_PROC_EVT_THREAD_HANDLE_OPERATION,
    CBPD_IMAGE_FILE_MAX = 8,
    CBPD_BUCKET_BITS = 12
};

/* ---- Records ---- */

/* A rule that a process is remembered to have. Sets of rules come and go under it: what counts is whether the
 * session that it was of still has one with that id. */
struct cbpd_rule_ref {
    uint32_t place;          /* of the session */
    uint32_t session_serial; /* places are used again, these are not */
    uint32_t rule_id;
    bool is_launch; /* made by a launch (this process, its descendants, ask): in no set */
};

/* Shared, and immutable but for the stamp. */
struct cbpd_rule_list {
    uint32_t reference_count;
    uint32_t count;
    uint32_t stamp; /* of a reader that goes through many lists and wants to see each once */
    struct cbpd_rule_ref refs[];
};

/* A file that an execution goes through, by its names. */
struct cbpd_image_file {
    const char *path; /* where it lies */
    uint32_t path_size;
    const char *given; /* by which name it was meant: a link, maybe relative */
    uint32_t given_size;
    uint64_t device, inode; /* where the driver knows them; else 0 */
    bool is_deleted;        /* the path leads to it no more */
};

/* What a process executes. Immutable but for the cache of matching rules; shared by forks. */
struct cbpd_image {
    uint32_t reference_count;
    uint32_t rules_generation; /* for which matches was computed; 0: never */
    const char *path;          /* of the executable: the last file's */
    uint32_t path_size;
    const char *given; /* the path that execve was given: the first file's */
    uint32_t given_size;
    struct cbpd_rule_list *matches; /* the name rules that match; NULL: none */
    bool is_vague;                  /* it has names that are not known */
    uint32_t file_count;
    struct cbpd_image_file files[]; /* their texts follow */
};

/* What the rules make of a process: computed when it is asked for, once for each generation of the rules. */
struct cbpd_standing {
    uint32_t rules_generation;   /* for which stances and bequest were computed; 0: never */
    bool is_of_concern;          /* some rule concerns it */
    bool is_let_go;              /* it has been taken out: whatever rules say, it is nobody's business */
    struct cbpd_rule_ref launch; /* the rule of the launch that it is the root of; rule id 0: none */
    struct cbpd_rule_list *inherited;
    struct cbpd_rule_list *bequest; /* what its children inherit */
    struct cbp_stance stances[CBP_SESSION_MAX];
    /* Of lines.c. */
    uint64_t walk;                /* the last one that came by */
    struct cbpd_process *below;   /* in that walk: the next one down the line */
    struct cbpd_rule_list *fresh; /* while there are new rules: those that its children inherit; else NULL */
    uint64_t search;              /* the last one that came by */
    const struct cbpd_process *branch; /* what it has found */
};

/* A process; kept after its end while descendants live, because rules cover descendants however deep. The
 * first member of the host's own record. */
struct cbpd_process {
    struct cbpd_process *hash_next;
    struct cbpd_process *next, *previous; /* all that have not ended */
    struct cbpd_process *parent;          /* its creator; NULL for a root. Holds a reference */
    uint32_t reference_count;             /* the host's, and one for each child */
    uint32_t pid;
    uint64_t start_time;
    uint32_t tenure;         /* counts up with each execution that does not leave it as protected as it was */
    uint32_t creator_tenure; /* its creator's when it was created */
    bool executed;           /* since it was forked */
    bool attached;           /* it ran before it was supervised, or an ancestor did */
    bool ended;
    struct cbpd_image *image;   /* holds a reference; NULL: none is known */
    struct cbpd_rule_list *own; /* rules for its id that have no start time, which its host has given to it */
    struct cbpd_standing standing;
};

/* A part of a session's rules that has been validated, with what is asked about it as a whole. */
struct cbpd_rule_set {
    const struct cbpd_host *host;
    struct cbp_ruleset *block;                      /* a copy of its own */
    uint64_t *matches;                              /* for one match at a time: all 0 between */
    uint32_t counts[CBP_ACTION_STRIP + 1];          /* by action */
    uint32_t match_counts[CBP_RULE_MATCH_NAME + 1]; /* by what they match */
    uint32_t strip_mask;                            /* of all strip rules together */
};

struct cbpd_session {
    bool open;
    uint64_t controller; /* whose it is: a session is known by its controller and its id */
    uint32_t id;
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

/* All of it; all 0 before cbpd_policy_init(). */
struct cbpd_policy {
    const struct cbpd_host *host;
    struct cbpd_session sessions[CBP_SESSION_MAX];
    uint32_t session_count;
    uint32_t order[CBP_SESSION_MAX]; /* places of the open sessions, highest altitude first */
    uint64_t opened_count;           /* sessions so far */
    /* The rules of all sessions together. */
    struct cbpd_rule_set *rules[CBP_SESSION_MAX][CBP_RULES_PART_COUNT]; /* NULL: none */
    uint32_t rules_generation;                                          /* never 0 */
    uint32_t rule_counts[CBP_ACTION_STRIP + 1];                         /* by action */
    uint32_t broad_rule_count; /* for names and for all: they may concern anybody later */
    uint32_t strip_mask;       /* of rules that have gone, too */
    struct cbpd_process *processes;
    struct cbpd_process *buckets[1 << CBPD_BUCKET_BITS];
    uint32_t process_count;
    /* Of what there was no memory to name: it has no name, and is vague. Not to be asked about. */
    struct cbpd_image *nameless;
    /* Of lists.c: where the next list is gathered, one at a time. */
    struct {
        struct cbpd_rule_ref *refs;
        uint32_t count, capacity;
        bool is_incomplete; /* something is missing, for want of memory */
    } gathered;
    /* Of lines.c. */
    uint64_t walk;
    struct {
        const struct cbpd_process *ancestor;
        uint64_t number;
    } search;
    struct {
        struct cbpd_rule_list *old, *added, *made; /* the last list that took another's place */
    } last;
};

bool cbpd_policy_init(struct cbpd_policy *policy, const struct cbpd_host *host); /* false: no memory */
/* Gives back all memory but that of processes, which their references keep. */
void cbpd_policy_free(struct cbpd_policy *policy);

/* ---- population.c: processes by id, and how long they are remembered ---- */
struct cbpd_process *cbpd_find_process(const struct cbpd_policy *policy,
                                       uint32_t pid); /* that has not ended */
/* Without a reference, which the caller takes; it holds its parent. NULL without memory. */
struct cbpd_process *cbpd_add_process(struct cbpd_policy *policy, uint32_t pid, struct cbpd_process *parent);
void cbpd_end_process(struct cbpd_policy *policy,
                      struct cbpd_process *process); /* its id may be another's now */
/* Gives a reference back; with the last one the process is forgotten, and its reference to its parent. */
void cbpd_release_process(struct cbpd_policy *policy, struct cbpd_process *process);

/* A process that creates and ends, over and over, leaves a line of dead ancestors: those that go by the names
 * of their children say nothing more, and of the others only so many generations are kept. */
void cbpd_forget_old_ancestors(struct cbpd_policy *policy, struct cbpd_process *creator);

/* ---- images.c ---- */
/* Of a chain of 1 .. CBPD_IMAGE_FILE_MAX files: scripts, and the executable last. NULL without memory. */
struct cbpd_image *cbpd_make_image(const struct cbpd_policy *policy, const struct cbpd_image_file *files,
                                   uint32_t count, bool is_vague);
bool cbpd_has_same_names(const struct cbpd_image *a, const struct cbpd_image *b);
struct cbpd_image *cbpd_share_image(struct cbpd_image *image); /* NULL: NULL */
void cbpd_release_image(const struct cbpd_policy *policy, struct cbpd_image *image);

/* ---- sessions.c ---- */
/* Opens a session or changes its settings. Its place is *place: the number that is its id, where that is
 * free, which with one controller it always is. CBP_ERROR_NO_SYSTEM_RESOURCES: there is no room. */
uint32_t cbpd_set_session(struct cbpd_policy *policy, uint64_t controller,
                          const struct cbp_session_settings *settings, uint32_t *place);
uint32_t cbpd_find_session(const struct cbpd_policy *policy, uint64_t controller, uint32_t session_id,
                           uint32_t *place); /* CBP_ERROR_NOT_FOUND */
/* With its rules. */
void cbpd_close_session(struct cbpd_policy *policy, uint32_t place);
/* Whether the session is told before the other one, and its refusal goes before the other's. */
bool cbpd_session_is_above(const struct cbpd_policy *policy, uint32_t place, uint32_t other);
/* Whether some open session has asked for any of these events. */
bool cbpd_any_session_wants(const struct cbpd_policy *policy, uint32_t events);

/* ---- rule_sets.c: the rules of the sessions ---- */
/* Makes a set of a block from host->allocate, aligned to 8, which becomes the set's, and is freed at once if
 * it is malformed or not for this system. Any thread. CBP_ERROR_INVALID_DATA, CBP_ERROR_NOT_ENOUGH_MEMORY. */
uint32_t cbpd_make_rule_set(const struct cbpd_host *host, void *block, size_t size,
                            struct cbpd_rule_set **set);
void cbpd_free_rule_set(struct cbpd_rule_set *set);
/* What the set would take the place of is there, and is older: 0, CBP_ERROR_NOT_FOUND,
 * CBP_ERROR_INVALID_DATA. Before it, running processes may be attached to for the set's sake. */
uint32_t cbpd_can_install(const struct cbpd_policy *policy, const struct cbp_rules *request, uint32_t place,
                          const struct cbpd_rule_set *set);
/* Puts it there: what that has said. Everybody's standing is computed anew at the next question. */
void cbpd_install_rules(struct cbpd_policy *policy, const struct cbp_rules *request, uint32_t place,
                        struct cbpd_rule_set *set);
/* Whether the name rules of a set, which is not in force yet, want a running process with this image: those
 * that have RULE_FLAG_ATTACH, and if wanted_rule_id is not ATTACH_ALL, that id. */
enum cbpd_attachment {
    CBPD_ATTACH_NOTHING,
    CBPD_ATTACH_PROCESS,
    CBPD_ATTACH_TREE /* its descendants as well */
};
enum cbpd_attachment cbpd_attachment_for(const struct cbpd_image *image, struct cbpd_rule_set *set,
                                         uint32_t wanted_rule_id);
bool cbpd_rule_attaches(const struct cbp_ruleset_rule *rule, uint32_t wanted_rule_id);

/* ---- standing.c: what the rules make of each process ---- */
/* By place of the session, until the rules or the process's name change. */
const struct cbp_stance *cbpd_stances_of(struct cbpd_policy *policy, struct cbpd_process *process);
void cbpd_stances_under_image(struct cbpd_policy *policy, const struct cbpd_process *process,
                              struct cbpd_image *image, struct cbp_stance *stances);
/* It goes by another image: the caller has put it there. */
void cbpd_rename_standing(struct cbpd_process *process);
/* It executes this image, which becomes its own: cbpd_rename_standing(), and its tenure. stances (may be
 * NULL) gets those that it had. */
void cbpd_execute(struct cbpd_policy *policy, struct cbpd_process *process, struct cbpd_image *image,
                  struct cbp_stance *stances);
struct cbpd_rule_list *cbpd_bequest_of(struct cbpd_policy *policy,
                                       struct cbpd_process *process); /* NULL: nothing */
/* Adds what these stances oblige to, until the rules change; exemptions it has only where they have them. */
void cbpd_oblige(struct cbpd_policy *policy, struct cbpd_process *process, const struct cbp_stance *stances);
void cbpd_inherit_rules(struct cbpd_policy *policy, struct cbpd_process *child, struct cbpd_process *parent);
/* Nobody knows whose child it is: besides what it has it gets what this one would have left it, but for what
 * exempts from anything: a guess must never free anybody. */
void cbpd_inherit_obligations(struct cbpd_policy *policy, struct cbpd_process *child,
                              struct cbpd_process *candidate);
/* Whether the rule ignores or allows, or is none any more. */
bool cbpd_is_exemption(const struct cbpd_policy *policy, const struct cbpd_rule_ref *ref);
/* Whether an attached process is to be let go: no rule concerns it, nor may one when it executes another
 * program. */
bool cbpd_is_released(struct cbpd_policy *policy, struct cbpd_process *process);

/* ---- lists.c ---- */
extern struct cbpd_rule_list
    cbpd_unknown_rules; /* of whom there was no memory to remember them: refuse all */
struct cbpd_rule_list *cbpd_make_list(const struct cbpd_policy *policy, const struct cbpd_rule_ref *refs,
                                      uint32_t count); /* NULL: of none */
struct cbpd_rule_list *cbpd_share_list(struct cbpd_rule_list *list);
void cbpd_release_list(const struct cbpd_policy *policy, struct cbpd_rule_list *list);

/* ---- lines.c: who descends from whom, and what changes for those who live ---- */
/* The rule (its descendants too, ask) of a launch whose root is the process. */
void cbpd_add_launch_rule(struct cbpd_policy *policy, uint32_t place, uint32_t rule_id,
                          struct cbpd_process *process);
uint32_t cbpd_forget_launch(struct cbpd_policy *policy, uint32_t place, uint32_t rule_id); /* NOT_FOUND */
/* Of many processes, which descend from one: until the next search begins each step up is taken once. */
void cbpd_begin_search(struct cbpd_policy *policy, const struct cbpd_process *ancestor);
/* The child of that ancestor from which the process descends, or which it is; NULL: it is no descendant. */
const struct cbpd_process *cbpd_branch_of(struct cbpd_policy *policy, struct cbpd_process *process);
/* Whether the ancestor, for whose descendants a search has begun, has created the process, or who did, and
 * has been protected for as long: a rule that names it later, or a name that it takes later, gives it
 * nothing. */
bool cbpd_is_protected_creator(struct cbpd_policy *policy, const struct cbpd_process *ancestor,
                               struct cbpd_process *process);

/* ---- decide.c: what becomes of an operation ---- */
/* Events of one task that belong together, as far as rules can see them. */
struct cbpd_request {
    const struct cbp_stance *originator; /* stances by place of the session; NULL: nobody's */
    const struct cbp_stance *subject;
    uint32_t item_count;
    uint32_t types[CBP_BATCH_MAX];
    uint32_t flags[CBP_BATCH_MAX]; /* CBP_EVENT_FLAG_ */
    uint32_t access;               /* of a handle operation: what it asks for */
    uint32_t result_code;          /* not 0: it is refused already, whatever rules say */
    bool is_by_creator; /* the originator has created the subject, or who did, and has stayed what it was */
    uint32_t recorded_items; /* bits: those that were decided before, which stands unless rules decide, too */
    struct cbp_decision recorded[CBP_BATCH_MAX];
};

/* What an answer to a message can do. */
struct cbpd_answerable {
    uint32_t refusable_items; /* bits: items whose result code refuses */
    uint32_t access;          /* of a handle operation: rights whose loss refuses */
    bool is_creation;         /* the session's timeout action applies */
};

/* What one session is told of a request. */
struct cbpd_selection {
    uint32_t place; /* of the session */
    uint32_t item_count;
    uint32_t items[CBP_BATCH_MAX]; /* indexes into the request */
    uint32_t flags[CBP_BATCH_MAX];
    uint32_t result_codes[CBP_BATCH_MAX]; /* with which a rule refuses */
    uint32_t strip_masks[CBP_BATCH_MAX];  /* what rules take away */
    struct cbpd_answerable answerable;
    bool asked;             /* a handler is to decide about an item */
    uint32_t decided_items; /* bits, of the request's: those that rules have decided */
    uint32_t refused_count; /* items that rules have refused, or taken rights from */
};

/* What is refused or taken away, for the operation as a whole. */
struct cbpd_refusal {
    uint32_t code;
    bool is_stripped;
};

/* The decision about one item; strip_mask is what is lost of the access that is asked for. */
struct cbp_decision cbpd_decide(const struct cbpd_request *request, uint32_t place, uint32_t item);
/* What the session is told, and whether it is asked; adds to the refusal. Rules are in force whether the
 * session wants the event or not. */
void cbpd_select(const struct cbpd_policy *policy, const struct cbpd_request *request, uint32_t place,
                 struct cbpd_selection *selection, struct cbpd_refusal *refusal);

/* ---- answers.c: what answers and deadlines make of it ---- */
/* An operation that is held: the first member of the host's own record. */
struct cbpd_operation {
    uint32_t unanswered_count;
    uint32_t result_code; /* the refusal of the highest session that refused */
    uint32_t refuser;     /* that session's place; of a rule's refusal, the highest of all */
    bool is_stripped;     /* a right that it needs was taken away */
};

/* What rules have refused before anybody answers. */
void cbpd_refuse_by_rules(const struct cbpd_policy *policy, const struct cbpd_refusal *refusal,
                          struct cbpd_operation *operation);
/* An answer: items as the handler has left them. Gives how many are refused, or have lost rights. */
uint32_t cbpd_apply_answer(const struct cbpd_policy *policy, uint32_t place,
                           const struct cbpd_answerable *answerable, const struct cbp_event_item *items,
                           struct cbpd_operation *operation);
/* A deadline has passed: the code with which the session's timeout action refuses, or 0. */
uint32_t cbpd_timeout_code(const struct cbpd_policy *policy, uint32_t place, bool is_creation);
/* A refusal by a session, 0 being none. */
void cbpd_refuse(const struct cbpd_policy *policy, uint32_t place, uint32_t result_code,
                 struct cbpd_operation *operation);
/* When an operation that began at that time is over; 0: never. */
uint64_t cbpd_deadline_of(const struct cbpd_policy *policy, uint32_t place, uint64_t since_ns);
/* How long the session's workers may be silent before every deadline counts as passed, in ms. */
uint64_t cbpd_silence_limit_ms(const struct cbpd_policy *policy, uint32_t place);

#endif
