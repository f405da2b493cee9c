/* From a posted message to the handler and back, against a scripted supervisor that checks each answer: what
 * a handler sees, batches, sizes, malformed messages, deadlines, deferral. */
#include "recorder.h"

#include <pthread.h>

/* ---- Answers ---- */

static void refuse_second_and_strip(struct cbp_event *event)
{
    if (event->type == CBP_PROC_EVT_PROCESS_TERMINATION)
        event->result_code = 5;
    if (event->type == CBP_PROC_EVT_PROCESS_HANDLE_OPERATION)
        event->desired_access = 0xffffff00u | 0x3u; /* what was not asked for cannot be added */
}

static void test_batches_are_answered_item_by_item(void)
{
    struct cbp_session *session = start(refuse_second_and_strip);
    post(session, 100, 4, HELD_REFUSABLE, 40);
    WAIT_FOR(test_statistics(session).decided_by_rule == 400); /* the fake's count of answers */
    struct cbp_statistics statistics = test_statistics(session);
    CHECK(statistics.refused == 100 && statistics.failed_after == 100);
    CHECK(statistics.delivered == 400 && cbp_load_u64(&seen.count) == 400);
    CHECK(cbp_load_u64(&seen.sequence_sum) == 400 * 401 / 2);
    CHECK(statistics.queued == 0 && statistics.late == 0 && statistics.timed_out == 0);
    CHECK_OK(cbp_session_destroy(session));
}

static void test_many_events(void)
{
    struct cbp_session *session = start(NULL);
    post(session, 20000, 1, 0, 100);
    WAIT_FOR(test_statistics(session).decided_by_rule == 20000);
    CHECK(test_statistics(session).delivered == 20000);
    CHECK(test_statistics(session).late == 0 && test_statistics(session).timed_out == 0);
    CHECK(cbp_load_u64(&seen.sequence_sum) == 20000ull * 20001 / 2);
    CHECK_OK(cbp_session_destroy(session));
}

static void check_address(struct cbp_event *event)
{
    static _Thread_local struct cbp_event *own;
    if (event->size > CBP_EVENT_SIZE_INLINE)
        return;
    if (!own)
        own = event;
    CHECK(own == event);
}

static void test_sizes(void)
{
    static const unsigned sizes[] = {0, 1, 7000, 7900, 7935, 16000, 20000, 1000000, CBP_ARGUMENTS_SIZE_MAX,
                                     3};
    struct cbp_session *session = start(check_address);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        post(session, 3, 1, 0, sizes[i]);
        WAIT_FOR(test_statistics(session).decided_by_rule == 3 * (i + 1));
    }
    CHECK(test_statistics(session).malformed == 0 && cbp_load_u32(&seen.error_count) == 0);
    CHECK_OK(cbp_session_destroy(session));
}

static void test_malformed_messages(void)
{
    struct cbp_session *session = start(NULL);
    test_command(session, "!malformed s");
    test_command(session, "!malformed o");
    test_command(session, "!malformed i");
    test_command(session, "!malformed w");
    test_command(session, "!malformed n");
    WAIT_FOR(test_statistics(session).malformed == 5);
    WAIT_FOR(cbp_load_u32(&seen.error_count) >= 1);
    CHECK(cbp_load_u32(&seen.last_error) == CBP_ERROR_INVALID_DATA);
    CHECK(cbp_load_u64(&seen.count) == 0);
    post(session, 2, 1, 0, 5);
    WAIT_FOR(test_statistics(session).delivered == 2);
    CHECK_OK(cbp_session_destroy(session));
}

static void ignore_event(struct cbp_event *event)
{
    (void) event;
    cbp_add_u64(&seen.count, 1);
}

/* Texts that share bytes are unusual, not malformed. */
static void test_overlapping_texts(void)
{
    struct cbp_session *session = begin(NULL);
    struct cbp_callbacks callbacks = {.size = sizeof callbacks, .event = ignore_event};
    CHECK_OK(cbp_session_set_callbacks(session, &callbacks));
    CHECK_OK(cbp_session_start(session, 0));
    test_command(session, "!malformed v");
    WAIT_FOR(cbp_load_u64(&seen.count) == 1);
    CHECK(test_statistics(session).malformed == 0);
    CHECK_OK(cbp_session_destroy(session));
}

/* ---- Deadlines ---- */

static void test_late_answer(void)
{
    struct cbp_session *session = start(wait_at_gate);
    cbp_store_u32(&seen.gate, 1);
    test_command(session, "!deadline 50");
    post(session, 1, 1, HELD_REFUSABLE, 0);
    WAIT_FOR(test_statistics(session).timed_out == 1);
    cbp_store_u32(&seen.gate, 0);
    WAIT_FOR(test_statistics(session).late == 1);
    CHECK((cbp_load_u64(&seen.last_flags) & CBP_EVENT_FLAG_TIMED_OUT) == 0);
    CHECK(test_statistics(session).decided_by_rule == 0);
    CHECK_OK(cbp_session_destroy(session));
}

static void test_expired_before_it_was_seen(void)
{
    struct cbp_session *session = begin(wait_at_gate);
    CHECK_OK(cbp_session_set_config(session, "SerializeEvents", "1"));
    CHECK_OK(cbp_session_start(session, 0));
    cbp_store_u32(&seen.gate, 1);
    post(session, 1, 1, HELD_REFUSABLE, 0);
    WAIT_FOR(cbp_load_u32(&seen.waiting) == 1);
    test_command(session, "!deadline 30");
    post(session, 1, 1, HELD_REFUSABLE, 0);
    WAIT_FOR(test_statistics(session).timed_out == 1);
    CHECK(test_statistics(session).queued == 1);
    cbp_store_u32(&seen.gate, 0);
    WAIT_FOR(cbp_load_u64(&seen.count) == 2);
    CHECK((cbp_load_u64(&seen.last_flags) & CBP_EVENT_FLAG_TIMED_OUT) != 0);
    CHECK_OK(cbp_session_destroy(session));
}

static uint32_t accepted[2];

static void reset(uint32_t timeout_ms, uint32_t *whether)
{
    uint32_t given = 2;
    CHECK_OK(cbp_event_reset_timeout(timeout_ms, &given));
    cbp_store_u32(whether, given);
}

static void reset_then_wait(struct cbp_event *event)
{
    reset(0, &accepted[0]);
    wait_at_gate(event);
    reset(1000, &accepted[1]);
}

static void reset_late(struct cbp_event *event)
{
    wait_at_gate(event);
    reset(5000, &accepted[0]);
}

static void test_reset_timeout(void)
{
    struct cbp_session *session = start(reset_then_wait);
    CHECK_CODE(CBP_ERROR_NO_CALLBACK_ACTIVE, cbp_event_reset_timeout(0, &accepted[0]));
    cbp_store_u32(&seen.gate, 1);
    test_command(session, "!deadline 300");
    post(session, 1, 1, HELD_REFUSABLE, 0);
    test_sleep_ms(700);
    CHECK(test_statistics(session).timed_out == 0);
    cbp_store_u32(&seen.gate, 0);
    WAIT_FOR(test_statistics(session).decided_by_rule == 1);
    CHECK(cbp_load_u32(&accepted[0]) == 1 && cbp_load_u32(&accepted[1]) == 1);
    CHECK(test_statistics(session).late == 0);
    CHECK_OK(cbp_session_destroy(session));

    session = start(reset_late);
    cbp_store_u32(&seen.gate, 1);
    test_command(session, "!deadline 30");
    post(session, 1, 1, HELD_REFUSABLE, 0);
    WAIT_FOR(test_statistics(session).timed_out == 1);
    cbp_store_u32(&seen.gate, 0);
    WAIT_FOR(test_statistics(session).late == 1);
    CHECK(cbp_load_u32(&accepted[0]) == 0);
    CHECK_OK(cbp_session_destroy(session));
}

/* ---- Deferral ---- */

static void defer_all(struct cbp_event *event)
{
    uint64_t ticket, again;
    (void) event;
    CHECK_OK(cbp_event_defer(&ticket));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_event_defer(&again));
    keep_ticket(ticket);
}

static void test_deferred_batch(void)
{
    struct cbp_session *session = start(defer_all);
    uint64_t ticket;
    CHECK_CODE(CBP_ERROR_NO_CALLBACK_ACTIVE, cbp_event_defer(&ticket));
    post(session, 1, 4, HELD_REFUSABLE, 0);
    WAIT_FOR(cbp_load_u32(&seen.ticket_count) == 4);
    WAIT_FOR(test_statistics(session).deferred == 4);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(cbp_event_complete(seen.tickets[i], 5, i == 0 ? 1 : UINT32_MAX));
        CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_event_complete(seen.tickets[i], 5, 0));
    }
    test_sleep_ms(50);
    CHECK(test_statistics(session).decided_by_rule == 0); /* one part is still missing */
    CHECK_OK(cbp_event_complete(seen.tickets[3], 0, UINT32_MAX));
    WAIT_FOR(test_statistics(session).decided_by_rule == 4);
    CHECK(test_statistics(session).refused == 3 && test_statistics(session).failed_after == 1);
    CHECK(test_statistics(session).deferred == 0);
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_event_complete(0, 0, 0));
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_event_complete(UINT64_MAX, 0, 0));
    CHECK_OK(cbp_session_destroy(session));
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_event_complete(seen.tickets[3], 0, 0));
}

static void defer_first_refuse_rest(struct cbp_event *event)
{
    if (event->type == CBP_PROC_EVT_PROCESS_CREATION)
        defer_all(event);
    else
        event->result_code = 2;
}

static void *complete_all(void *count)
{
    uint32_t wanted = *(uint32_t *) count;
    for (uint32_t i = 0; i < wanted; i++) {
        WAIT_FOR(cbp_load_u64(&seen.tickets[i]) != 0);
        CHECK_OK(cbp_event_complete(cbp_load_u64(&seen.tickets[i]), 0, UINT32_MAX));
    }
    return NULL;
}

static void test_completion_beside_handlers(void)
{
    uint32_t count = 4000;
    pthread_t completing;
    struct cbp_session *session = start(defer_first_refuse_rest);
    CHECK(pthread_create(&completing, NULL, complete_all, &count) == 0);
    post(session, count, 2, HELD_REFUSABLE, 0);
    CHECK(pthread_join(completing, NULL) == 0);
    WAIT_FOR(test_statistics(session).decided_by_rule == 2 * count);
    CHECK(test_statistics(session).refused == count);
    CHECK_OK(cbp_session_destroy(session));
}

static void test_deferred_deadline_and_stop(void)
{
    struct cbp_session *session = start(defer_all);
    test_command(session, "!deadline 50");
    post(session, 1, 2, HELD_REFUSABLE, 0);
    WAIT_FOR(cbp_load_u32(&seen.ticket_count) == 2);
    WAIT_FOR(test_statistics(session).timed_out == 1);
    CHECK_CODE(CBP_ERROR_TIMEOUT, cbp_event_complete(seen.tickets[0], 0, 0));
    CHECK_CODE(CBP_ERROR_TIMEOUT, cbp_event_complete(seen.tickets[1], 0, 0));
    CHECK(test_statistics(session).late == 1);
    test_command(session, "!deadline 0");
    post(session, 5, 1, HELD_REFUSABLE, 0);
    WAIT_FOR(cbp_load_u32(&seen.ticket_count) == 7);
    CHECK_OK(cbp_session_stop(session, 0));
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_event_complete(seen.tickets[6], 0, 0));
    CHECK(test_statistics(session).deferred == 0);
    CHECK_OK(cbp_session_destroy(session));
}

int main(void)
{
    alarm(110);
    test_use_fake_supervisor();
    test_batches_are_answered_item_by_item();
    test_many_events();
    test_sizes();
    test_malformed_messages();
    test_overlapping_texts();
    test_late_answer();
    test_expired_before_it_was_seen();
    test_reset_timeout();
    test_deferred_batch();
    test_completion_beside_handlers();
    test_deferred_deadline_and_stop();
    return 0;
}
