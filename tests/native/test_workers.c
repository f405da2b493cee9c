/* The worker threads, against a scripted helper: how many there are, who is woken, workers of the
 * caller's own making, and every call that can be made in a handler. */
#include "recorder.h"

#include <pthread.h>
#include <sys/wait.h>

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

static uint64_t stack_size;

static void look_at_stack(struct cbp_event *event)
{
    (void) event;
    pthread_attr_t attributes;
    size_t size;
    CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0);
    CHECK(pthread_attr_getstacksize(&attributes, &size) == 0);
    pthread_attr_destroy(&attributes);
    cbp_store_u64(&stack_size, size);
}

static void expect_stack(const char *setting, uint64_t least, uint64_t most)
{
    struct cbp_session *session = test_session(look_at_stack, NULL, NULL);
    CHECK_OK(cbp_session_set_config(session, "WorkerInitialStackSize", setting));
    CHECK_OK(cbp_session_start(session, 0));
    cbp_store_u64(&stack_size, 0);
    post(session, 1, 1, 0, 0);
    WAIT_FOR(cbp_load_u64(&stack_size) != 0);
    CHECK(cbp_load_u64(&stack_size) >= least && cbp_load_u64(&stack_size) <= most);
    CHECK_OK(cbp_session_destroy(session));
}

static void test_stack_size(void)
{
    expect_stack("0", 1u << 20, (1u << 20) + 65536);
    expect_stack("1", 1u << 20, (1u << 20) + 65536);
    expect_stack("4096", 1u << 20, (1u << 20) + 65536);
    expect_stack("5000000", 5000000, 5000000 + 65536);
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
static uint64_t bound_count, bound_type_count;

static void on_bound_event(struct cbp_event *event)
{
    CHECK(event == bound_block && event->size <= CBP_EVENT_SIZE_INLINE);
    cbp_add_u64(&bound_count, 1);
}

static void on_bound_termination(struct cbp_event *event)
{
    CHECK(event == bound_block && event->type == CBP_PROC_EVT_PROCESS_TERMINATION);
    cbp_add_u64(&bound_type_count, 1);
}

static void binding_worker(uint64_t context, struct cbp_worker *worker)
{
    struct cbp_event *block;
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_worker_bind(worker, NULL, &block));
    CHECK_OK(cbp_worker_bind(worker, on_bound_event, &bound_block));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER,
               cbp_worker_bind_type(worker, CBP_PROC_EVT_PROCESS_TERMINATION, NULL));
    static const uint32_t no_types[] = {0, 3, 5, 2 * CBP_PROC_EVT_THREAD_HANDLE_OPERATION, UINT32_MAX};
    for (size_t i = 0; i < sizeof no_types / sizeof no_types[0]; i++)
        CHECK_CODE(CBP_ERROR_INVALID_PARAMETER,
                   cbp_worker_bind_type(worker, no_types[i], on_bound_termination));
    CHECK_OK(cbp_worker_bind_type(worker, CBP_PROC_EVT_PROCESS_TERMINATION, on_bound_termination));
    limited_worker(context, worker);
    CHECK_CODE(CBP_ERROR_NO_CALLBACK_ACTIVE, cbp_worker_bind(worker, on_bound_event, &block));
    CHECK_CODE(CBP_ERROR_NO_CALLBACK_ACTIVE,
               cbp_worker_bind_type(worker, CBP_PROC_EVT_PROCESS_TERMINATION, on_bound_termination));
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
    post(session, 4, 3, HELD_REFUSABLE, 100); /* three types each, of which the second has its own */
    WAIT_FOR(cbp_load_u64(&bound_count) == 5 + 8 && cbp_load_u64(&bound_type_count) == 4);
    CHECK(cbp_load_u64(&seen.count) == 3);
    CHECK_OK(cbp_session_destroy(session));
}

/* ---- Calls in handlers ---- */

static struct cbp_session *handled;

static void call_everything(struct cbp_event *event)
{
    char name[64];
    uint64_t needed;
    uint32_t active;
    int32_t fd;
    struct cbp_launch_handle *launch;
    struct cbp_session *other = test_session(call_everything, NULL, NULL);
    CHECK_OK(cbp_session_is_active(handled, &active));
    CHECK_CODE(CBP_ERROR_POSSIBLE_DEADLOCK, cbp_session_destroy(handled));
    CHECK_CODE(CBP_ERROR_POSSIBLE_DEADLOCK, cbp_session_start(other, 0));
    CHECK_OK(cbp_session_destroy(other));
    CHECK_CODE(CBP_ERROR_POSSIBLE_DEADLOCK, cbp_launch_begin(handled, "x", "x", 2, 1, &fd, &launch));
    CHECK_CODE(CBP_ERROR_INSUFFICIENT_BUFFER, cbp_process_name(event->process_id, name, 3, &needed));
    CHECK(needed == sizeof "/usr/bin/program");
    CHECK_OK(cbp_process_name(event->process_id, name, sizeof name, NULL));
    CHECK(strcmp(name, "/usr/bin/program") == 0);
    CHECK_OK(cbp_rule_add_name(handled, "x", 1, 0, CBP_ACTION_ASK, 0));
    CHECK_OK(cbp_session_set_config(handled, "EventsToFire", "1"));
    /* A handler comes before an active filter, whatever is asked. */
    CHECK_CODE(CBP_ERROR_POSSIBLE_DEADLOCK, cbp_session_set_config(handled, "SerializeEvents", "1"));
    CHECK_CODE(CBP_ERROR_POSSIBLE_DEADLOCK, cbp_session_set_config(handled, "Script", "a"));
    CHECK_CODE(CBP_ERROR_POSSIBLE_DEADLOCK, cbp_session_start(handled, 0));
    CHECK_CODE(CBP_ERROR_IMPLEMENTATION_LIMIT, cbp_session_start(handled, 1)); /* and behind arguments */
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
    test_use_fake_helper();
    test_pool_grows_and_is_bounded();
    test_stack_size();
    test_workers_that_do_not_serve();
    test_no_message_is_left_behind_a_dozer();
    test_bound_worker();
    test_calls_in_a_handler();
    test_stop_in_slices();
    test_fork_in_a_handler();
    return 0;
}
