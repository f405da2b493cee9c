/* From a posted message to the handler and back, against a scripted supervisor that checks each answer: what
 * a handler sees, batches, sizes, malformed messages, deadlines, deferral, the pool, calls made in handlers.
 */
#include "support.h"

#include <pthread.h>
#include <sys/wait.h>

#define HELD_REFUSABLE (CBP_EVENT_FLAG_HELD | CBP_EVENT_FLAG_REFUSABLE)
#define ACCESS 0x1fu

/* What the handler does, set by each test; and what it saw. */
static struct {
    void (*act)(struct cbp_event *event);
    uint64_t count;
    uint64_t first_sequence;
    uint64_t sequence_sum;
    uint64_t last_flags;
    uint64_t tickets[4096];
    uint32_t ticket_count;
    uint32_t gate;    /* handlers wait while it is shut (1) */
    uint32_t waiting; /* how many do */
    uint32_t error_count;
    uint32_t last_error;
} seen;

static void on_event(struct cbp_event *event)
{
    uint64_t count = cbp_add_u64(&seen.count, 1);
    if (count == 0)
        cbp_store_u64(&seen.first_sequence, event->sequence);
    cbp_add_u64(&seen.sequence_sum, event->sequence);
    cbp_store_u64(&seen.last_flags, event->flags);
    CHECK(event->result_code == 0);
    CHECK(event->desired_access == ACCESS && event->original_desired_access == ACCESS);
    CHECK(cbp_in_handler() == 1);
    CHECK(strcmp(cbp_event_process_name(event), "/usr/bin/program") == 0);
    CHECK(strcmp(cbp_event_image_file_name(event), "program") == 0);
    CHECK(strlen(cbp_event_arguments(event)) == (event->arguments_size ? event->arguments_size - 1 : 0));
    CHECK(event->context == (uintptr_t) &seen);
    if (seen.act)
        seen.act(event);
}

static void on_error(uint64_t context, uint32_t code, const char *text)
{
    CHECK(context == (uintptr_t) &seen && text[0] != '\0');
    cbp_store_u32(&seen.last_error, code);
    cbp_add_u32(&seen.error_count, 1);
}

static struct cbp_session *begin(void (*act)(struct cbp_event *event))
{
    memset(&seen, 0, sizeof seen);
    seen.act = act;
    return test_session(on_event, on_error, &seen);
}

static struct cbp_session *start(void (*act)(struct cbp_event *event))
{
    struct cbp_session *session = begin(act);
    CHECK_OK(cbp_session_start(session, 3000));
    return session;
}

static void post(struct cbp_session *session, unsigned count, unsigned items, unsigned flags,
                 unsigned text_size)
{
    char command[64];
    snprintf(command, sizeof command, "!post %u %u %u %u", count, items, flags, text_size);
    test_command(session, command);
}

static void wait_at_gate(struct cbp_event *event)
{
    (void) event;
    cbp_add_u32(&seen.waiting, 1);
    for (int i = 0; i < 30000 && cbp_load_u32(&seen.gate); i++)
        test_sleep_ms(1);
    cbp_subtract_u32(&seen.waiting, 1);
}

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
    cbp_store_u64(&seen.tickets[cbp_add_u32(&seen.ticket_count, 1)], ticket);
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

/* ---- The pool ---- */

static void test_pool_grows_and_is_bounded(void)
{
    struct cbp_session *session = begin(wait_at_gate);
    CHECK_OK(cbp_session_set_config(session, "MinWorkerThreadCount", "2"));
    CHECK_OK(cbp_session_set_config(session, "MaxWorkerThreadCount", "6"));
    CHECK_OK(cbp_session_start(session, 0));
    WAIT_FOR(test_statistics(session).workers == 2);
    cbp_store_u32(&seen.gate, 1);
    post(session, 20, 1, 0, 0);
    WAIT_FOR(cbp_load_u32(&seen.waiting) == 6);
    test_sleep_ms(400);
    CHECK(test_statistics(session).workers == 6);
    CHECK(cbp_load_u32(&seen.waiting) == 6 && test_statistics(session).queued == 14);
    CHECK_OK(cbp_session_set_config(session, "MaxWorkerThreadCount", "7"));
    WAIT_FOR(cbp_load_u32(&seen.waiting) == 7);
    cbp_store_u32(&seen.gate, 0);
    WAIT_FOR(test_statistics(session).delivered == 20);
    WAIT_FOR(test_statistics(session).workers == 2); /* the spare ones leave after 10 s without work */
    post(session, 50, 1, 0, 0);
    WAIT_FOR(test_statistics(session).delivered == 70);
    CHECK_OK(cbp_session_destroy(session));
}

static uint32_t workers_begun, workers_that_serve;

static void limited_worker(uint64_t context, struct cbp_worker *worker)
{
    CHECK(context == (uintptr_t) &seen && cbp_in_handler() == 1);
    uint32_t accepted_timeout;
    CHECK_CODE(CBP_ERROR_NO_CALLBACK_ACTIVE, cbp_event_reset_timeout(0, &accepted_timeout));
    if (cbp_add_u32(&workers_begun, 1) < cbp_load_u32(&workers_that_serve)) {
        cbp_worker_run(worker);
        cbp_worker_run(worker); /* the second time does nothing */
    }
}

static struct cbp_session *session_with_workers(uint32_t serving_count)
{
    struct cbp_session *session = begin(NULL);
    struct cbp_callbacks callbacks = {.size = sizeof callbacks,
                                      .context = (uintptr_t) &seen,
                                      .event = on_event,
                                      .error = on_error,
                                      .worker = limited_worker};
    CHECK_OK(cbp_session_set_callbacks(session, &callbacks));
    cbp_store_u32(&workers_begun, 0);
    cbp_store_u32(&workers_that_serve, serving_count);
    return session;
}

static void test_workers_that_do_not_serve(void)
{
    struct cbp_session *session = session_with_workers(0);
    CHECK_CODE(CBP_ERROR_APP_INIT_FAILURE, cbp_session_start(session, 0));
    CHECK(test_statistics(session).workers == 0 && cbp_load_u32(&workers_begun) == 1);
    cbp_store_u32(&workers_begun, 0);
    cbp_store_u32(&workers_that_serve, 2);
    CHECK_OK(cbp_session_start(session, 0)); /* the third and fourth end at once */
    WAIT_FOR(test_statistics(session).workers == 2);
    post(session, 10, 1, 0, 0);
    WAIT_FOR(test_statistics(session).delivered == 10);
    test_sleep_ms(300);
    /* One more may have been tried while deliveries waited; not one after another. */
    CHECK(cbp_load_u32(&workers_begun) >= 4 && cbp_load_u32(&workers_begun) <= 6);
    CHECK_OK(cbp_session_destroy(session));
}

/* The first event of a round comes back at once, so that its worker dozes; the others hold theirs up. */
static void hold_up_all_but_first(struct cbp_event *event)
{
    if (event->sequence % 3 != 1)
        wait_at_gate(event);
}

static void test_no_message_is_left_behind_a_dozer(void)
{
    static const unsigned flags[][2] = {{0, 0}, {0, HELD_REFUSABLE}};
    struct cbp_session *session = start(hold_up_all_but_first);
    for (unsigned i = 0; i < 24; i++) {
        cbp_store_u32(&seen.gate, 1);
        post(session, 1, 1, 0, 0);
        post(session, 1, 1, flags[i % 2][0], 0);
        post(session, 1, 1, flags[i % 2][1], 0);
        uint64_t begin_ms = test_now_ms();
        WAIT_FOR(cbp_load_u32(&seen.waiting) == 2);
        CHECK(test_now_ms() - begin_ms < 3000);
        cbp_store_u32(&seen.gate, 0);
        WAIT_FOR(test_statistics(session).decided_by_rule == 3 * (i + 1));
    }
    CHECK(test_statistics(session).late == 0);
    CHECK_OK(cbp_session_destroy(session));
}

/* ---- A worker's own callback ---- */

static struct cbp_event *bound_block;
static uint64_t bound_count;

static void on_bound_event(struct cbp_event *event)
{
    CHECK(event == bound_block && event->size <= CBP_EVENT_SIZE_INLINE);
    cbp_add_u64(&bound_count, 1);
}

static void binding_worker(uint64_t context, struct cbp_worker *worker)
{
    struct cbp_event *block;
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_worker_bind(worker, NULL, &block));
    CHECK_OK(cbp_worker_bind(worker, on_bound_event, &bound_block));
    limited_worker(context, worker);
    CHECK_CODE(CBP_ERROR_NO_CALLBACK_ACTIVE, cbp_worker_bind(worker, on_bound_event, &block));
}

static void test_bound_worker(void)
{
    struct cbp_session *session = session_with_workers(1);
    struct cbp_callbacks callbacks = {.size = sizeof callbacks,
                                      .context = (uintptr_t) &seen,
                                      .event = on_event,
                                      .error = on_error,
                                      .worker = binding_worker};
    CHECK_OK(cbp_session_set_callbacks(session, &callbacks));
    CHECK_OK(cbp_session_set_config(session, "SerializeEvents", "1"));
    CHECK_OK(cbp_session_start(session, 0));
    post(session, 5, 1, HELD_REFUSABLE, 100);
    WAIT_FOR(test_statistics(session).decided_by_rule == 5);
    CHECK(cbp_load_u64(&bound_count) == 5 && cbp_load_u64(&seen.count) == 0);
    post(session, 3, 1, HELD_REFUSABLE, 50000); /* too large for the block: the session's callback */
    WAIT_FOR(test_statistics(session).decided_by_rule == 8);
    CHECK(cbp_load_u64(&bound_count) == 5 && cbp_load_u64(&seen.count) == 3);
    CHECK_OK(cbp_session_destroy(session));
}

/* ---- Calls in handlers ---- */

static struct cbp_session *handled;

static void call_everything(struct cbp_event *event)
{
    char name[64];
    uint64_t needed;
    uint32_t active, code;
    int32_t fd;
    struct cbp_launch_handle *launch;
    struct cbp_session *other;
    CHECK_OK(cbp_session_is_active(handled, &active));
    CHECK_CODE(CBP_ERROR_POSSIBLE_DEADLOCK, cbp_session_destroy(handled));
    CHECK_OK(cbp_session_create(GUID, &other));
    CHECK_CODE(CBP_ERROR_POSSIBLE_DEADLOCK, cbp_session_start(other, 0));
    CHECK_OK(cbp_session_destroy(other));
    CHECK_CODE(CBP_ERROR_POSSIBLE_DEADLOCK, cbp_launch_begin(handled, "x", "x", 2, 1, &fd, &launch));
    CHECK_CODE(CBP_ERROR_INSUFFICIENT_BUFFER, cbp_process_name(event->process_id, name, 3, &needed));
    CHECK(needed == sizeof "/usr/bin/program");
    CHECK_OK(cbp_process_name(event->process_id, name, sizeof name, NULL));
    CHECK(strcmp(name, "/usr/bin/program") == 0);
    CHECK_OK(cbp_rule_add_name(handled, "x", 1, 0, CBP_ACTION_ASK, 0));
    CHECK_OK(cbp_session_set_config(handled, "EventsToFire", "1"));
    code = cbp_session_set_config(handled, "SerializeEvents", "1");
    CHECK(code == CBP_ERROR_CONNECTION_ACTIVE);
    CHECK_OK(cbp_session_stop(handled, 0)); /* does not wait for this very handler */
    CHECK_OK(cbp_session_is_active(handled, &active));
    CHECK(active == 0);
}

static void test_calls_in_a_handler(void)
{
    handled = begin(call_everything);
    CHECK_OK(cbp_session_start(handled, 3000));
    CHECK(cbp_in_handler() == 0);
    post(handled, 1, 2, HELD_REFUSABLE, 0);
    WAIT_FOR(cbp_load_u64(&seen.count) == 1);
    CHECK_OK(cbp_session_stop(handled, 0));
    CHECK(cbp_load_u64(&seen.count) == 1); /* the second event of the batch came after the stop */
    seen.act = NULL;
    CHECK_OK(cbp_session_start(handled, 0));
    post(handled, 3, 1, 0, 0);
    WAIT_FOR(test_statistics(handled).delivered == 3);
    CHECK_OK(cbp_session_destroy(handled));
}

static void test_stop_in_slices(void)
{
    struct cbp_session *session = start(wait_at_gate);
    cbp_store_u32(&seen.gate, 1);
    post(session, 2, 1, HELD_REFUSABLE, 0);
    WAIT_FOR(cbp_load_u32(&seen.waiting) == 2);
    uint64_t begin_ms = test_now_ms();
    CHECK_CODE(CBP_ERROR_TIMEOUT, cbp_session_stop(session, 60));
    CHECK(test_now_ms() - begin_ms >= 50 && test_now_ms() - begin_ms < 5000);
    CHECK_CODE(CBP_ERROR_CONNECTION_ACTIVE, cbp_session_start(session, 0));
    CHECK_CODE(CBP_ERROR_TIMEOUT, cbp_session_stop(session, 10));
    cbp_store_u32(&seen.gate, 0);
    CHECK_OK(cbp_session_stop(session, 0));
    CHECK(test_statistics(session).late == 0); /* nobody was late: the filter let them go */
    CHECK_OK(cbp_session_destroy(session));
}

static void fork_and_return(struct cbp_event *event)
{
    uint32_t active;
    (void) event;
    pid_t child = test_fork(handled);
    if (child == 0) {
        CHECK(cbp_in_handler() == 0);
        CHECK_CODE(CBP_ERROR_NOT_READY, cbp_session_is_active(handled, &active));
        return; /* to the library, which has to leave everything alone and end the thread */
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void test_fork_in_a_handler(void)
{
    handled = begin(fork_and_return);
    CHECK_OK(cbp_session_set_config(handled, "SerializeEvents", "1"));
    CHECK_OK(cbp_session_start(handled, 3000));
    for (uint64_t i = 1; i <= 3; i++) {
        post(handled, 1, 1, HELD_REFUSABLE, 0);
        WAIT_FOR(test_statistics(handled).decided_by_rule == i);
    }
    CHECK_OK(cbp_session_destroy(handled));
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
    test_pool_grows_and_is_bounded();
    test_workers_that_do_not_serve();
    test_no_message_is_left_behind_a_dozer();
    test_bound_worker();
    test_calls_in_a_handler();
    test_stop_in_slices();
    test_fork_in_a_handler();
    return 0;
}
