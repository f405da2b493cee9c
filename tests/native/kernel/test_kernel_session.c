/* Opens, changes and closes sessions with a fake of the kernel driver's device: settings, workers, launches,
 * several sessions, and each code with which it fails. */
#include "../recorder.h"
#include "fake_device.h"
#include "platform.h"

static struct cbp_session *make(void)
{
    struct cbp_session *session = begin(NULL);
    CHECK_OK(cbp_session_set_config(session, "Driver", "kernel"));
    return session;
}

static struct cbp_session *make_first(void)
{
    fake_reset();
    return make();
}

static void finish(struct cbp_session *session)
{
    CHECK_OK(cbp_session_destroy(session));
    struct fake_seen after = fake_look();
    CHECK(after.opened == after.closed && after.workers == 0);
}

static void test_settings(void)
{
    struct cbp_session *session = make_first();
    CHECK_OK(cbp_session_set_config(session, "Altitude", "385000.25"));
    CHECK_OK(cbp_session_set_config(session, "StrictAltitude", "True"));
    CHECK_OK(cbp_session_start(session, 3000));
    CHECK(strcmp(fake_look().altitude, "385000.25") == 0 && fake_look().strict == 1);
    CHECK(fake_look().session_altitude == 385000250000000ull);
    CHECK_OK(cbp_session_set_config(session, "Altitude", "400001"));
    CHECK_OK(cbp_session_set_config(session, "StrictAltitude", "False"));
    CHECK(strcmp(fake_look().altitude, "400001") == 0 && fake_look().strict == 0);
    CHECK_OK(cbp_session_set_config(session, "EventsToFire", "1"));
    CHECK(fake_look().events == 1);

    /* A place that cannot be had leaves everything as it was. */
    char text[32];
    fake.altitude_status = CBP_ERROR_ALREADY_EXISTS;
    CHECK_CODE(CBP_ERROR_ALREADY_EXISTS, cbp_session_set_config(session, "Altitude", "7"));
    CHECK(strstr(cbp_error_detail(), "another driver has the altitude 7"));
    CHECK(fake_look().session_altitude == 400001000000000ull);
    CHECK_OK(cbp_session_get_config(session, "Altitude", text, sizeof text, NULL));
    CHECK(strcmp(text, "400001") == 0);
    finish(session);
}

static void check_failure(uint32_t code, struct fake_settings settings, const char *text)
{
    struct cbp_session *session = make_first();
    fake = settings;
    CHECK_CODE(code, cbp_session_start(session, 3000));
    CHECK(strstr(cbp_error_detail(), text));
    CHECK(fake_look().opened == fake_look().closed);
    CHECK(fake_look().sessions == fake_look().sessions_closed);
    fake = (struct fake_settings){0};
    CHECK_OK(cbp_session_start(session, 3000));
    finish(session);
}

static void test_failures(void)
{
    check_failure(CBP_ERROR_FILE_NOT_FOUND, (struct fake_settings){.absent = CBP_ERROR_FILE_NOT_FOUND}, "");
    check_failure(CBP_ERROR_ACCESS_DENIED, (struct fake_settings){.absent = CBP_ERROR_ACCESS_DENIED}, "");
    check_failure(CBP_ERROR_INVALID_KERNEL_INFO_VERSION,
                  (struct fake_settings){.hello_status = CBP_ERROR_INVALID_KERNEL_INFO_VERSION},
                  "the driver");
    check_failure(CBP_ERROR_APP_INIT_FAILURE,
                  (struct fake_settings){.hello_status = CBP_ERROR_INVALID_PARAMETER},
                  "the driver's handshake");
    check_failure(CBP_ERROR_ALREADY_EXISTS,
                  (struct fake_settings){.altitude_status = CBP_ERROR_ALREADY_EXISTS}, "400055");
    check_failure(CBP_ERROR_APP_INIT_FAILURE,
                  (struct fake_settings){.worker_status = CBP_ERROR_NO_SYSTEM_RESOURCES}, "worker");
}

static void test_impossible_settings(void)
{
    struct cbp_session *session = make_first();
    CHECK_OK(cbp_session_set_config(session, "ScopeSignals", "True"));
    CHECK_CODE(CBP_ERROR_NOT_SUPPORTED, cbp_session_start(session, 3000));
    CHECK_OK(cbp_session_set_config(session, "ScopeSignals", "False"));
    CHECK_OK(cbp_session_set_config(session, "ScopeProcFiles", "True"));
    CHECK_CODE(CBP_ERROR_NOT_SUPPORTED, cbp_session_start(session, 3000));
    CHECK(fake_look().opened == 0);
    finish(session);
}

/* ---- Workers ---- */

static void run_worker(uint64_t context, struct cbp_worker *worker)
{
    (void) context;
    CHECK(fake_look().workers_ever > 0); /* this one is told before it does anything */
    cbp_worker_run(worker);
}

static void test_workers(void)
{
    struct cbp_session *session = make_first();
    struct cbp_callbacks callbacks = {.size = sizeof callbacks,
                                      .context = (uintptr_t) &seen,
                                      .event = on_event,
                                      .error = on_error,
                                      .worker = run_worker};
    CHECK_OK(cbp_session_set_callbacks(session, &callbacks));
    CHECK_OK(cbp_session_set_config(session, "MinWorkerThreadCount", "5"));
    CHECK_OK(cbp_session_set_config(session, "MaxWorkerThreadCount", "5"));
    CHECK_OK(cbp_session_start(session, 3000));
    WAIT_FOR(fake_look().workers == 5);
    CHECK_OK(cbp_session_set_config(session, "MinWorkerThreadCount", "8"));
    CHECK_OK(cbp_session_set_config(session, "MaxWorkerThreadCount", "8"));
    WAIT_FOR(fake_look().workers == 8);
    CHECK(fake_look().workers_ever == 8);
    finish(session);
}

/* A worker that the driver does not take serves nothing. */
static void test_a_worker_too_many(void)
{
    struct cbp_session *session = make_first();
    CHECK_OK(cbp_session_set_config(session, "MinWorkerThreadCount", "2"));
    CHECK_OK(cbp_session_start(session, 3000));
    WAIT_FOR(fake_look().workers == 2);
    fake.worker_status = CBP_ERROR_NO_SYSTEM_RESOURCES;
    CHECK_OK(cbp_session_set_config(session, "MinWorkerThreadCount", "3"));
    WAIT_FOR(cbp_load_u32(&seen.last_error) == CBP_ERROR_NO_SYSTEM_RESOURCES);
    CHECK(fake_look().workers == 2);
    fake.worker_status = 0;
    CHECK_OK(cbp_session_stop(session, 0));
    finish(session);
}

/* ---- Launches ---- */

static void test_launches(void)
{
    struct cbp_session *session = make_first();
    struct cbp_launch_handle *launch;
    uint32_t flags = 1, os_error = 1;
    int32_t fd;
    CHECK_OK(cbp_session_start(session, 3000));
    CHECK_CODE(CBP_ERROR_NOT_SUPPORTED, cbp_launch_begin(session, "a", "/a", 3, 1, &fd, &launch));

    CHECK_OK(cbp_launch_enter(session, 1, &launch));
    CHECK(fake_look().announced_rule != 0 && fake_look().announced_thread == cbpi_thread_id());
    CHECK_OK(cbp_launch_creation_flags(launch, &flags));
    CHECK(flags == 0);
    CHECK_OK(cbp_launch_leave(launch, cbpi_process_id()));
    CHECK(fake_look().announced_rule == 0); /* no later process of the thread has it */
    CHECK_OK(cbp_launch_finish(launch, 1, 0, &os_error));
    CHECK(os_error == 0);

    /* Nothing was created, so that finish takes the announcement back. */
    CHECK_OK(cbp_launch_enter(session, 1, &launch));
    CHECK(fake_look().announced_rule != 0);
    CHECK_OK(cbp_launch_finish(launch, 0, 0, &os_error));
    CHECK(fake_look().announced_rule == 0 && fake_look().announcements == 4);

    /* Without a rule there is nothing to announce. */
    CHECK_OK(cbp_launch_enter(session, 0, &launch));
    CHECK_OK(cbp_launch_leave(launch, cbpi_process_id()));
    CHECK_OK(cbp_launch_finish(launch, 1, 0, &os_error));
    CHECK(fake_look().announcements == 4);

    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_launch_creation_flags(NULL, &flags));
    finish(session);
}

/* ---- Tokens ---- */

static int64_t token;

static void ask_token(struct cbp_event *event)
{
    (void) event;
    CHECK_OK(cbp_event_originator_token(&token));
}

static void test_tokens(void)
{
    struct cbp_session *session = make_first();
    struct fake_event event = {.type = CBP_PROC_EVT_PROCESS_CREATION, .item_count = 1, .process_id = 1};
    seen.act = ask_token;
    CHECK_OK(cbp_session_start(session, 3000));
    event.flags = HELD_REFUSABLE;
    CHECK(fake_post(&event) != 0);
    WAIT_FOR(test_statistics(session).delivered == 1);
    CHECK(token == 0x1234);
    event.flags = 0; /* nothing is held: the driver has none, and the originator is no process */
    CHECK(fake_post(&event) != 0);
    WAIT_FOR(test_statistics(session).delivered == 2);
    CHECK(token == -1);
    finish(session);
}

/* ---- Several sessions ---- */

/* Each session has a device of its own, and gets its own messages only. */
static void test_several_sessions(void)
{
    struct cbp_session *sessions[4];
    struct fake_event event = {
        .type = CBP_PROC_EVT_PROCESS_CREATION, .item_count = 1, .flags = HELD_REFUSABLE};
    fake_reset();
    for (uint32_t i = 0; i < 4; i++) {
        sessions[i] = make();
        CHECK_OK(cbp_session_start(sessions[i], 3000));
    }
    CHECK(fake_look().opened == 4 && fake_look().sessions == 4);
    fake.shuffles = true;
    for (uint32_t round = 0; round < 200; round++)
        for (uint32_t i = 0; i < 4; i++)
            for (uint32_t j = 0; j <= i; j++) {
                event.process_id = round;
                CHECK(fake_post_to(i + 1, &event) != 0);
            }
    for (uint32_t i = 0; i < 4; i++)
        WAIT_FOR(test_statistics(sessions[i]).delivered == 200 * (i + 1));
    CHECK_OK(cbp_session_destroy(sessions[1]));
    CHECK(fake_look().closed == 1);
    CHECK(fake_post_to(1, &event) != 0 && fake_post_to(2, &event) == 0);
    WAIT_FOR(test_statistics(sessions[0]).delivered == 201);
    CHECK_OK(cbp_session_destroy(sessions[0]));
    CHECK_OK(cbp_session_destroy(sessions[3]));
    finish(sessions[2]);
}

/* A stop with handlers at work and messages on the way. */
static void test_stops(void)
{
    struct fake_event event = {
        .type = CBP_PROC_EVT_PROCESS_CREATION, .item_count = 1, .flags = HELD_REFUSABLE};
    for (uint32_t round = 0; round < 30; round++) {
        struct cbp_session *session = make_first();
        fake.shuffles = true;
        CHECK_OK(cbp_session_start(session, 3000));
        for (uint32_t i = 0; i < 10 * round; i++) {
            event.process_id = i / 3;
            CHECK(fake_post(&event) != 0);
        }
        CHECK_OK(cbp_session_stop(session, 0));
        CHECK(fake_look().sessions_closed == 1);
        CHECK(test_statistics(session).late == 0);
        finish(session);
    }
}

int main(void)
{
    test_settings();
    test_failures();
    test_impossible_settings();
    test_workers();
    test_a_worker_too_many();
    test_launches();
    test_tokens();
    test_several_sessions();
    test_stops();
    return 0;
}
