/* Is the one policy engine of all drivers: which processes exist, what the rules make of each, and what
 * becomes of an operation and of the answers to it. It is linked into the helpers, into the core for the
 * simulated driver, and into drivers in a kernel.
 *
 * Everything belongs to a struct cbpd_policy, which its host owns and serialises (policy_host.h). Knows the
 * protocol and the rule sets, but no operating system, no C library, no channel and no stops. */
#ifndef CBPD_POLICY_H
#define CBPD_POLICY_H

#include "cbp_message.h"
#include "cbp_ruleset.h"
#include "cbp_time.h"
#include "policy_host.h"

enum {
    CBPD_HANDLE_OPERATIONS = CBP_PROC_EVT_PROCESS_HANDLE_OPERATION | CBP_PROC_EVT_THREAD_HANDLE_OPERATION,
    CBPD_IMAGE_FILE_MAX = 8,
    CBPD_BUCKET_BITS = 12
};

/* ---- Records ---- */

/* A process remembers a rule by this reference while sets of rules come and go. The reference is good as long
 * as its session has a rule with that id. */
struct cbpd_rule_ref {
    uint32_t place;          /* the session's */
    uint32_t session_serial; /* places are used again, serials are not */
    uint32_t rule_id;
    bool is_launch; /* made by a launch (match the process and its descendants, ask); it is in no set */
};

/* A list is shared, and only its stamp ever changes. */
struct cbpd_rule_list {
    uint32_t reference_count;
    uint32_t count;
    uint32_t stamp; /* set by a reader that goes through many lists and wants to see each once */
    struct cbpd_rule_ref refs[];
};

/* An execution goes through this file, which has two names. */
struct cbpd_image_file {
    const char *path; /* where the file lies */
    uint32_t path_size;
    const char *given; /* how it was named: maybe by a link, maybe relative */
    uint32_t given_size;
    uint64_t device, inode; /* 0: the driver does not know them */
    bool is_deleted;        /* the path no longer leads to it */
};

/* A process executes an image, which forks share. Only its cache of matching rules ever changes. */
struct cbpd_image {
    uint32_t reference_count;
    uint32_t rules_generation;      /* of the rules for which matches was computed; 0: never */
    struct cbpd_rule_list *matches; /* the matching name rules; NULL: none */
    bool is_vague;                  /* some of its names are not known */
    uint32_t file_count;            /* at least 1 */
    /* execve got the given name of the first file. The last one is the executable. Their texts follow. */
    struct cbpd_image_file files[];
};

static inline const struct cbpd_image_file *cbpd_executable_of(const struct cbpd_image *image)
{
    return &image->files[image->file_count - 1];
}

/* The rules give each process a standing, computed at the first question in each generation of the rules. */
struct cbpd_standing {
    uint32_t rules_generation;   /* of the rules for which stances and bequest were computed; 0: never */
    bool is_of_concern;          /* some rule concerns the process */
    bool is_let_go;              /* the process has been taken out: no rule concerns it any more */
    struct cbpd_rule_ref launch; /* of the launch whose root the process is; rule id 0: none */
    struct cbpd_rule_list *inherited;
    struct cbpd_rule_list *bequest; /* the rules that its children inherit */
    struct cbp_stance stances[CBP_SESSION_MAX];
    /* lines.c uses these members. */
    uint64_t walk;                     /* the last walk that came by */
    struct cbpd_process *below;        /* in that walk: the next process down the line */
    struct cbpd_rule_list *fresh;      /* during a change of rules: those new to its children; else NULL */
    uint64_t search;                   /* the last search that came by */
    const struct cbpd_process *branch; /* what that search has found */
};

/* A process is kept after its end while descendants live, because rules cover descendants however deep. This
 * is the first member of the host's own record. */
struct cbpd_process {
    struct cbpd_process *hash_next;
    struct cbpd_process *next, *previous; /* all processes that have not ended */
    struct cbpd_process *parent;          /* the creator, with a reference; NULL for a root */
    uint32_t reference_count;             /* one of the host, and one of each child */
    uint32_t pid;
    uint64_t start_time;
    uint32_t tenure;         /* counts executions after which the process was not protected as before */
    uint32_t creator_tenure; /* the creator's tenure when it created this process */
    bool executed;           /* has executed a program since its fork */
    bool attached;           /* the process or an ancestor ran before it was supervised */
    bool ended;
    struct cbpd_image *image;   /* with a reference; NULL: none is known */
    struct cbpd_rule_list *own; /* rules for its id without a start time, which the host has given to it */
    struct cbpd_standing standing;
};

/* A set holds one part of a session's rules after validation, with sums over all of them. */
struct cbpd_rule_set {
    const struct cbpd_host *host;
    struct cbp_ruleset *block;                      /* the set's own copy */
    uint64_t *matches;                              /* used by one match at a time; all 0 in between */
    uint32_t counts[CBP_ACTION_STRIP + 1];          /* by action */
    uint32_t match_counts[CBP_RULE_MATCH_NAME + 1]; /* by what they match */
    uint32_t strip_mask;                            /* of all strip rules together */
};

struct cbpd_session {
    bool open;
    uint64_t controller; /* a session is known by its controller and its id */
    struct cbp_session_settings settings;
    uint64_t sequence;     /* of the last event */
    uint64_t opened;       /* rises with each session that is opened */
    uint32_t last_rule_id; /* the highest that was ever in force; ids only rise */
};

/* This is all of a policy's state, all 0 before cbpd_policy_init(). */
struct cbpd_policy {
    const struct cbpd_host *host;
    struct cbpd_session sessions[CBP_SESSION_MAX];
    uint32_t session_count;
    uint32_t order[CBP_SESSION_MAX]; /* places of the open sessions, highest altitude first */
    uint64_t opened_count;           /* all sessions so far */
    /* The rules of all sessions follow. */
    struct cbpd_rule_set *rules[CBP_SESSION_MAX][CBP_RULES_PART_COUNT]; /* NULL: none */
    uint32_t rules_generation;                                          /* never 0 */
    uint32_t rule_counts[CBP_ACTION_STRIP + 1];                         /* by action */
    uint32_t broad_rule_count; /* rules for names and for all, which may concern any process later */
    uint32_t strip_mask;       /* also of rules that have gone */
    struct cbpd_process *processes;
    struct cbpd_process *buckets[1 << CBPD_BUCKET_BITS];
    uint32_t process_count;
    /* This image has no name, for want of memory, and is vague. Do not ask questions about it. */
    struct cbpd_image *nameless;
    /* lists.c gathers the next list here, one at a time. */
    struct {
        struct cbpd_rule_ref *refs;
        uint32_t count, capacity;
        bool is_incomplete; /* a rule is missing, because memory was short */
    } gathered;
    /* lines.c uses these members. */
    uint64_t walk;
    struct {
        const struct cbpd_process *ancestor;
        uint64_t number;
    } search;
    struct {
        struct cbpd_rule_list *old, *added, *made; /* the last exchange of one list for another */
    } last;
};

/* Gives the bucket of a process or a task. Ids follow one another; on Windows they rise in steps of 4. */
static inline uint32_t cbpd_bucket_of(uint32_t id)
{
    return id * UINT32_C(0x9e3779b1) >> (32 - CBPD_BUCKET_BITS);
}

bool cbpd_policy_init(struct cbpd_policy *policy, const struct cbpd_host *host); /* false: no memory */
/* Gives back all memory except that of processes, which their references keep. */
void cbpd_policy_free(struct cbpd_policy *policy);

/* ---- population.c: processes by id, and how long they are remembered ---- */
/* Finds a process that has not ended. */
struct cbpd_process *cbpd_find_process(const struct cbpd_policy *policy, uint32_t pid);
/* Gives a process without a reference, which the caller takes; it holds its parent. NULL without memory. */
struct cbpd_process *cbpd_add_process(struct cbpd_policy *policy, uint32_t pid, struct cbpd_process *parent);
/* Ends a process, whose id may belong to another one from now on. */
void cbpd_end_process(struct cbpd_policy *policy, struct cbpd_process *process);
/* Gives a reference back. The last one frees the process and gives back its reference to its parent. */
void cbpd_release_process(struct cbpd_policy *policy, struct cbpd_process *process);

/* A process that creates and ends, over and over, leaves a line of dead ancestors. Those that have the names
 * of their children decide nothing and go; of the others a limited number of generations is kept. */
void cbpd_forget_old_ancestors(struct cbpd_policy *policy, struct cbpd_process *creator);

/* ---- images.c ---- */
/* Makes an image of 1 .. CBPD_IMAGE_FILE_MAX files: scripts, and the executable last. NULL without memory. */
struct cbpd_image *cbpd_make_image(const struct cbpd_policy *policy, const struct cbpd_image_file *files,
                                   uint32_t count, bool is_vague);
bool cbpd_has_same_names(const struct cbpd_image *a, const struct cbpd_image *b);
struct cbpd_image *cbpd_share_image(struct cbpd_image *image); /* NULL gives NULL */
void cbpd_release_image(const struct cbpd_policy *policy, struct cbpd_image *image);

/* ---- sessions.c ---- */
/* Opens a session or changes its settings. *place gets the number that is its id if that is free, which it
 * always is with one controller. CBP_ERROR_NO_SYSTEM_RESOURCES: there is no room. */
uint32_t cbpd_set_session(struct cbpd_policy *policy, uint64_t controller,
                          const struct cbp_session_settings *settings, uint32_t *place);
/* Finds an open session, or gives CBP_ERROR_NOT_FOUND. */
uint32_t cbpd_find_session(const struct cbpd_policy *policy, uint64_t controller, uint32_t session_id,
                           uint32_t *place);
/* Closes the session and removes its rules. */
void cbpd_close_session(struct cbpd_policy *policy, uint32_t place);
/* Says whether the session is told before the other one; its refusal then overrides the other's. */
bool cbpd_session_is_above(const struct cbpd_policy *policy, uint32_t place, uint32_t other);
/* Says whether some open session has asked for any of these events. */
bool cbpd_any_session_wants(const struct cbpd_policy *policy, uint32_t events);

/* ---- rule_sets.c: the rules of the sessions ---- */
/* Makes a set of a block from host->allocate, aligned to 8. The set owns the block, which is freed at once if
 * it is malformed or not for this system. Any thread. CBP_ERROR_INVALID_DATA, CBP_ERROR_NOT_ENOUGH_MEMORY. */
uint32_t cbpd_make_rule_set(const struct cbpd_host *host, void *block, size_t size,
                            struct cbpd_rule_set **set);
void cbpd_free_rule_set(struct cbpd_rule_set *set);
/* Gives 0 if the set may take effect: the session is open (else CBP_ERROR_NOT_FOUND), and a rest is newer
 * than the main part (else CBP_ERROR_INVALID_DATA). The host may then attach to running processes for it. */
uint32_t cbpd_can_install(const struct cbpd_policy *policy, const struct cbp_rules *request, uint32_t place,
                          const struct cbpd_rule_set *set);
/* Puts in force a set that cbpd_can_install() has accepted. Every process's standing is computed again at the
 * next question about it. */
void cbpd_install_rules(struct cbpd_policy *policy, const struct cbp_rules *request, uint32_t place,
                        struct cbpd_rule_set *set);
/* Says whether the name rules of a set that is not in force yet attach to a running process with this image.
 * Only rules with RULE_FLAG_ATTACH count, and only that id unless wanted_rule_id is ATTACH_ALL. */
enum cbpd_attachment {
    CBPD_ATTACH_NOTHING,
    CBPD_ATTACH_PROCESS,
    CBPD_ATTACH_TREE /* with its descendants */
};
enum cbpd_attachment cbpd_attachment_for(const struct cbpd_image *image, struct cbpd_rule_set *set,
                                         uint32_t wanted_rule_id);
bool cbpd_rule_attaches(const struct cbp_ruleset_rule *rule, uint32_t wanted_rule_id);

/* ---- standing.c: what the rules make of each process ---- */
/* Gives the stances by place of the session, valid until the rules or the process's name change. */
const struct cbp_stance *cbpd_stances_of(struct cbpd_policy *policy, struct cbpd_process *process);
void cbpd_stances_under_image(struct cbpd_policy *policy, const struct cbpd_process *process,
                              struct cbpd_image *image, struct cbp_stance *stances);
/* The caller has given the process another image. */
void cbpd_rename_standing(struct cbpd_process *process);
/* The process executes this image and owns it from now on; its standing and its tenure change. stances (may
 * be NULL) gets the stances that it had before. */
void cbpd_execute(struct cbpd_policy *policy, struct cbpd_process *process, struct cbpd_image *image,
                  struct cbp_stance *stances);
/* Gives the rules that its children inherit; NULL: none. */
struct cbpd_rule_list *cbpd_bequest_of(struct cbpd_policy *policy, struct cbpd_process *process);
/* Adds what these stances oblige to until the rules change, and removes exemptions that they do not have. */
void cbpd_oblige(struct cbpd_policy *policy, struct cbpd_process *process, const struct cbp_stance *stances);
void cbpd_inherit_rules(struct cbpd_policy *policy, struct cbpd_process *child, struct cbpd_process *parent);
/* The creator of the child is not known, and this process may be it: the child also inherits the rules that
 * it would have left to it, except exemptions. A guess must never exempt a process. */
void cbpd_inherit_obligations(struct cbpd_policy *policy, struct cbpd_process *child,
                              struct cbpd_process *candidate);
/* Says whether the rule ignores or allows, or no longer exists. */
bool cbpd_is_exemption(const struct cbpd_policy *policy, const struct cbpd_rule_ref *ref);
/* Says whether to let an attached process go: no rule concerns it, or may after its next execution. */
bool cbpd_is_released(struct cbpd_policy *policy, struct cbpd_process *process);

/* ---- lists.c ---- */
/* Gives the list of a process for which there was no memory to remember its rules: everything is refused.
 * All policies share it, and nobody writes to it. */
struct cbpd_rule_list *cbpd_unknown_rules(void);
/* Gives NULL for an empty list. */
struct cbpd_rule_list *cbpd_make_list(const struct cbpd_policy *policy, const struct cbpd_rule_ref *refs,
                                      uint32_t count);
struct cbpd_rule_list *cbpd_share_list(struct cbpd_rule_list *list);
void cbpd_release_list(const struct cbpd_policy *policy, struct cbpd_rule_list *list);

/* ---- lines.c: descent, and what changes for living processes ---- */
/* Adds the rule of a launch whose root is the process: match the process and its descendants, ask. */
void cbpd_add_launch_rule(struct cbpd_policy *policy, uint32_t place, uint32_t rule_id,
                          struct cbpd_process *process);
uint32_t cbpd_forget_launch(struct cbpd_policy *policy, uint32_t place, uint32_t rule_id); /* NOT_FOUND */
/* Begins a search for many processes. Until the next search begins, each step up is taken only once. */
void cbpd_begin_search(struct cbpd_policy *policy, const struct cbpd_process *ancestor);
/* Gives the child of that ancestor from which the process descends, or which it is. NULL: no descendant. */
const struct cbpd_process *cbpd_branch_of(struct cbpd_policy *policy, struct cbpd_process *process);
/* Says whether the ancestor of the search in progress has created the process, directly or through others,
 * and has been protected all the time since. A later rule or a later name gives it no such rights. */
bool cbpd_is_protected_creator(struct cbpd_policy *policy, const struct cbpd_process *ancestor,
                               struct cbpd_process *process);

/* ---- decide.c: what becomes of an operation ---- */
/* A request holds the events of one task that belong together, as far as rules can see them. */
struct cbpd_request {
    const struct cbp_stance *originator; /* by place of the session; NULL: it has none */
    const struct cbp_stance *subject;
    uint32_t item_count;
    uint32_t types[CBP_BATCH_MAX];
    uint32_t flags[CBP_BATCH_MAX]; /* CBP_EVENT_FLAG_ */
    uint32_t access;               /* of a handle operation: the rights that it asks for */
    uint32_t kept_access;          /* those of them that cannot be taken away */
    uint32_t result_code;          /* not 0: the operation is refused already, whatever rules say */
    bool is_by_creator;      /* the originator created the subject or its ancestor, and stayed protected */
    bool is_of_creation;     /* it gives the creator a handle of what it creates: no rule strips that */
    uint32_t recorded_items; /* bits: items decided before; that decision stands unless rules decide, too */
    struct cbp_decision recorded[CBP_BATCH_MAX];
};

/* An answer to a message can do these things. */
struct cbpd_answerable {
    uint32_t refusable_items; /* bits: items whose result code refuses */
    uint32_t access;          /* of a handle operation: rights whose loss refuses */
    bool is_creation;         /* the session's timeout action applies */
};

/* One session is told this selection of a request. */
struct cbpd_selection {
    uint32_t place; /* the session's */
    uint32_t item_count;
    uint32_t items[CBP_BATCH_MAX]; /* indexes into the request */
    uint32_t flags[CBP_BATCH_MAX];
    uint32_t result_codes[CBP_BATCH_MAX]; /* the code with which a rule refuses */
    uint32_t strip_masks[CBP_BATCH_MAX];  /* the rights that rules take away */
    struct cbpd_answerable answerable;
    bool asked;             /* a handler decides about an item */
    uint32_t decided_items; /* bits by the request's items: those that rules have decided */
    uint32_t refused_count; /* items that rules have refused or taken rights from */
};

/* The operation as a whole is refused, or has lost rights. */
struct cbpd_refusal {
    uint32_t code;
    bool is_stripped;
    uint32_t lost_access; /* the rights that rules take away */
};

/* Decides about one item. strip_mask gets the rights that the operation asks for and loses. */
struct cbp_decision cbpd_decide(const struct cbpd_request *request, uint32_t place, uint32_t item);
/* Selects what the session is told, says whether it is asked, and adds to the refusal. Rules apply whether or
 * not the session wants the event. */
void cbpd_select(const struct cbpd_policy *policy, const struct cbpd_request *request, uint32_t place,
                 struct cbpd_selection *selection, struct cbpd_refusal *refusal);

/* ---- answers.c: what answers and deadlines make of it ---- */
/* An operation is held until its answers are in. This is the first member of the host's own record. */
struct cbpd_operation {
    uint32_t unanswered_count;
    uint32_t result_code; /* of the refusal by the highest session that refused */
    uint32_t refuser;     /* the place of that session; for a refusal by a rule, the highest session of all */
    bool is_stripped;     /* a right that it needs was taken away */
    uint32_t lost_access; /* all rights that were taken away */
};

/* Applies what rules have refused, before any answer. */
void cbpd_refuse_by_rules(const struct cbpd_policy *policy, const struct cbpd_refusal *refusal,
                          struct cbpd_operation *operation);
/* Applies an answer: items as the handler has left them. Gives how many are refused or have lost rights. */
uint32_t cbpd_apply_answer(const struct cbpd_policy *policy, uint32_t place,
                           const struct cbpd_answerable *answerable, const struct cbp_event_item *items,
                           struct cbpd_operation *operation);
/* Gives the code with which the session's timeout action refuses when a deadline has passed, or 0. */
uint32_t cbpd_timeout_code(const struct cbpd_policy *policy, uint32_t place, bool is_creation);
/* Adds a refusal by a session; code 0 is none. */
void cbpd_refuse(const struct cbpd_policy *policy, uint32_t place, uint32_t result_code,
                 struct cbpd_operation *operation);
/* Gives the time when an operation that began at since_ns times out; 0: never. */
uint64_t cbpd_deadline_of(const struct cbpd_policy *policy, uint32_t place, uint64_t since_ns);
/* Gives for how many ms the session's workers may be silent before every deadline counts as passed. */
uint64_t cbpd_silence_limit_ms(const struct cbpd_policy *policy, uint32_t place);

#endif
