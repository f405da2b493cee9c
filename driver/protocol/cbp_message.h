/* Defines the messages between the core and a driver in another address space, which recordings have, too.
 * Fields have a fixed width and no implicit padding; variable parts are given by offset and size from the
 * message's start. Each field list is the only definition: it makes the structure and the rows of
 * cbp_abi_rows(). Knows no transport: shared memory, a driver's control requests and files carry these bytes.
 *
 * Byte order and clock are the machine's: driver and core always share one. A time is CLOCK_MONOTONIC
 * nanoseconds if its name says deadline, nanoseconds since 1970 if it says time. A text is bytes, UTF-8 if
 * the system's name is valid (WTF-8 on Windows), never NUL-terminated; its size excludes any NUL. */
#ifndef CBP_MESSAGE_H
#define CBP_MESSAGE_H

#include "cbp_constants.h"

#define CBP_PROTOCOL_MAGIC 0x50424331u /* "1CBP" in memory */
#define CBP_PROTOCOL_VERSION 3u

/* A message has one of these types. The comment on each structure names its sender and its answer. */
#define CBP_MESSAGE_LIST(X)                                                                                  \
    X(MESSAGE_HELLO, 1u, "Core to driver, first: version and clock.")                                        \
    X(MESSAGE_REPLY, 2u, "Driver to core: the result of the request with the same id.")                      \
    X(MESSAGE_SESSION, 3u, "Core to driver: opens a session or changes its settings.")                       \
    X(MESSAGE_SESSION_CLOSE, 4u, "Core to driver: ends a session.")                                          \
    X(MESSAGE_RULES, 5u, "Core to driver: a session's rules, in place of those before.")                     \
    X(MESSAGE_LAUNCH_FORGET, 6u, "Core to driver: takes back the rule that a launch made.")                  \
    X(MESSAGE_LAUNCH, 7u, "Core to driver: a launcher will report on the descriptor passed along.")          \
    X(MESSAGE_LAUNCH_READY, 8u, "Launcher to helper: may be traced now.")                                    \
    X(MESSAGE_LAUNCH_GO, 9u, "Helper to launcher: execute the target.")                                      \
    X(MESSAGE_LAUNCH_RESULT, 10u, "How a launch ended, to the helper and on to the core.")                   \
    X(MESSAGE_LAUNCH_TARGET, 11u, "Core to launcher: what to execute.")                                      \
    X(MESSAGE_EVENT, 12u, "Driver to core: up to BATCH_MAX events of one task.")                             \
    X(MESSAGE_PROCESS_QUERY, 13u, "Core to driver: what holds for one process.")                             \
    X(MESSAGE_LAUNCH_PROCESS, 20u, "Core to debug helper: a program has been started for it to debug.")      \
    X(MESSAGE_KERNEL_SESSION, 21u, "Core to kernel driver: what a session has of its own there.")            \
    X(MESSAGE_KERNEL_WORKER, 22u, "Core to kernel driver: the calling thread is a worker, or no longer.")    \
    X(MESSAGE_KERNEL_RECEIVE, 23u, "Core to kernel driver: waits for an event message.")                     \
    X(MESSAGE_KERNEL_ANSWER, 24u, "Core to kernel driver: answers the event message with the same id.")      \
    X(MESSAGE_KERNEL_DEADLINE, 25u, "Core to kernel driver: asks for a deadline, or moves it.")              \
    X(MESSAGE_KERNEL_TOKEN, 26u, "Core to kernel driver: asks for the originator's token.")                  \
    X(MESSAGE_KERNEL_BEAT, 27u, "Core to kernel driver: the dispatcher lives; asks for the counts.")         \
    X(MESSAGE_KERNEL_COUNTS, 28u, "Kernel driver to core: what a session has counted.")                      \
    X(MESSAGE_RECORDING, 32u, "First in a recording: by whom, where and when it was made.")                  \
    X(MESSAGE_RECORDING_END, 33u, "Last in a recording: it is complete.")                                    \
    X(MESSAGE_VERDICT, 34u, "What became of the event message with the same id.")                            \
    X(MESSAGE_SCRIPT_STEP, 35u, "In a script: something other than an event happens.")

enum cbp_message { CBP_MESSAGE_LIST(CBP_ENUMERATOR_) };

/* A field list has entries X(structure, type, field). */
#define CBP_FIELDS_message_header(X, S)                                                                      \
    X(S, uint32_t, size) /* the whole message's, with variable parts */                                      \
    X(S, uint32_t, type) /* CBP_MESSAGE_ */                                                                  \
    X(S, uint64_t, id)   /* chosen by the sender; an answer has the same */                                  \
    X(S, uint64_t, deadline_ns)

/* The core sends this first to the driver. A reply answers it, with the driver's capabilities as value. */
#define CBP_FIELDS_hello(X, S)                                                                               \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, magic)                                                                                    \
    X(S, uint32_t, version)                                                                                  \
    X(S, uint64_t, clock_ns) /* the sender's CLOCK_MONOTONIC when it sends */                                \
    X(S, uint32_t, process_id)                                                                               \
    X(S, uint32_t, reserved)

#define CBP_FIELDS_reply(X, S)                                                                               \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, status) /* a Win32 error code */                                                          \
    X(S, uint32_t, version)                                                                                  \
    X(S, uint64_t, value)                                                                                    \
    X(S, uint64_t, clock_ns)

#define CBP_SESSION_FLAG_FORK_IS_CREATION 1u
#define CBP_SESSION_FLAG_OWN_REQUESTS 2u
#define CBP_SESSION_FLAG_SCOPE_SIGNALS 4u
#define CBP_SESSION_FLAG_SCOPE_PROC_FILES 8u
#define CBP_SESSION_FLAG_ALL 15u

#define CBP_FIELDS_session_settings(X, S)                                                                    \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, session_id) /* 0 .. SESSION_MAX - 1, chosen by the core */                                \
    X(S, uint32_t, events)     /* PROC_EVT_ bits */                                                          \
    X(S, uint32_t, timeout_ms) /* 0: none while the heartbeat lives */                                       \
    X(S, uint32_t, timeout_action)                                                                           \
    X(S, uint32_t, refuse_with)                                                                              \
    X(S, uint32_t, flags)                                                                                    \
    X(S, uint64_t, altitude) /* the session with the highest one is told first, and its refusal counts */

#define CBP_FIELDS_session_close(X, S)                                                                       \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, session_id)                                                                               \
    X(S, uint32_t, reserved)

#define CBP_RULE_MATCH_ALL 0u     /* every process that the driver sees */
#define CBP_RULE_MATCH_PROCESS 1u /* process_id with start_time */
#define CBP_RULE_MATCH_NAME 2u    /* the pattern */

/* A session's rules are one block or two. A change of the main part replaces both by one. The rest has rules
 * that are newer than all of the main part, so that one more rule among thousands costs little. */
#define CBP_RULES_PART_MAIN 0u
#define CBP_RULES_PART_REST 1u
#define CBP_RULES_PART_COUNT 2u

#define CBP_ATTACH_NONE 0u
#define CBP_ATTACH_ALL 0xffffffffu

/* The core sends the driver a compiled rule set (cbp_ruleset.h) of block_size bytes. The driver copies and
 * validates it, and it takes effect as a whole or not at all. The block travels beside the message: on Linux
 * as the descriptor of a memory file, on Windows as a section, by a handle of the helper's.
 *
 * First the driver attaches to the running processes of the rule attach_rule_id, if that has
 * RULE_FLAG_ATTACH. With ATTACH_ALL it attaches for every rule that has it, and skips processes that have
 * ended. The reply's value names the rule for which that failed. A rest may take away one rule of the main
 * part, which otherwise stays. */
#define CBP_FIELDS_rules(X, S)                                                                               \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, session_id)                                                                               \
    X(S, uint32_t, part) /* RULES_PART_ */                                                                   \
    X(S, uint32_t, attach_rule_id)                                                                           \
    X(S, uint32_t, gone_rule_id) /* the rule of the main part to take away; 0: none */                       \
    X(S, uint64_t, block_size)                                                                               \
    X(S, uint64_t, section_handle)

/* The core sends this to the driver. The answer is CBP_ERROR_NOT_FOUND if no process has that rule. */
#define CBP_FIELDS_launch_forget(X, S)                                                                       \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, session_id)                                                                               \
    X(S, uint32_t, rule_id) /* the launch's */

/* The core sends this to the helper, with one descriptor: the helper's end of the launch channel. */
#define CBP_FIELDS_launch(X, S)                                                                              \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, session_id) /* the session with the rule (process, children, ask) */                      \
    X(S, uint32_t, rule_id)                                                                                  \
    X(S, uint32_t, thread_id) /* the thread that asked, told as the creating thread */                       \
    X(S, uint32_t, reserved)

/* The launcher sends this to the helper, with its credentials: the helper may trace it, and it waits. */
#define CBP_FIELDS_launch_ready(X, S) X(S, struct cbp_message_header, header)

/* The launcher installs a seccomp filter that stops these calls before it executes; without any it installs
 * none. Every filter stops handle operations that may concern the helper or the controller. */
#define CBP_LAUNCH_FLAG_EXECUTIONS 1u
#define CBP_LAUNCH_FLAG_HANDLES 2u          /* handle operations on any process */
#define CBP_LAUNCH_FLAG_HARMLESS_SIGNALS 4u /* with HANDLES: also signals that are ignored by default */
#define CBP_LAUNCH_FLAG_FILTER 7u           /* all that are the filter's */
#define CBP_LAUNCH_FLAG_SCOPE_SIGNALS 8u /* not the filter's: no signals to processes outside of the tree */
#define CBP_LAUNCH_FLAG_SCOPE_PROC_FILES 16u /* not the filter's: no writing to /proc; see launch_steps.h */
#define CBP_LAUNCH_FLAG_SCOPES 24u           /* both of these */
#define CBP_LAUNCH_FLAG_ALL 31u

#define CBP_FIELDS_launch_go(X, S)                                                                           \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, status) /* a Win32 error code: 0, or why the launcher must not go on */                   \
    X(S, uint32_t, flags)                                                                                    \
    X(S, uint32_t, helper_process_id) /* this and the next one are out of the tree's reach */                \
    X(S, uint32_t, controller_process_id)

/* A launch ended like this: status is 0 if the target's image runs, else os_error is execve's errno. */
#define CBP_FIELDS_launch_result(X, S)                                                                       \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, status)                                                                                   \
    X(S, uint32_t, os_error)                                                                                 \
    X(S, uint32_t, process_id)                                                                               \
    X(S, uint32_t, reserved)                                                                                 \
    X(S, uint64_t, start_time)

/* The core sends this to the launcher on the target's end: argv[0], and paths to try, separated by NULs. */
#define CBP_FIELDS_launch_target(X, S)                                                                       \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, helper_process_id)                                                                        \
    X(S, uint32_t, reserved)                                                                                 \
    X(S, uint32_t, argument_offset)                                                                          \
    X(S, uint32_t, argument_size)                                                                            \
    X(S, uint32_t, paths_offset)                                                                             \
    X(S, uint32_t, paths_size)

/* A message has such items, and so has its answer. The core overwrites result_code, which is 0 or the code of
 * a rule that has refused, and desired_access, which is what was asked for without what rules took. */
#define CBP_FIELDS_event_item(X, S)                                                                          \
    X(S, uint32_t, type)  /* one PROC_EVT_ bit */                                                            \
    X(S, uint32_t, flags) /* EVENT_FLAG_ */                                                                  \
    X(S, uint32_t, result_code)                                                                              \
    X(S, uint32_t, desired_access)

#define CBP_FIELDS_event_message(X, S)                                                                       \
    X(S, struct cbp_message_header, header) /* its deadline is 0 if the operation has none */                \
    X(S, uint64_t, sequence)                /* of the first item; the others follow without a gap */         \
    X(S, uint64_t, time_ns)                                                                                  \
    X(S, uint64_t, start_time) /* of process_id, in clock ticks since boot as in /proc/PID/stat */           \
    X(S, uint32_t, session_id)                                                                               \
    X(S, uint32_t, item_count)                                                                               \
    X(S, uint32_t, process_id)                                                                               \
    X(S, uint32_t, thread_id)                                                                                \
    X(S, uint32_t, parent_process_id)                                                                        \
    X(S, uint32_t, originator_process_id) /* the creating process, or the caller of a handle operation */    \
    X(S, uint32_t, originator_thread_id)                                                                     \
    X(S, uint32_t, source_process_id)                                                                        \
    X(S, uint32_t, target_process_id)                                                                        \
    X(S, uint32_t, original_desired_access)                                                                  \
    X(S, uint32_t, user_id)                                                                                  \
    X(S, uint32_t, exit_status)  /* Linux: a wait status; Windows: the exit code */                          \
    X(S, uint32_t, capabilities) /* CAP_: what holds for this process */                                     \
    X(S, uint32_t, reserved)                                                                                 \
    X(S, uint32_t, process_name_offset)                                                                      \
    X(S, uint32_t, process_name_size)                                                                        \
    X(S, uint32_t, image_file_name_offset)                                                                   \
    X(S, uint32_t, image_file_name_size)                                                                     \
    X(S, uint32_t, arguments_offset) /* Linux: each argument with its NUL; Windows: the command line */      \
    X(S, uint32_t, arguments_size)                                                                           \
    X(S, struct cbp_event_item, item0)                                                                       \
    X(S, struct cbp_event_item, item1)                                                                       \
    X(S, struct cbp_event_item, item2)                                                                       \
    X(S, struct cbp_event_item, item3)

/* The core asks about a process. A reply answers: its value is the CAP_ bits that hold for the process. It is
 * CBP_ERROR_NOT_FOUND if the driver does not supervise it. */
#define CBP_FIELDS_process_query(X, S)                                                                       \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, process_id)                                                                               \
    X(S, uint32_t, reserved)

/* The core sends this to the debug helper: a process created with the helper's debug object waits at its
 * first event. The helper has handles of a section for a launch_result and of an event, which tells of it. */
#define CBP_FIELDS_launch_process(X, S)                                                                      \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, session_id)                                                                               \
    X(S, uint32_t, rule_id) /* 0: no rule */                                                                 \
    X(S, uint32_t, thread_id)                                                                                \
    X(S, uint32_t, process_id)                                                                               \
    X(S, uint64_t, section_handle)                                                                           \
    X(S, uint64_t, event_handle)

/* ---- The kernel driver: cbp_kernel_control.h says how these messages travel ---------------------------- */

/* The core sends this after the first SESSION message of a session. A reply answers it. The altitude is a
 * decimal, text as in the registry. CBP_ERROR_ALREADY_EXISTS: is_strict, and another driver or a controller
 * with another altitude has taken it. */
#define CBP_FIELDS_kernel_session(X, S)                                                                      \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, session_id)                                                                               \
    X(S, uint32_t, is_strict) /* 0 or 1 */                                                                   \
    X(S, uint32_t, altitude_offset)                                                                          \
    X(S, uint32_t, altitude_size)

/* The core sends this in the thread that it is about. What a worker does fires nothing, and neither does what
 * is started by it. A reply answers. */
#define CBP_FIELDS_kernel_worker(X, S)                                                                       \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, session_id)                                                                               \
    X(S, uint32_t, is_worker) /* 1: it becomes one; 0: it ceases to be one */

/* The core sends this and gets an event message. Id 0: the next one, when there is one. An id: that one, which
 * an earlier receive has got only the fixed part of, because its buffer was too small. */
#define CBP_FIELDS_kernel_receive(X, S)                                                                      \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, session_id)                                                                               \
    X(S, uint32_t, reserved)

/* The core answers once: the items as the handlers have left them; of them result_code and desired_access
 * count. A reply answers: CBP_ERROR_TIMEOUT if the deadline had passed, CBP_ERROR_NOT_FOUND if the session has
 * no such message. A message without a held item needs no answer; one lets the driver forget what it has
 * given in part. */
#define CBP_FIELDS_kernel_answer(X, S)                                                                       \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, session_id)                                                                               \
    X(S, uint32_t, item_count)                                                                               \
    X(S, struct cbp_event_item, item0)                                                                       \
    X(S, struct cbp_event_item, item1)                                                                       \
    X(S, struct cbp_event_item, item2)                                                                       \
    X(S, struct cbp_event_item, item3)

/* The core asks about the message with this id. A reply answers, its value being the deadline (0: none).
 * CBP_ERROR_TIMEOUT: it had passed. CBP_ERROR_NOT_FOUND. */
#define CBP_FIELDS_kernel_deadline(X, S)                                                                     \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, session_id)                                                                               \
    X(S, uint32_t, moves)      /* 1: the deadline is timeout_ms from now; 0: it stays */                     \
    X(S, uint32_t, timeout_ms) /* 0: none */                                                                 \
    X(S, uint32_t, reserved)

/* The core asks for the token of the originator of a held message. A reply answers, its value being a handle
 * of the controller's (TOKEN_QUERY, TOKEN_DUPLICATE, TOKEN_IMPERSONATE). CBP_ERROR_NOT_FOUND. */
#define CBP_FIELDS_kernel_token(X, S)                                                                        \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, session_id)                                                                               \
    X(S, uint32_t, reserved)

/* The dispatcher sends this several times a second. kernel_counts answers. */
#define CBP_FIELDS_kernel_beat(X, S)                                                                         \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, session_id)                                                                               \
    X(S, uint32_t, reserved)

#define CBP_FIELDS_kernel_counts(X, S)                                                                       \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, status) /* a Win32 error code; if it is not 0, the rest is 0 */                           \
    X(S, uint32_t, version)                                                                                  \
    X(S, uint64_t, lost)      /* events */                                                                   \
    X(S, uint64_t, timed_out) /* operations, as are the next two */                                          \
    X(S, uint64_t, refused)                                                                                  \
    X(S, uint64_t, decided)                                                                                  \
    X(S, uint64_t, backlog)    /* messages that wait for a receive */                                        \
    X(S, uint64_t, supervised) /* processes that the driver knows */

/* ---- Recordings and scripts: never between a driver and the core -------------------------------------- */

#define CBP_RECORDING_VERSION 1u

/* A recording begins with this record. The two clocks were read at the same moment. */
#define CBP_FIELDS_recording(X, S)                                                                           \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, version)    /* RECORDING_VERSION */                                                       \
    X(S, uint32_t, process_id) /* the controller that was recorded */                                        \
    X(S, uint64_t, clock_ns)   /* CLOCK_MONOTONIC, the clock of the deadlines */                             \
    X(S, uint64_t, time_ns)                                                                                  \
    X(S, uint32_t, platform_offset) /* such as "Linux x86_64" */                                             \
    X(S, uint32_t, platform_size)                                                                            \
    X(S, uint32_t, driver_offset) /* the driver's name */                                                    \
    X(S, uint32_t, driver_size)

/* A recording ends with this record; one without it was cut off. */
#define CBP_FIELDS_recording_end(X, S)                                                                       \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint64_t, time_ns)                                                                                  \
    X(S, uint64_t, message_count) /* event messages */                                                       \
    X(S, uint64_t, verdict_count)                                                                            \
    X(S, uint64_t, lost) /* events of the session that are not in the recording */

/* An operation ended in one of these ways. */
#define CBP_VERDICT_LIST(X)                                                                                  \
    X(VERDICT_ANSWERED, 0u, "A handler's answer was applied.")                                               \
    X(VERDICT_TIMED_OUT, 1u, "The deadline passed first; the answer changed nothing.")                       \
    X(VERDICT_LET_GO, 2u, "The filter stopped, or a side of it died, first.")                                \
    X(VERDICT_UNASKED, 3u, "It did not wait; a rule may have decided it.")                                   \
    X(VERDICT_SILENT, 4u, "No event fired: no rule or setting asked for one.")                               \
    X(VERDICT_FAILED, 5u, "In a recording: an execution that was allowed has failed in the system.")

enum cbp_verdict_state { CBP_VERDICT_LIST(CBP_ENUMERATOR_) };

/* Codes and rights are in the order of the message's items; those from item_count on are 0. A VERDICT_FAILED
 * comes after the message's own verdict and has no id. Its sequence names the event that it takes back, and
 * its first code is the errno (0: the process has ended in the call). */
#define CBP_FIELDS_verdict(X, S)                                                                             \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint64_t, sequence) /* of the first item; 0: no event fired */                                      \
    X(S, uint64_t, time_ns)                                                                                  \
    X(S, uint32_t, state) /* CBP_VERDICT_ */                                                                 \
    X(S, uint32_t, item_count)                                                                               \
    X(S, uint32_t, deferred_items) /* bits: items whose handler returned before it answered */               \
    X(S, uint32_t, decided_items)  /* bits: items that a rule decided */                                     \
    X(S, uint32_t, result_code0)                                                                             \
    X(S, uint32_t, result_code1)                                                                             \
    X(S, uint32_t, result_code2)                                                                             \
    X(S, uint32_t, result_code3)                                                                             \
    X(S, uint32_t, desired_access0)                                                                          \
    X(S, uint32_t, desired_access1)                                                                          \
    X(S, uint32_t, desired_access2)                                                                          \
    X(S, uint32_t, desired_access3)

/* A script can make these things happen. "Next" means the event message after the step. */
#define CBP_SCRIPT_LIST(X)                                                                                   \
    X(SCRIPT_SLOW_ANSWER, 1u, "The next event's answers come value ms later than they are given.")           \
    X(SCRIPT_EXPIRED, 2u, "The next event's deadline passes before a handler sees it.")                      \
    X(SCRIPT_DUPLICATE, 3u, "The next event's message arrives value times more.")                            \
    X(SCRIPT_FAILED_AFTER, 4u, "The next event's operation, if it is allowed, then fails.")                  \
    X(SCRIPT_MALFORMED, 5u, "A malformed message arrives.")                                                  \
    X(SCRIPT_LOSS, 6u, "value events are lost.")                                                             \
    X(SCRIPT_TIME, 7u, "value ms pass for all deadlines.")                                                   \
    X(SCRIPT_BARRIER, 8u, "What comes next waits until everything before has been answered.")                \
    X(SCRIPT_CONTROLLER_DEATH, 9u, "For the driver, the controller has died.")                               \
    X(SCRIPT_DRIVER_DEATH, 10u, "The driver dies.")

enum cbp_script_step_kind { CBP_SCRIPT_LIST(CBP_ENUMERATOR_) };

#define CBP_FIELDS_script_step(X, S)                                                                         \
    X(S, struct cbp_message_header, header)                                                                  \
    X(S, uint32_t, kind)  /* CBP_SCRIPT_ */                                                                  \
    X(S, uint32_t, value) /* 0 unless the kind uses it */

/* Structures follow an order in which each may contain earlier ones. The numbers are their sizes. */
#define CBP_STRUCTURES(X)                                                                                    \
    X(message_header, 24)                                                                                    \
    X(hello, 48)                                                                                             \
    X(reply, 48)                                                                                             \
    X(session_settings, 56)                                                                                  \
    X(session_close, 32)                                                                                     \
    X(rules, 56)                                                                                             \
    X(launch_forget, 32)                                                                                     \
    X(launch, 40)                                                                                            \
    X(launch_ready, 24)                                                                                      \
    X(launch_go, 40)                                                                                         \
    X(launch_result, 48)                                                                                     \
    X(launch_target, 48)                                                                                     \
    X(event_item, 16)                                                                                        \
    X(event_message, 192)                                                                                    \
    X(process_query, 32)                                                                                     \
    X(launch_process, 56)                                                                                    \
    X(kernel_session, 40)                                                                                    \
    X(kernel_worker, 32)                                                                                     \
    X(kernel_receive, 32)                                                                                    \
    X(kernel_answer, 96)                                                                                     \
    X(kernel_deadline, 40)                                                                                   \
    X(kernel_token, 32)                                                                                      \
    X(kernel_beat, 32)                                                                                       \
    X(kernel_counts, 80)                                                                                     \
    X(recording, 64)                                                                                         \
    X(recording_end, 56)                                                                                     \
    X(verdict, 88)                                                                                           \
    X(script_step, 32)

#define CBP_MEMBER_(S, type, name) type name;
#define CBP_DEFINE_STRUCTURE_(name, size)                                                                    \
    struct cbp_##name {                                                                                      \
        CBP_FIELDS_##name(CBP_MEMBER_, name)                                                                 \
    };                                                                                                       \
    CBP_ASSERT_SIZE(struct cbp_##name, size);
CBP_STRUCTURES(CBP_DEFINE_STRUCTURE_)

#endif
