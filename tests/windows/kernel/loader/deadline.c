/* Holds a creation and lets its time pass in each of the ways in which it can: nobody receives it, nobody answers
 * it, the answer is late, the deadline was moved, the heartbeat has stopped. Time passes faster than on the
 * wall, so that seconds cost tenths of them. */
#include <stdio.h>
#include <unistd.h>

#include "solo.h"

enum {
    FAST = 10,
    FASTER = 60, /* for the limit of a heartbeat, which is a minute */
    TIMEOUT_MS = 3000,
    SHORT_MS = 500,
    LONG_MS = 6000,
    SILENCE_MS = 60000,
    SLICE_MS = 250,
    TICK_MS = 1700,     /* a long one, so that there is time before it */
    LATENESS_MS = 1000, /* on the wall: how late a busy machine may be */
    NS_PER_MS = 1000000
};
#define STATUS_TIMED_OUT STATUS(0xC0070000u | CBP_ERROR_TIMEOUT)

struct trial {
    const char *name;
    unsigned scale;
    uint32_t timeout_ms, timeout_action;
    void (*play)(struct controller *controller, struct solo_operation *operation);
    uint32_t expected_ms; /* how long the creation takes */
    NTSTATUS expected;    /* how it ends */
    uint64_t timed_out;   /* as the driver counts */
};

static uint32_t beat(struct controller *controller, struct cbp_kernel_counts *counts)
{
    return controller_beat(controller, SOLO_SESSION, counts);
}

/* Waits for the end of the creation; the dispatcher lives meanwhile. */
static void beat_until_over(struct controller *controller, const struct solo_operation *operation)
{
    struct cbp_kernel_counts counts;
    while (!solo_is_over(operation)) {
        (void) beat(controller, &counts);
        usleep(2000);
    }
}

static void receive(struct controller *controller, union solo_message *message)
{
    NTSTATUS status = solo_receive(controller, message);
    if (status != STATUS_SUCCESS)
        wrong("a receive ends with 0x%x", (unsigned) status);
}

static void expect_code(uint32_t code, uint32_t expected, const char *what)
{
    if (code != expected)
        wrong("%s ends with %u, and should with %u", what, code, expected);
}

/* ---- Trials ---- */

/* The session is told afterwards that it was too late. */
static void receive_never(struct controller *controller, struct solo_operation *operation)
{
    union solo_message message;
    beat_until_over(controller, operation);
    receive(controller, &message);
    if (message.message.item0.flags != CBP_EVENT_FLAG_TIMED_OUT || message.message.header.deadline_ns != 0)
        wrong("what nobody saw in time has the flags 0x%x", message.message.item0.flags);
    expect_code(solo_answer(controller, &message, 5), CBP_ERROR_NOT_FOUND, "the answer to what is over");
}

static void answer_late(struct controller *controller, struct solo_operation *operation)
{
    union solo_message message;
    receive(controller, &message);
    if ((message.message.item0.flags & CBP_EVENT_FLAG_HELD) == 0 ||
        message.message.header.deadline_ns < operation->began_ns + (uint64_t) TIMEOUT_MS * NS_PER_MS)
        wrong("the message has flags 0x%x and a deadline that is too early", message.message.item0.flags);
    beat_until_over(controller, operation);
    expect_code(solo_answer(controller, &message, 5), CBP_ERROR_TIMEOUT, "a late answer");
    expect_code(solo_move_deadline(controller, &message, LONG_MS), CBP_ERROR_TIMEOUT, "a late move");
}

/* The operation has not noticed yet that its time is over, because the system's clock has not ticked. */
static void answer_before_tick(struct controller *controller, struct solo_operation *operation)
{
    union solo_message message;
    struct cbp_kernel_counts counts;
    receive(controller, &message);
    while (time_now_ns() <= message.message.header.deadline_ns)
        (void) beat(controller, &counts);
    expect_code(solo_answer(controller, &message, 5), CBP_ERROR_TIMEOUT, "an answer just after the deadline");
    beat_until_over(controller, operation);
}

static void lengthen(struct controller *controller, struct solo_operation *operation)
{
    union solo_message message;
    receive(controller, &message);
    expect_code(solo_move_deadline(controller, &message, LONG_MS), 0, "the move of a deadline");
    beat_until_over(controller, operation);
}

static void shorten(struct controller *controller, struct solo_operation *operation)
{
    union solo_message message;
    receive(controller, &message);
    expect_code(solo_move_deadline(controller, &message, SHORT_MS), 0, "the move of a deadline");
    beat_until_over(controller, operation);
}

/* Without a deadline the answer may come at any time while the heart beats. */
static void answer_at_leisure(struct controller *controller, struct solo_operation *operation)
{
    union solo_message message;
    struct cbp_kernel_counts counts;
    receive(controller, &message);
    while (time_now_ns() < operation->began_ns + (uint64_t) LONG_MS * NS_PER_MS) {
        (void) beat(controller, &counts);
        usleep(2000);
    }
    if (solo_is_over(operation))
        wrong("an operation without a deadline has not waited");
    expect_code(solo_answer(controller, &message, CBP_ERROR_ACCESS_DENIED), 0, "the answer");
    expect_code(solo_answer(controller, &message, 0), CBP_ERROR_NOT_FOUND, "the second answer");
}

static void fall_silent(struct controller *controller, struct solo_operation *operation)
{
    union solo_message message;
    struct cbp_kernel_counts counts;
    (void) beat(controller, &counts); /* the last one */
    receive(controller, &message);
    while (!solo_is_over(operation))
        usleep(2000);
}

static const struct trial trials[] = {
    {"not received", FAST, TIMEOUT_MS, CBP_TIMEOUT_ACTION_ALLOW, receive_never, TIMEOUT_MS, STATUS_SUCCESS,
     1},
    {"not received, deny", FAST, TIMEOUT_MS, CBP_TIMEOUT_ACTION_DENY, receive_never, TIMEOUT_MS,
     STATUS_TIMED_OUT, 1},
    {"answered late", FAST, TIMEOUT_MS, CBP_TIMEOUT_ACTION_ALLOW, answer_late, TIMEOUT_MS, STATUS_SUCCESS, 1},
    {"answered late, deny", FAST, TIMEOUT_MS, CBP_TIMEOUT_ACTION_DENY, answer_late, TIMEOUT_MS,
     STATUS_TIMED_OUT, 1},
    {"answered before the clock ticks", FAST, TIMEOUT_MS, CBP_TIMEOUT_ACTION_ALLOW, answer_before_tick,
     TIMEOUT_MS, STATUS_SUCCESS, 1},
    {"moved to later", FAST, TIMEOUT_MS, CBP_TIMEOUT_ACTION_ALLOW, lengthen, LONG_MS, STATUS_SUCCESS, 1},
    {"moved to earlier", FAST, TIMEOUT_MS, CBP_TIMEOUT_ACTION_ALLOW, shorten, SHORT_MS, STATUS_SUCCESS, 1},
    {"no deadline", FAST, 0, CBP_TIMEOUT_ACTION_ALLOW, answer_at_leisure, LONG_MS, STATUS_ACCESS_DENIED, 0},
    {"no heartbeat", FASTER, 0, CBP_TIMEOUT_ACTION_ALLOW, fall_silent, SILENCE_MS, STATUS_SUCCESS, 1},
    {"no heartbeat, deny", FASTER, 0, CBP_TIMEOUT_ACTION_DENY, fall_silent, SILENCE_MS, STATUS_TIMED_OUT, 1},
};

static void check_trial(const struct trial *trial, const struct solo_operation *operation,
                        const struct cbp_kernel_counts *counts)
{
    uint64_t took_ms = operation->took_ns / NS_PER_MS;
    uint64_t latest_ms = trial->expected_ms + SLICE_MS + (uint64_t) LATENESS_MS * trial->scale;
    if (operation->status != trial->expected)
        wrong("%s: the creation ends with 0x%x", trial->name, (unsigned) operation->status);
    /* The heart has beaten a moment before the creation began. */
    if (took_ms + trial->scale * 10 < trial->expected_ms || took_ms > latest_ms)
        wrong("%s: the creation took %llu ms", trial->name, (unsigned long long) took_ms);
    if (counts->timed_out != trial->timed_out || counts->lost != 0)
        wrong("%s: %llu timed out, %llu lost", trial->name, (unsigned long long) counts->timed_out,
              (unsigned long long) counts->lost);
}

static void run_trial(struct image *image, const struct trial *trial)
{
    struct controller controller;
    struct solo_operation operation;
    struct cbp_kernel_counts counts;
    struct nt_thread *self = actor();
    struct session_wish wish = {.session_id = SOLO_SESSION,
                                .events = CBP_PROC_EVT_PROCESS_CREATION,
                                .timeout_ms = trial->timeout_ms,
                                .timeout_action = trial->timeout_action};
    verdicts_context("mode deadline: %s", trial->name);
    time_scale(trial->scale);
    time_tick_ms(trial->play == answer_before_tick ? TICK_MS : 0);
    solo_open(image, &controller);
    expect_code(controller_session(&controller, &wish), 0, "SESSION");
    expect_code(controller_ask_all(&controller, SOLO_SESSION), 0, "RULES");
    expect_code(controller_arm(&controller, SOLO_SESSION, "385201", true), 0, "KERNEL_SESSION");
    (void) beat(&controller, &counts);
    solo_create(&operation, SOLO_PID);
    trial->play(&controller, &operation);
    solo_join(&operation);
    expect_code(beat(&controller, &counts), 0, "BEAT");
    solo_close(&controller, self);
    check_trial(trial, &operation, &counts);
    time_scale(1);
    time_tick_ms(0);
}

void deadline_run(struct image *image, const struct options *options)
{
    (void) options;
    for (size_t i = 0; i < sizeof trials / sizeof trials[0]; i++)
        run_trial(image, &trials[i]);
    printf("deadline: %zu ways in which the time of an operation can pass\n",
           sizeof trials / sizeof trials[0]);
}
