/* From a message of the kernel driver to the handler and back, with a fake of the driver's device: order, sizes,
 * deadlines, deferral, and what ends a filter. */
#include "../recorder.h"
#include "fake_device.h"

static struct fake_event held(uint32_t type, uint32_t process_id, uint32_t thread_id)
{
    return (struct fake_event){.type = type,
                               .item_count = 1,
                               .flags = HELD_REFUSABLE,
                               .process_id = process_id,
                               .thread_id = thread_id,
                               .timeout_ms = 20000};
}

static struct cbp_session *begin_kernel(void (*act)(struct cbp_event *event))
{
    fake_reset();
    struct cbp_session *session = begin(act);
    CHECK_OK(cbp_session_set_config(session, "Driver", "kernel"));
    return session;
}

static struct cbp_session *start_kernel(void (*act)(struct cbp_event *event))
{
    struct cbp_session *session = begin_kernel(act);
    CHECK_OK(cbp_session_start(session, 3000));
    return session;
}

/* Ends the session; nothing of it is left. */
static void finish(struct cbp_session *session)
{
    CHECK_OK(cbp_session_destroy(session));
    struct fake_seen after = fake_look();
    CHECK(after.opened == after.closed && after.workers == 0);
}

/* ---- Order ---- */

#define PROCESS_COUNT 40u
#define THREADS_EACH 6u

static uint32_t stage[PROCESS_COUNT]; /* how much of each process has been told */
static uint32_t busy[PROCESS_COUNT];  /* handlers of the process as a whole that are at work */

/* A process is created, then has threads, then ends; handlers take a moment. */
static void check_order(struct cbp_event *event)
{
    uint32_t *now = &stage[event->process_id], *whole = &busy[event->process_id];
    bool is_whole = event->type != CBP_PROC_EVT_THREAD_CREATION;
    CHECK(cbp_load_u32(whole) == 0);
    if (is_whole)
        cbp_add_u32(whole, 1);
    if (event->type == CBP_PROC_EVT_PROCESS_CREATION)
        CHECK(cbp_add_u32(now, 1) == 0);
    else if (event->type == CBP_PROC_EVT_THREAD_CREATION)
        CHECK(cbp_add_u32(now, 1) >= 1);
    else
        CHECK(cbp_add_u32(now, 1) == 1 + THREADS_EACH);
    if (event->sequence % 7 == 0)
        test_sleep_ms(1);
    if (is_whole)
        cbp_subtract_u32(whole, 1);
}

static void post_lives(uint32_t generation)
{
    struct fake_event event = held(CBP_PROC_EVT_PROCESS_CREATION, 0, 0);
    event.flags = generation % 2 ? HELD_REFUSABLE : 0;
    for (uint32_t step = 0; step < 2 + THREADS_EACH; step++)
        for (uint32_t process = 0; process < PROCESS_COUNT; process++) {
            event.type = step == 0                  ? CBP_PROC_EVT_PROCESS_CREATION
                         : step == 1 + THREADS_EACH ? CBP_PROC_EVT_PROCESS_TERMINATION
                                                    : CBP_PROC_EVT_THREAD_CREATION;
            event.process_id = process;
            event.thread_id = 1000 * process + step;
            CHECK(fake_post(&event) != 0);
        }
}

static void test_order_of_a_process(void)
{
    for (uint32_t generation = 0; generation < 6; generation++) {
        memset(stage, 0, sizeof stage);
        struct cbp_session *session = start_kernel(check_order);
        fake.shuffles = generation >= 2;
        if (generation >= 4)
            CHECK_OK(cbp_session_set_config(session, "MaxWorkerThreadCount", "12"));
        post_lives(generation);
        uint32_t all = PROCESS_COUNT * (2 + THREADS_EACH);
        WAIT_FOR(test_statistics(session).delivered == all);
        WAIT_FOR(fake_look().answers == (generation % 2 ? all : 0));
        CHECK(cbp_load_u64(&seen.sequence_sum) == (uint64_t) all * (all + 1) / 2);
        finish(session);
    }
}

static void test_many_messages(void)
{
    struct cbp_session *session = start_kernel(NULL);
    struct fake_event event = held(CBP_PROC_EVT_PROCESS_CREATION, 0, 0);
    fake.shuffles = true;
    for (uint32_t i = 0; i < 20000; i++) {
        event.process_id = i;
        CHECK(fake_post(&event) != 0);
    }
    WAIT_FOR(fake_look().answers == 20000);
    CHECK(cbp_load_u64(&seen.sequence_sum) == 20000ull * 20001 / 2);
    CHECK(test_statistics(session).malformed == 0 && test_statistics(session).late == 0);
    finish(session);
}

/* ---- Answers ---- */

static void refuse_and_strip(struct cbp_event *event)
{
    event->result_code = 5;
    event->desired_access = 0xffffff00u | 0x3u; /* what was not asked for cannot be added */
}

static void test_answers(void)
{
    struct cbp_session *session = start_kernel(refuse_and_strip);
    struct fake_event event = held(CBP_PROC_EVT_PROCESS_CREATION, 1, 1);
    event.item_count = 3;
    CHECK(fake_post(&event) != 0);
    WAIT_FOR(fake_look().answers == 1);
    CHECK(fake_look().refused == 3 && fake_look().stripped == 3);
    CHECK(test_statistics(session).refused == 3); /* without waiting for a beat */
    CHECK_OK(cbp_session_stop(session, 0));
    CHECK(test_statistics(session).refused == 3);
    finish(session);
}

/* ---- Sizes ---- */

static void test_sizes(void)
{
    static const uint32_t sizes[] = {0, 1, 7900, 7976, 7977, 7978, 8192, 20000, 400000, 3};
    struct cbp_session *session = start_kernel(NULL);
    uint32_t count = sizeof sizes / sizeof sizes[0], fetched = 0;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t is_held = 0; is_held < 2; is_held++) {
            struct fake_event event = held(CBP_PROC_EVT_PROCESS_CREATION, i, 1);
            event.text_size = sizes[i];
            event.flags = is_held ? HELD_REFUSABLE : 0;
            fetched += 192 + 23 + sizes[i] > 8192;
            CHECK(fake_post(&event) != 0);
            WAIT_FOR(test_statistics(session).delivered == 2 * i + is_held + 1);
        }
    }
    WAIT_FOR(fake_look().answers == count);
    CHECK(fake_look().fetched == fetched && fetched >= 6);
    CHECK(test_statistics(session).malformed == 0 && cbp_load_u32(&seen.error_count) == 0);
    finish(session);
}

static void test_malformed_messages(void)
{
    struct cbp_session *session = start_kernel(NULL);
    struct fake_event event = held(CBP_PROC_EVT_PROCESS_CREATION, 1, 1);
    fake.is_malformed = true;
    CHECK(fake_post(&event) != 0);
    WAIT_FOR(test_statistics(session).malformed == 1);
    CHECK(fake_look().answers == 1); /* nothing waits for it until its deadline */
    WAIT_FOR(cbp_load_u32(&seen.last_error) == CBP_ERROR_INVALID_DATA);
    fake.is_malformed = true;
    event.text_size = 9000;
    CHECK(fake_post(&event) != 0);
    WAIT_FOR(test_statistics(session).malformed == 2);
    CHECK(fake_look().answers == 2 && cbp_load_u64(&seen.count) == 0);
    CHECK(fake_post(&event) != 0);
    WAIT_FOR(test_statistics(session).delivered == 1);
    finish(session);
}

/* A message that is not there any more when it is fetched is a loss, and others go on. */
static void test_messages_that_vanish(void)
{
    struct cbp_session *session = start_kernel(NULL);
    struct fake_event event = held(CBP_PROC_EVT_PROCESS_CREATION, 1, 1);
    event.text_size = 9000;
    fake.is_vanishing = true;
    CHECK(fake_post(&event) != 0);
    WAIT_FOR(test_statistics(session).lost == 1);
    event.text_size = 10;
    CHECK(fake_post(&event) != 0);
    WAIT_FOR(test_statistics(session).delivered == 1);
    finish(session);
}

/* ---- Receives ---- */

/* Receives that were cancelled begin again, wherever the thread that began them has gone. */
static void test_cancelled_receives(void)
{
    struct cbp_session *session = start_kernel(NULL);
    struct fake_event event = held(CBP_PROC_EVT_PROCESS_CREATION, 1, 1);
    for (uint32_t i = 1; i <= 50; i++) {
        fake.shuffles = i % 2;
        fake_cancel();
        CHECK(fake_post(&event) != 0);
        if (i % 5 == 0)
            fake_cancel();
        WAIT_FOR(fake_look().answers == i);
    }
    CHECK(cbp_load_u32(&seen.error_count) == 0);
    finish(session);
}

static void test_no_room_for_receives(void)
{
    struct cbp_session *session = begin_kernel(NULL);
    struct fake_event event = held(CBP_PROC_EVT_PROCESS_CREATION, 1, 1);
    fake.has_no_room = true;
    CHECK_OK(cbp_session_start(session, 3000));
    CHECK(fake_post(&event) != 0);
    test_sleep_ms(300);
    CHECK(fake_look().answers == 0 && fake_backlog() == 1);
    fake.has_no_room = false;
    WAIT_FOR(fake_look().answers == 1); /* the dispatcher begins them */
    CHECK(cbp_load_u32(&seen.error_count) == 0);
    finish(session);
}

/* ---- Deadlines ---- */

/* A machine that stands still may let a deadline pass before the session has looked at its message. Such a round shows
 * nothing, and the next one has four times as long. */
#define DEADLINE_MS 100u
#define DEADLINE_MAX_MS 6400u

static uint32_t accepted, deadline_ms;

static struct fake_event held_with_deadline(void)
{
    struct fake_event event = held(CBP_PROC_EVT_PROCESS_CREATION, 1, 1);
    event.timeout_ms = deadline_ms;
    return event;
}

static void in_time(bool (*round)(void))
{
    for (deadline_ms = DEADLINE_MS; !round(); deadline_ms *= 4)
        CHECK(deadline_ms < DEADLINE_MAX_MS);
}

static void oversleep(struct cbp_event *event)
{
    (void) event;
    test_sleep_ms(3 * deadline_ms);
}

static void extend(struct cbp_event *event)
{
    CHECK_OK(cbp_event_reset_timeout(20 * deadline_ms, &accepted));
    oversleep(event);
}

static void test_late_answers(void)
{
    struct cbp_session *session = start_kernel(oversleep);
    deadline_ms = DEADLINE_MS;
    struct fake_event event = held_with_deadline();
    CHECK(fake_post(&event) != 0);
    WAIT_FOR(test_statistics(session).late == 1);
    CHECK(fake_look().late_answers == 1 && fake_look().answers == 0);
    finish(session);
}

static bool is_extended(void)
{
    struct cbp_session *session = start_kernel(extend);
    struct fake_event event = held_with_deadline();
    uint64_t began = test_now_ms();
    CHECK(fake_post(&event) != 0);
    WAIT_FOR(fake_look().answers + fake_look().late_answers == 1);
    bool is_late = fake_look().late_answers == 1;
    CHECK(!is_late || test_now_ms() - began >= deadline_ms);
    WAIT_FOR(test_statistics(session).late == is_late);
    CHECK(is_late || accepted == 1);
    finish(session);
    return !is_late;
}

/* What follows an operation whose deadline has passed does not wait for its handler. */
static bool is_passed_over(void)
{
    struct cbp_session *session = start_kernel(wait_at_gate);
    struct fake_event event = held_with_deadline();
    uint64_t began = test_now_ms();
    cbp_store_u32(&seen.gate, 1);
    CHECK(fake_post(&event) != 0);
    WAIT_FOR(cbp_load_u32(&seen.waiting) == 1);
    event.type = CBP_PROC_EVT_PROCESS_TERMINATION;
    event.flags = 0;
    CHECK(fake_post(&event) != 0);
    WAIT_FOR(test_statistics(session).queued == 1 || cbp_load_u32(&seen.waiting) == 2);
    bool has_waited = test_statistics(session).queued == 1 && cbp_load_u32(&seen.waiting) == 1;
    CHECK(has_waited || test_now_ms() - began >= deadline_ms);
    WAIT_FOR(cbp_load_u32(&seen.waiting) == 2);
    CHECK(test_now_ms() - began >= deadline_ms);
    cbp_store_u32(&seen.gate, 0);
    WAIT_FOR(test_statistics(session).delivered == 2);
    WAIT_FOR(test_statistics(session).late == 1);
    finish(session);
    return has_waited;
}

static void test_late_before_a_handler(void)
{
    struct cbp_session *session = begin_kernel(wait_at_gate);
    struct fake_event event = held(CBP_PROC_EVT_PROCESS_CREATION, 1, 1);
    CHECK_OK(cbp_session_set_config(session, "MaxWorkerThreadCount", "1"));
    CHECK_OK(cbp_session_start(session, 3000));
    cbp_store_u32(&seen.gate, 1);
    CHECK(fake_post(&event) != 0);
    WAIT_FOR(cbp_load_u32(&seen.waiting) == 1);
    event.process_id = 2;
    event.timeout_ms = 50;
    CHECK(fake_post(&event) != 0);
    test_sleep_ms(100);
    cbp_store_u32(&seen.gate, 0);
    WAIT_FOR(test_statistics(session).delivered == 2);
    CHECK(cbp_load_u64(&seen.last_flags) & CBP_EVENT_FLAG_TIMED_OUT);
    finish(session);
}

/* ---- Deferral ---- */

#define DEFERRED_COUNT 3000u /* more than there are slots */

static void defer(struct cbp_event *event)
{
    uint64_t ticket;
    (void) event;
    CHECK_OK(cbp_event_defer(&ticket));
    keep_ticket(ticket);
}

static void test_more_deferred_than_slots(void)
{
    struct cbp_session *session = start_kernel(defer);
    struct fake_event event = held(CBP_PROC_EVT_THREAD_CREATION, 0, 0);
    for (uint32_t i = 0; i < DEFERRED_COUNT; i++) {
        event.process_id = i;
        CHECK(fake_post(&event) != 0);
    }
    WAIT_FOR(cbp_load_u32(&seen.ticket_count) == 2048); /* the rest waits in the driver */
    CHECK(fake_backlog() == DEFERRED_COUNT - 2048);
    for (uint32_t i = 0; i < DEFERRED_COUNT; i++) {
        WAIT_FOR(cbp_load_u32(&seen.ticket_count) > i);
        CHECK_OK(cbp_event_complete(cbp_load_u64(&seen.tickets[i]), i % 2 ? 5 : 0, UINT32_MAX));
    }
    WAIT_FOR(fake_look().answers == DEFERRED_COUNT);
    CHECK(fake_look().refused == DEFERRED_COUNT / 2);
    finish(session);
}

/* ---- The end of the driver ---- */

static void check_end(void (*end)(void))
{
    struct cbp_session *session = start_kernel(NULL);
    uint32_t active = 1;
    test_sleep_ms(50);
    end();
    WAIT_FOR(cbp_load_u32(&seen.last_error) == CBP_ERROR_BROKEN_PIPE);
    WAIT_FOR(cbp_session_is_active(session, &active) == 0 && active == 0);
    CHECK(cbp_load_u32(&seen.error_count) == 1);
    fake_reset(); /* another driver is there */
    CHECK_OK(cbp_session_stop(session, 0));
    CHECK_OK(cbp_session_start(session, 3000));
    CHECK_OK(cbp_session_destroy(session));
}

int main(void)
{
    test_order_of_a_process();
    test_many_messages();
    test_answers();
    test_sizes();
    test_malformed_messages();
    test_messages_that_vanish();
    test_cancelled_receives();
    test_no_room_for_receives();
    test_late_answers();
    in_time(is_extended);
    in_time(is_passed_over);
    test_late_before_a_handler();
    test_more_deferred_than_slots();
    check_end(fake_forget_sessions);
    check_end(fake_vanish);
    return 0;
}
