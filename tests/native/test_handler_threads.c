/* Handlers that run in another thread than their worker's, which waits: it is in the handler, too. */
#include "recorder.h"

#include <pthread.h>

/* What the worker hands over to the thread that plays the other runtime. */
static struct {
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    struct cbp_event *event; /* NULL: nothing to do, or done */
    void (*act)(struct cbp_event *event);
    struct cbp_session *session;
    uint32_t is_over;
} handover = {.mutex = PTHREAD_MUTEX_INITIALIZER, .condition = PTHREAD_COND_INITIALIZER};

static void hand_over(struct cbp_event *event)
{
    pthread_mutex_lock(&handover.mutex);
    while (handover.event)
        pthread_cond_wait(&handover.condition, &handover.mutex);
    handover.event = event;
    pthread_cond_broadcast(&handover.condition);
    while (handover.event == event)
        pthread_cond_wait(&handover.condition, &handover.mutex);
    pthread_mutex_unlock(&handover.mutex);
}

static void *other_runtime(void *unused)
{
    pthread_mutex_lock(&handover.mutex);
    while (!handover.is_over) {
        if (handover.event) {
            handover.act(handover.event);
            handover.event = NULL;
            pthread_cond_broadcast(&handover.condition);
        }
        pthread_cond_wait(&handover.condition, &handover.mutex);
    }
    pthread_mutex_unlock(&handover.mutex);
    return unused;
}

static pthread_t begin_runtime(void (*act)(struct cbp_event *event), struct cbp_session *session)
{
    pthread_t thread;
    handover.act = act;
    handover.session = session;
    handover.is_over = 0;
    CHECK(pthread_create(&thread, NULL, other_runtime, NULL) == 0);
    return thread;
}

static void end_runtime(pthread_t thread)
{
    pthread_mutex_lock(&handover.mutex);
    handover.is_over = 1;
    pthread_cond_broadcast(&handover.condition);
    pthread_mutex_unlock(&handover.mutex);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void defer_there(struct cbp_event *event)
{
    uint64_t ticket;
    CHECK(cbp_in_handler() == 0);
    CHECK_CODE(CBP_ERROR_NO_CALLBACK_ACTIVE, cbp_event_defer(&ticket));
    CHECK_OK(cbp_handler_enter(handover.session, event));
    CHECK(cbp_in_handler() == 1);
    CHECK_CODE(CBP_ERROR_POSSIBLE_DEADLOCK, cbp_handler_enter(handover.session, event));
    CHECK_CODE(CBP_ERROR_POSSIBLE_DEADLOCK, cbp_session_start(handover.session, 0));
    CHECK_OK(cbp_event_defer(&ticket));
    CHECK_OK(cbp_handler_leave());
    CHECK(cbp_in_handler() == 0);
    CHECK_CODE(CBP_ERROR_NO_CALLBACK_ACTIVE, cbp_handler_leave());
    keep_ticket(ticket);
}

/* Several events of one delivery, small and large ones: each is deferred there and answered afterwards. */
static void test_deferring(unsigned count, unsigned text_size)
{
    struct cbp_session *session = start(hand_over);
    pthread_t runtime = begin_runtime(defer_there, session);
    post(session, count, 3, HELD_REFUSABLE, text_size);
    WAIT_FOR(cbp_load_u32(&seen.ticket_count) == 3 * count);
    CHECK(test_statistics(session).deferred == 3 * count);
    for (uint32_t i = 0; i < 3 * count; i++)
        CHECK_OK(cbp_event_complete(seen.tickets[i], i % 3 == 0 ? CBP_ERROR_ACCESS_DENIED : 0, ACCESS));
    WAIT_FOR(test_statistics(session).refused == count);
    end_runtime(runtime);
    CHECK_OK(cbp_session_destroy(session));
}

static void stop_there(struct cbp_event *event)
{
    uint32_t accepted = 0;
    CHECK_OK(cbp_handler_enter(handover.session, event));
    CHECK_OK(cbp_event_reset_timeout(5000, &accepted));
    CHECK(accepted == 1);
    CHECK_OK(cbp_session_stop(handover.session, 0)); /* does not wait for the handler that it is in */
    CHECK_OK(cbp_handler_leave());
}

static void test_stopping(void)
{
    struct cbp_session *session = start(hand_over);
    pthread_t runtime = begin_runtime(stop_there, session);
    post(session, 1, 1, HELD_REFUSABLE, 0);
    uint32_t active = 1;
    WAIT_FOR(cbp_session_is_active(session, &active) == 0 && !active);
    CHECK_OK(cbp_session_stop(session, 0));
    CHECK(seen.count == 1 && test_statistics(session).workers == 0);
    end_runtime(runtime);
    CHECK_OK(cbp_session_destroy(session));
}

static void enter_in_worker(struct cbp_event *event)
{
    struct cbp_session *session = handover.session;
    CHECK_CODE(CBP_ERROR_POSSIBLE_DEADLOCK, cbp_handler_enter(session, event));
    CHECK_CODE(CBP_ERROR_NO_CALLBACK_ACTIVE, cbp_handler_leave());
}

static void test_wrong_use(void)
{
    struct cbp_session *session = begin(enter_in_worker);
    struct cbp_event event = {.size = sizeof event};
    handover.session = session;
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_handler_enter(session, &event)); /* before the start, too */
    CHECK_OK(cbp_session_start(session, 3000));
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_handler_enter(session, &event));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_handler_enter(session, NULL));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_handler_enter(NULL, &event));
    CHECK_CODE(CBP_ERROR_NO_CALLBACK_ACTIVE, cbp_handler_leave());
    post(session, 3, 1, HELD_REFUSABLE, 0);
    WAIT_FOR(cbp_load_u64(&seen.count) == 3);
    CHECK_OK(cbp_session_destroy(session));
}

int main(void)
{
    alarm(110);
    test_use_fake_supervisor();
    test_deferring(20, 0);
    test_deferring(5, 100000);
    test_stopping();
    test_wrong_use();
    return 0;
}
