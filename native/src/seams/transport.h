/* Is the seam between the core and a driver. It passes decoded events and verdicts; each driver's side of it
 * is a folder under src/drivers/. The core knows nothing of channels, descriptors or handles.
 *
 * A driver is a row of the build's list, whether it is used or not; a transport is its part in one active
 * session. Several threads use a transport at once: workers call receive, answer, check and extend; the
 * dispatcher calls beat and backlog. One thread at a time, beside all of these, calls update, set_rules, the
 * operations of launches and close. release is called last, with no other thread inside. */
#ifndef CBPI_TRANSPORT_H
#define CBPI_TRANSPORT_H

#include "cbp_message.h"
#include "cbprocess.h"
#include "installation.h"
#include "launch.h"
#include "platform.h"
#include "turn.h"

#include <stdbool.h>

/* Each driver's own structure begins with this base. */
struct cbpi_transport {
    const struct cbpi_transport_ops *ops;
};

struct cbpi_session_settings {
    struct cbp_session_settings policy; /* without its header and session id, which are the driver's */
    uint32_t strict_altitude;           /* for drivers that have an altitude in the system */
    uint32_t replay_speed;              /* CBPI_REPLAY_; this and the rest for drivers that play scripts */
    uint32_t keeps_verdicts;            /* a recording's verdicts stand */
    const char *script_path;            /* "" for none; not changed while the transport is open */
    const char *hold_paths;             /* likewise: the file systems that a driver of a machine holds */
    struct cbpi_script_log *script;     /* what the driver tells about the playing of scripts */
};

#define CBPI_REPLAY_MAX 0u      /* as fast as the handlers are */
#define CBPI_REPLAY_RECORDED 1u /* no event before its time */

struct cbpi_rule {
    uint32_t rule_id; /* unique in the session, never 0 */
    uint32_t match;   /* CBP_RULE_MATCH_ */
    uint32_t flags;   /* CBP_RULE_FLAG_ bits */
    uint32_t action;
    uint32_t action_value;
    uint32_t process_id;
    uint64_t start_time;
    const char *pattern;
    uint32_t pattern_size;
};

struct cbp_ruleset;

/* These are compiled rules for a driver. The block is the caller's, and need not outlive the call. */
struct cbpi_rules_change {
    const struct cbp_ruleset *set;
    size_t size;
    uint32_t part;           /* CBP_RULES_PART_ */
    uint32_t attach_rule_id; /* as in the message of rules: CBP_ATTACH_ or a rule */
    uint32_t gone_rule_id;   /* likewise: one of the main part that goes with a new rest; 0: none */
};

/* A delivery is up to BATCH_MAX events of one task, decoded. The transport fills everything except
 * event->context and what is marked as the caller's. The operation is the caller's until answer; an answer
 * needs no event. */
struct cbpi_delivery {
    uint32_t count;
    uint32_t slot;           /* the transport's own: which operation this is */
    struct cbpi_turn *turn;  /* likewise, in memory of the caller: what has to wait for its handlers */
    bool nobody_waits;       /* the transport's own: the operation went on before; more such may follow */
    struct cbp_event *event; /* event 0; the caller sets it to memory of capacity bytes before receive */
    uint32_t capacity;       /* of event, a multiple of 8; the memory is aligned to 8 */
    /* Each item has what rules have decided: the code, and the rights less those that were taken away. The
     * caller replaces that by the answer before answer; rights are only ever taken out. Event 0 has its item
     * already. */
    struct cbp_event_item items[CBP_BATCH_MAX];
    uint32_t deferred_items; /* the caller's own, as are the next two; bits: those that a handler deferred */
    uint64_t sequence;       /* of event 0 */
    uint64_t record_id;      /* in the session's recording; 0: not recorded */
};

/* Makes an event one of its delivery's items. */
static inline void cbpi_event_take(struct cbp_event *event, const struct cbp_event_item *item)
{
    event->type = item->type;
    event->flags = item->flags;
    event->result_code = item->result_code;
    event->desired_access = item->desired_access;
}

/* An event has told of this execution, which did not happen. */
struct cbpi_failed_execution {
    uint64_t sequence; /* 0: which one it was is not known any more */
    uint32_t os_error; /* 0: the process has ended in it, or the driver does not know */
};

/* A driver in this address space keeps so many of them. The one that made the count N is at (N - 1) modulo
 * this. */
#define CBPI_FAILED_MAX 256u

/* Does what next_failed does, for the last ones of count. */
static inline bool cbpi_next_failed(const struct cbpi_failed_execution last[CBPI_FAILED_MAX], uint64_t count,
                                    uint64_t *seen_count, struct cbpi_failed_execution *failed)
{
    uint64_t at = *seen_count;
    bool is_there = at < count;
    *failed = (struct cbpi_failed_execution){0};
    if (is_there && count - at <= CBPI_FAILED_MAX)
        *failed = last[at % CBPI_FAILED_MAX];
    *seen_count += is_there;
    return is_there;
}

#define CBPI_WAIT_FOREVER UINT32_MAX

/* Every driver can do this with an active session. */
struct cbpi_transport_ops {
    /* Detaches: everything held goes on unrefused, waiting receives return CBP_ERROR_OPERATION_ABORTED. Frees
     * nothing that a worker may still use; release does, once no worker is left.
     * CBP_ERROR_SERVICE_REQUEST_TIMEOUT, CBP_ERROR_BROKEN_PIPE: it is closed here, but the driver has not
     * confirmed it. */
    uint32_t (*close)(struct cbpi_transport *transport);
    void (*release)(struct cbpi_transport *transport);

    uint32_t (*update)(struct cbpi_transport *transport, const struct cbpi_session_settings *settings);

    /* Replaces the rules, for all operations from some moment on. After an error the earlier rules are in
     * force, except that after CBP_ERROR_SERVICE_REQUEST_TIMEOUT either may be. CBP_ERROR_INVALID_PARAMETER,
     * CBP_ERROR_BUSY, CBP_ERROR_ACCESS_DENIED: running processes of a rule cannot be attached to; the error's
     * sentence says which. */
    uint32_t (*set_rules)(struct cbpi_transport *transport, const struct cbpi_rules_change *change);

    /* Gives the CAP_ bits that hold for one process. CBP_ERROR_NOT_FOUND if the driver does not supervise it.
     */
    uint32_t (*process_capabilities)(struct cbpi_transport *transport, uint32_t process_id,
                                     uint32_t *capabilities);

    /* Waits up to timeout_ms for a delivery (0: only looks; or CBPI_WAIT_FOREVER). CBP_ERROR_TIMEOUT.
     * CBP_ERROR_INSUFFICIENT_BUFFER with delivery->capacity set to what it takes: the caller provides it and
     * calls again, getting this very delivery (pending is the transport's memory of it, zeroed before the
     * first call). CBP_ERROR_INVALID_DATA: a malformed message was dropped and released.
     * CBP_ERROR_OPERATION_ABORTED after close; CBP_ERROR_BROKEN_PIPE when the driver has died. */
    uint32_t (*receive)(struct cbpi_transport *transport, struct cbpi_delivery *delivery, uint32_t timeout_ms,
                        uint32_t *pending);

    /* Lets the delivery of a receive that gave CBP_ERROR_INSUFFICIENT_BUFFER go on, as if no handler had
     * changed anything. */
    void (*skip)(struct cbpi_transport *transport, uint32_t *pending);

    /* Gives the number of deliveries that wait for a worker now. */
    uint32_t (*backlog)(struct cbpi_transport *transport);

    /* Answers a delivery, exactly once. CBP_ERROR_TIMEOUT if its deadline had passed. */
    uint32_t (*answer)(struct cbpi_transport *transport, const struct cbpi_delivery *delivery);

    /* Says whether an answer would still count: 0, or CBP_ERROR_TIMEOUT. */
    uint32_t (*check)(struct cbpi_transport *transport, const struct cbpi_delivery *delivery);

    /* Moves the deadline of a delivery: timeout_ms from now, 0 for none. CBP_ERROR_TIMEOUT if it had passed.
     */
    uint32_t (*extend)(struct cbpi_transport *transport, const struct cbpi_delivery *delivery,
                       uint32_t timeout_ms);

    /* Takes the dispatcher's sign of life, several times a second. If deliveries wait, one waiting receive
     * looks for them. CBP_ERROR_BROKEN_PIPE when the driver has died. */
    uint32_t (*beat)(struct cbpi_transport *transport);

    /* Gives to the dispatcher, once for each thing that went wrong and ended nothing, its code and a sentence
     * for the error callback; else 0. */
    uint32_t (*trouble)(struct cbpi_transport *transport, char *text, uint64_t size);

    /* Sets what the driver counts since open: lost, timed_out, refused, decided_by_rule, failed_after,
     * guessed and supervised; and queued, to the deliveries that wait for a handler of an earlier one of
     * their process. */
    void (*counts)(struct cbpi_transport *transport, struct cbp_statistics *counts);

    /* Gives the next of those that failed_after counts, and counts it in *seen_count; false if *seen_count is
     * all of them. Any thread. */
    bool (*next_failed)(struct cbpi_transport *transport, uint64_t *seen_count,
                        struct cbpi_failed_execution *failed);
};

/* A driver has these if it has to know which threads of the controller are workers. */
struct cbpi_worker_ops {
    /* Tells that the calling thread is a worker from now on: nothing that it does is an event. An error ends
     * the worker. */
    uint32_t (*enter)(struct cbpi_transport *transport);

    /* Takes that back, in the same thread, before it ends. */
    void (*leave)(struct cbpi_transport *transport);
};

/* A driver that plays scripts has these. */
struct cbpi_script_ops {
    /* Tells that the filter is active and has its rules. */
    void (*begin)(struct cbpi_transport *transport);

    /* Tells that a handler has deferred that item of the delivery. */
    void (*deferred)(struct cbpi_transport *transport, const struct cbpi_delivery *delivery, uint32_t item);

    /* Plays messages after everything that is to be played already; see cbp_script_play(). */
    uint32_t (*play)(struct cbpi_transport *transport, const void *messages, uint64_t size);
};

/* A driver has these if its processes are not the machine's. */
struct cbpi_process_ops {
    /* Gives the start time for a rule about a process id; 0: the driver itself knows whose the rule is. */
    uint32_t (*start_time)(uint32_t process_id, uint64_t *start_time);

    /* Says whether a rule for the process with that id and start time can still be of use. */
    bool (*lives)(uint32_t process_id, uint64_t start_time);

    /* Says whether that rule belongs to an earlier process with the id. */
    bool (*is_of_earlier)(struct cbpi_transport *transport, uint32_t rule_id, uint32_t process_id);

    /* Gives a process's name by the buffer rules of cbpi_copy_text(). */
    uint32_t (*name)(struct cbpi_transport *transport, uint32_t process_id, char *buffer, uint64_t size,
                     uint64_t *needed);

    /* Gives a token as cbpi_process_token(). */
    int64_t (*token)(uint32_t process_id, uint64_t start_time);
};

/* A driver has this if it knows the originator of a held delivery better than by the process's id: it gives a
 * token as cbpi_process_token(), or -1. */
typedef int64_t cbpi_originator_token(struct cbpi_transport *transport, const struct cbpi_delivery *delivery);

/* A driver of this build is a row of these. Only core/drivers.c asks whether a driver has what is optional.
 */
struct cbpi_driver {
    const char *name;

    /* Gives the CAP_ bits of what the driver could do here now, 0 if it cannot run; reason as in
     * cbp_driver_probe(). */
    uint32_t (*probe)(char *reason, uint64_t size);

    /* Starts or joins the driver and attaches with these settings. Error codes of cbp_session_start(). */
    uint32_t (*open)(const struct cbpi_session_settings *settings, struct cbpi_transport **transport);

    /* The rest is optional: NULL where the driver has none. */

    /* Says whether "auto" is this driver here for a product ("": for one that is not known). It is the first
     * one in the list that says so, or lacks this. */
    bool (*is_automatic)(const char *product_guid);

    /* Forgets the parent's driver, in the child of a fork, without touching it. */
    void (*forget_after_fork)(void);

    /* Visits the running processes as cbpi_processes_visit() does, only faster. CBP_ERROR_NOT_SUPPORTED, before
     * any visit: it cannot, or nobody has asked for it and the other way will do. */
    uint32_t (*list_processes)(bool with_arguments, bool is_asked_for, cbpi_process_visitor *visit,
                               void *context);

    const struct cbpi_launch_ops *launches; /* of a driver that starts programs */
    const struct cbpi_script_ops *scripts;
    const struct cbpi_process_ops *processes;
    const struct cbpi_worker_ops *workers;
    cbpi_originator_token *originator_token;
    const struct cbpi_installation_ops *installation; /* of a driver that has to be installed */
};

/* The list has the drivers of this build, the default one first, NULL at the end; cmake/drivers.cmake makes
 * it. */
extern const struct cbpi_driver *const cbpi_drivers[];

/* The Driver setting accepts these names, "auto" first, NULL at the end; cmake/drivers.cmake makes them, too.
 */
extern const char *const cbpi_driver_names[];

#endif
