/* The life of a session against a scripted helper: states and their errors, settings and rules that reach
 * the driver, a driver that dies or is silent, forks, many cycles. */
#include "support.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

static uint32_t error_codes[64];
static uint32_t error_count;
static uint64_t event_count;

static void on_event(struct cbp_event *event)
{
    (void) event;
    cbp_add_u64(&event_count, 1);
}

static void on_error(uint64_t context, uint32_t code, const char *text)
{
    (void) context;
    CHECK(text[0] != '\0');
    CHECK(cbp_in_handler() == 1);
    uint32_t index = cbp_add_u32(&error_count, 1);
    if (index < 64)
        cbp_store_u32(&error_codes[index], code);
}

static uint32_t errors_with(uint32_t code)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < cbp_load_u32(&error_count) && i < 64; i++)
        count += cbp_load_u32(&error_codes[i]) == code;
    return count;
}

static uint32_t is_active(struct cbp_session *session)
{
    uint32_t active = 2;
    CHECK_OK(cbp_session_is_active(session, &active));
    return active;
}

static void test_create(void)
{
    static const char *const bad[] = {"",
                                      "713CC6CE-B3E2-4fd9-838D-E28F558F6866",
                                      "{713CC6CE-B3E2-4fd9-838D-E28F558F686}",
                                      "{713CC6CE-B3E2-4fd9-838D-E28F558F6866}x",
                                      "{713CC6CE-B3E2-4fd9-838D-E28F558F686g}",
                                      "{713CC6CE+B3E2-4fd9-838D-E28F558F6866}"};
    struct cbp_session *session = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_create(bad[i], &session));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_create(GUID, NULL));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_create(NULL, NULL));
    CHECK(session == NULL);
    CHECK_OK(cbp_session_destroy(NULL));
    CHECK_OK(cbp_session_create("{713cc6ce-b3e2-4FD9-838d-e28f558f6866}", &session));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_start(session, 0)); /* no callbacks */
    struct cbp_callbacks callbacks = {.size = 8, .event = on_event};
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_set_callbacks(session, &callbacks));
    callbacks.size = sizeof callbacks;
    callbacks.event = NULL;
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_set_callbacks(session, &callbacks));
    CHECK_OK(cbp_session_stop(session, 0));
    CHECK(is_active(session) == 0);
    CHECK_OK(cbp_session_destroy(session));
}

static const char *config_of(struct cbp_session *session, const char *name)
{
    static char text[64];
    CHECK_OK(cbp_session_get_config(session, name, text, sizeof text, NULL));
    return text;
}

/* What a session is given before its product GUID, it has afterwards. */
static void test_product_guid_given_later(void)
{
    struct cbp_session *session = NULL;
    struct cbp_callbacks callbacks = {.size = sizeof callbacks, .event = on_event};
    CHECK_OK(cbp_session_create(NULL, &session));
    CHECK_OK(cbp_session_set_callbacks(session, &callbacks));
    CHECK_OK(cbp_session_set_config(session, "SerializeEvents", "1"));
    CHECK_CODE(CBP_ERROR_NOT_READY, cbp_session_start(session, 0));
    CHECK(is_active(session) == 0);
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_set_product_guid(session, NULL));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_set_product_guid(session, "{}"));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_set_product_guid(NULL, GUID));
    CHECK_CODE(CBP_ERROR_NOT_READY, cbp_session_start(session, 0));
    CHECK_OK(cbp_session_set_product_guid(session, GUID));
    CHECK_OK(cbp_session_set_product_guid(session, "{713cc6ce-b3e2-4FD9-838d-e28f558f6866}"));
    CHECK_OK(cbp_session_start(session, 0));
    CHECK(test_statistics(session).workers == 1);
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_set_product_guid(session, "{}"));
    CHECK_CODE(CBP_ERROR_CONNECTION_ACTIVE, cbp_session_set_product_guid(session, GUID));
    CHECK_OK(cbp_session_destroy(session));
}

static void test_copied_settings(void)
{
    struct cbp_session *other = NULL, *session = test_session(on_event, NULL, NULL);
    CHECK_OK(cbp_session_create(NULL, &other));
    CHECK_OK(cbp_session_set_config(session, "Script", "/no/such/script"));
    CHECK_OK(cbp_session_set_config(session, "RecordTo", "/no/such/folder/file"));
    CHECK_OK(cbp_session_set_config(session, "Altitude", "7.5"));
    CHECK_OK(cbp_session_copy_config(other, session));
    CHECK_OK(cbp_session_set_config(session, "Altitude", "8"));
    CHECK_OK(cbp_session_set_config(session, "Script", ""));
    CHECK_OK(cbp_session_set_config(session, "RecordTo", ""));
    CHECK(strcmp(config_of(other, "Altitude"), "7.5") == 0);
    CHECK(strcmp(config_of(other, "EventsToFire"), "-1") == 0);
    CHECK(strcmp(config_of(other, "Script"), "/no/such/script") == 0);
    CHECK(strcmp(config_of(other, "RecordTo"), "") == 0);
    CHECK_OK(cbp_session_copy_config(other, other));
    CHECK(strcmp(config_of(other, "Script"), "/no/such/script") == 0);
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_copy_config(other, NULL));
    CHECK_OK(cbp_session_start(session, 0));
    CHECK_CODE(CBP_ERROR_CONNECTION_ACTIVE, cbp_session_copy_config(session, other));
    CHECK(strcmp(config_of(session, "Altitude"), "8") == 0);
    CHECK_OK(cbp_session_destroy(session));
    CHECK_OK(cbp_session_destroy(other));
}

static void test_states(void)
{
    struct cbp_session *session = test_session(on_event, on_error, NULL);
    struct cbp_callbacks callbacks = {.size = sizeof callbacks, .event = on_event};
    CHECK_CODE(CBP_ERROR_IMPLEMENTATION_LIMIT, cbp_session_start(session, 1));
    CHECK_CODE(CBP_ERROR_IMPLEMENTATION_LIMIT, cbp_session_start(session, 2999));
    CHECK_OK(cbp_session_start(session, 3000));
    CHECK(is_active(session) == 1);
    CHECK_CODE(CBP_ERROR_CONNECTION_ACTIVE, cbp_session_start(session, 0));
    CHECK_CODE(CBP_ERROR_CONNECTION_ACTIVE, cbp_session_set_callbacks(session, &callbacks));
    CHECK_CODE(CBP_ERROR_CONNECTION_ACTIVE, cbp_session_set_config(session, "SerializeEvents", "1"));
    CHECK_CODE(CBP_ERROR_CONNECTION_ACTIVE, cbp_session_set_config(session, "WorkerInitialStackSize", "0"));
    CHECK_CODE(CBP_ERROR_CONNECTION_ACTIVE, cbp_session_set_config(session, "Driver", "auto"));
    CHECK(test_statistics(session).workers >= 1);
    CHECK_OK(cbp_session_stop(session, 0));
    CHECK(is_active(session) == 0);
    CHECK(test_statistics(session).workers == 0);
    CHECK_OK(cbp_session_stop(session, 10));
    CHECK_OK(cbp_session_set_config(session, "SerializeEvents", "1"));
    CHECK_OK(cbp_session_start(session, 0));
    CHECK(test_statistics(session).workers == 1);
    CHECK_OK(cbp_session_destroy(session)); /* stops it first */
}

#define DEFAULT_ALTITUDE 400055000000000u /* in billionths */

static uint64_t seen_settings[6];
static uint32_t helper_id;

static void on_settings(struct cbp_event *event)
{
    uint64_t got[] = {event->process_id,           event->thread_id,
                      event->parent_process_id,    event->originator_process_id,
                      event->originator_thread_id, event->start_time};
    for (int i = 0; i < 6; i++)
        cbp_store_u64(&seen_settings[i], got[i]);
    cbp_store_u32(&helper_id, event->user_id);
    cbp_add_u64(&event_count, 1);
}

static void expect_settings(struct cbp_session *session, uint32_t events, uint32_t timeout_ms,
                            uint32_t action, uint32_t refuse_with, uint32_t flags, uint64_t altitude)
{
    uint64_t before = cbp_load_u64(&event_count);
    uint64_t wanted[] = {events, timeout_ms, action, refuse_with, flags, altitude};
    test_command(session, "!settings");
    WAIT_FOR(cbp_load_u64(&event_count) > before);
    for (int i = 0; i < 6; i++)
        CHECK(cbp_load_u64(&seen_settings[i]) == wanted[i]);
}

static void test_settings_reach_the_driver(void)
{
    struct cbp_session *session = test_session(on_settings, on_error, NULL);
    CHECK_OK(cbp_session_set_config(session, "RefuseWith", "KILL"));
    CHECK_OK(cbp_session_start(session, 4000));
    expect_settings(session, 0x3f, 4000, 0, CBP_REFUSE_WITH_KILL, 0, DEFAULT_ALTITUDE);
    CHECK_OK(cbp_session_set_config(session, "eventstofire", "0x9"));
    CHECK_OK(cbp_session_set_config(session, "TimeoutAction", "deny"));
    CHECK_OK(cbp_session_set_config(session, "RefuseWith", "errno"));
    CHECK_OK(cbp_session_set_config(session, "ForkIsCreation", "yes"));
    CHECK_CODE(CBP_ERROR_NOT_SUPPORTED, cbp_session_set_config(session, "FilterOwnRequests", "1"));
    CHECK_OK(cbp_session_set_config(session, "Altitude", "7.25"));
    expect_settings(session, 9, 4000, CBP_TIMEOUT_ACTION_DENY, CBP_REFUSE_WITH_ERRNO, 1, 7250000000);
    CHECK_OK(cbp_session_destroy(session));
}

static void test_rules_reach_the_driver(void)
{
    struct cbp_session *session = test_session(on_event, on_error, NULL);
    uint32_t own = (uint32_t) getpid();
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        pause();
        _exit(0);
    }
    CHECK_OK(cbp_rule_add_process(session, own, 1, CBP_ACTION_ASK, 0));
    CHECK_OK(cbp_rule_add_process(session, (uint32_t) child, 1, CBP_ACTION_IGNORE, 0));
    CHECK_OK(cbp_rule_add_name(session, "a*", 2, 0, CBP_ACTION_DENY, 5));
    CHECK_OK(cbp_rule_add_name(session, "a*", 2, 1, CBP_ACTION_DENY, 2)); /* replaces it */
    CHECK_OK(cbp_rule_add_name(session, "a*", 2, 1, CBP_ACTION_ASK, 0));
    CHECK_OK(cbp_session_start(session, 0));
    CHECK(test_statistics(session).supervised == 4);
    CHECK_OK(cbp_rule_add_process(session, UINT32_MAX, 0, CBP_ACTION_ALLOW, 0));
    CHECK_OK(cbp_rule_add_process(session, UINT32_MAX, 1, CBP_ACTION_ALLOW, 0));
    CHECK(test_statistics(session).supervised == 5);
    CHECK_OK(cbp_rule_remove_name(session, "a*", 2, CBP_ACTION_DENY));
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_rule_remove_name(session, "a*", 2, CBP_ACTION_DENY));
    CHECK(test_statistics(session).supervised == 4);
    CHECK_OK(cbp_session_stop(session, 0));

    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    CHECK_OK(cbp_session_start(session, 0)); /* what has ended is not told to the driver again, */
    CHECK(test_statistics(session).supervised == 3);
    CHECK_OK(cbp_rule_remove_process(session, (uint32_t) child, CBP_ACTION_IGNORE)); /* but can be removed */
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_rule_remove_process(session, (uint32_t) child, CBP_ACTION_IGNORE));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER,
               cbp_rule_add_process(session, (uint32_t) child, 1, CBP_ACTION_ASK, 0));
    CHECK_OK(cbp_session_destroy(session));
}

static void test_rule_parameters(void)
{
    struct cbp_session *session = test_session(on_event, on_error, NULL);
    uint32_t own = (uint32_t) getpid();
    char *longest = malloc(CBP_PATTERN_SIZE_MAX + 1);
    CHECK(longest);
    memset(longest, '?', CBP_PATTERN_SIZE_MAX + 1);
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_rule_add_process(session, own, 4, CBP_ACTION_ASK, 0));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_rule_add_process(session, own, 0, 5, 0));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_rule_add_process(session, own, 0, CBP_ACTION_ASK, 1));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_rule_add_process(session, own, 0, CBP_ACTION_DENY, 0));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_rule_add_process(session, own, 0, CBP_ACTION_STRIP, 0));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_rule_add_process(session, 0, 0, CBP_ACTION_ASK, 0));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER,
               cbp_rule_add_process(session, UINT32_MAX, 0, CBP_ACTION_IGNORE, 0));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_rule_add_name(session, "", 0, 0, CBP_ACTION_ASK, 0));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_rule_add_name(session, NULL, 1, 0, CBP_ACTION_ASK, 0));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_rule_add_name(session, "a\0b", 3, 0, CBP_ACTION_ASK, 0));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER,
               cbp_rule_add_name(session, longest, CBP_PATTERN_SIZE_MAX + 1, 0, CBP_ACTION_ASK, 0));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER,
               cbp_rule_add_name(session, longest, UINT64_MAX, 0, CBP_ACTION_ASK, 0));
    CHECK_OK(cbp_rule_add_name(session, longest, CBP_PATTERN_SIZE_MAX, 0, CBP_ACTION_ASK, 0));
    CHECK_OK(cbp_session_start(session, 0));
    CHECK(test_statistics(session).supervised == 1);
    CHECK_OK(cbp_session_destroy(session));
    free(longest);
}

static void test_driver_that_dies(void)
{
    struct cbp_session *session = test_session(on_event, on_error, NULL);
    uint32_t before = errors_with(CBP_ERROR_BROKEN_PIPE);
    CHECK_OK(cbp_session_start(session, 0));
    test_command(session, "!die");
    WAIT_FOR(errors_with(CBP_ERROR_BROKEN_PIPE) > before);
    CHECK(is_active(session) == 0);
    test_sleep_ms(600);
    CHECK(errors_with(CBP_ERROR_BROKEN_PIPE) == before + 1); /* once */
    CHECK_OK(cbp_session_stop(session, 0));
    CHECK_OK(cbp_session_start(session, 0)); /* with a new helper */
    test_command(session, "!post 3 1 0 10");
    WAIT_FOR(test_statistics(session).delivered == 3);
    CHECK_OK(cbp_session_destroy(session));
}

static void test_losses_are_told_once_a_burst(void)
{
    struct cbp_session *session = test_session(on_event, on_error, NULL);
    CHECK_OK(cbp_session_start(session, 0));
    uint32_t before = errors_with(CBP_ERROR_NO_SYSTEM_RESOURCES);
    test_command(session, "!lose 5");
    WAIT_FOR(errors_with(CBP_ERROR_NO_SYSTEM_RESOURCES) == before + 1);
    test_command(session, "!lose 5");
    test_sleep_ms(900);
    CHECK(errors_with(CBP_ERROR_NO_SYSTEM_RESOURCES) <= before + 2);
    test_command(session, "!lose 1");
    WAIT_FOR(errors_with(CBP_ERROR_NO_SYSTEM_RESOURCES) >= before + 2);
    CHECK(test_statistics(session).lost == 11);
    CHECK_OK(cbp_session_stop(session, 0));
    CHECK(test_statistics(session).lost == 11); /* the counts stay readable */
    CHECK_OK(cbp_session_start(session, 0));
    CHECK(test_statistics(session).lost == 0);
    CHECK_OK(cbp_session_destroy(session));
}

static void test_guesses_are_counted_and_told(void)
{
    struct cbp_session *session = test_session(on_event, on_error, NULL);
    CHECK_OK(cbp_session_start(session, 0));
    uint32_t before = errors_with(CBP_ERROR_NOT_FOUND);
    CHECK(test_statistics(session).guessed == 0);
    test_command(session, "!guess 3");
    WAIT_FOR(errors_with(CBP_ERROR_NOT_FOUND) == before + 1);
    CHECK(test_statistics(session).guessed == 3 && test_statistics(session).lost == 0);
    CHECK_OK(cbp_session_stop(session, 0));
    CHECK_OK(cbp_session_start(session, 0));
    CHECK(test_statistics(session).guessed == 0);
    CHECK_OK(cbp_session_destroy(session));
}

static void test_sessions_share_a_helper(void)
{
    struct cbp_session *sessions[CBP_SESSION_MAX + 1];
    uint32_t first_id = 0;
    for (uint32_t i = 0; i <= CBP_SESSION_MAX; i++) {
        sessions[i] = test_session(on_settings, on_error, NULL);
        CHECK_OK(cbp_session_set_config(sessions[i], "SerializeEvents", "1"));
        if (i == CBP_SESSION_MAX) {
            CHECK_CODE(CBP_ERROR_NO_SYSTEM_RESOURCES, cbp_session_start(sessions[i], 0));
            break;
        }
        CHECK_OK(cbp_session_start(sessions[i], 0));
        expect_settings(sessions[i], 0x3f, 0, 0, 0, 0, DEFAULT_ALTITUDE);
        if (i == 0)
            first_id = cbp_load_u32(&helper_id);
        CHECK(cbp_load_u32(&helper_id) == first_id);
    }
    CHECK_OK(cbp_session_stop(sessions[3], 0));
    CHECK_OK(cbp_session_start(sessions[CBP_SESSION_MAX], 0)); /* in the place of the fourth */
    expect_settings(sessions[CBP_SESSION_MAX], 0x3f, 0, 0, 0, 0, DEFAULT_ALTITUDE);
    CHECK(cbp_load_u32(&helper_id) == first_id);
    for (uint32_t i = 0; i <= CBP_SESSION_MAX; i++)
        CHECK_OK(cbp_session_destroy(sessions[i]));
    struct cbp_session *later = test_session(on_settings, on_error, NULL);
    CHECK_OK(cbp_session_start(later, 0));
    expect_settings(later, 0x3f, 0, 0, 0, 0, DEFAULT_ALTITUDE);
    CHECK(cbp_load_u32(&helper_id) != first_id); /* the last one out ended it */
    CHECK_OK(cbp_session_destroy(later));
}

static uint32_t child_signals;

static void count_child_signal(int number)
{
    (void) number;
    cbp_add_u32(&child_signals, 1);
}

static void test_helper_is_nobodys_child(void)
{
    struct sigaction action = {.sa_handler = count_child_signal}, before;
    CHECK(sigaction(SIGCHLD, &action, &before) == 0);
    struct cbp_session *session = test_session(on_settings, on_error, NULL);
    CHECK_OK(cbp_session_start(session, 0));
    expect_settings(session, 0x3f, 0, 0, 0, 0, DEFAULT_ALTITUDE);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    CHECK(waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD);
    CHECK_OK(cbp_session_destroy(session));
    WAIT_FOR(kill((pid_t) cbp_load_u32(&helper_id), 0) == -1); /* it leaves by itself */
    CHECK(waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD);
    CHECK(cbp_load_u32(&child_signals) == 0);
    CHECK(sigaction(SIGCHLD, &before, NULL) == 0);
}

/* With a helper of its own. */
static void use_own_session(void)
{
    struct cbp_session *session = test_session(on_event, on_error, NULL);
    CHECK_OK(cbp_session_start(session, 0));
    test_command(session, "!post 2 1 0 0");
    WAIT_FOR(test_statistics(session).delivered == 2);
    CHECK_OK(cbp_session_destroy(session));
}

static void test_session_in_a_fork(void)
{
    struct cbp_session *session = test_session(on_event, on_error, NULL);
    uint64_t before = cbp_load_u64(&event_count);
    CHECK_OK(cbp_session_set_config(session, "SerializeEvents", "1"));
    CHECK_OK(cbp_rule_add_name(session, "kept", 4, 0, CBP_ACTION_ASK, 0));
    CHECK_OK(cbp_session_start(session, 0));
    pid_t child = test_fork(session);
    if (child == 0) {
        uint32_t active;
        CHECK_CODE(CBP_ERROR_NOT_READY, cbp_session_is_active(session, &active));
        CHECK_CODE(CBP_ERROR_NOT_READY, cbp_session_stop(session, 0));
        CHECK_CODE(CBP_ERROR_NOT_READY, cbp_session_set_config(session, "EventsToFire", "0"));
        CHECK_CODE(CBP_ERROR_NOT_READY, cbp_rule_remove_name(session, "kept", 4, CBP_ACTION_ASK));
        CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_event_complete(1ull << 32, 0, 0));
        struct cbp_session *own = NULL;
        CHECK_OK(cbp_session_create(NULL, &own));
        CHECK_OK(cbp_session_copy_config(own, session));
        CHECK(strcmp(config_of(own, "SerializeEvents"), "1") == 0);
        CHECK_OK(cbp_session_destroy(own));
        CHECK_OK(cbp_session_destroy(session));
        if (TEST_FORKS_HAVE_THREADS)
            use_own_session();
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    test_command(session, "!post 5 1 0 0");
    WAIT_FOR(cbp_load_u64(&event_count) == before + 5); /* the parent's filter is untouched */
    CHECK_OK(cbp_session_destroy(session));
}

static void test_many_cycles(void)
{
    struct cbp_session *session = test_session(on_event, on_error, NULL);
    unsigned fds = 0, threads = 0;
    for (int i = 0; i < 60; i++) {
        CHECK_OK(cbp_session_start(session, 0));
        test_command(session, "!post 2 1 0 0");
        WAIT_FOR(test_statistics(session).delivered == 2);
        CHECK_OK(cbp_session_stop(session, 0));
        if (i == 5) {
            fds = test_count_entries("/proc/self/fd");
            threads = test_count_entries("/proc/self/task");
        }
    }
    CHECK(test_count_entries("/proc/self/fd") == fds);
    CHECK(test_count_entries("/proc/self/task") == threads);
    CHECK_OK(cbp_session_destroy(session));
}

/* A helper that is there but silent: a request is given up, the session can be stopped. */
static void test_silent_driver(void)
{
    struct cbp_session *session = test_session(on_event, on_error, NULL);
    CHECK_OK(cbp_session_start(session, 0));
    uint64_t begin_ms = test_now_ms();
    CHECK_CODE(CBP_ERROR_SERVICE_REQUEST_TIMEOUT,
               cbp_rule_add_name(session, "!mute", 5, 0, CBP_ACTION_ASK, 0));
    CHECK(test_now_ms() - begin_ms >= 9000);
    CHECK(is_active(session) == 1);
    CHECK_OK(cbp_session_destroy(session));
    CHECK(test_now_ms() - begin_ms < 40000);
}

static void test_missing_helper(void)
{
    char path[PATH_MAX + 64];
    struct cbp_session *session = test_session(on_event, on_error, NULL);
    strcpy(path, test_program("cbprocess-ptrace"));
    CHECK(unlink(path) == 0);
    CHECK_CODE(CBP_ERROR_FS_DRIVER_REQUIRED, cbp_session_start(session, 0));
    CHECK(symlink("support_that_is_not_there", path) == 0);
    CHECK_CODE(CBP_ERROR_FS_DRIVER_REQUIRED, cbp_session_start(session, 0));
    CHECK(unlink(path) == 0 && symlink("/bin/true", path) == 0);
    CHECK_CODE(CBP_ERROR_APP_INIT_FAILURE, cbp_session_start(session, 0));
    CHECK(is_active(session) == 0 && test_statistics(session).workers == 0);
    CHECK(unlink(path) == 0);
    test_use_fake_helper();
    CHECK_OK(cbp_session_start(session, 0));
    CHECK_OK(cbp_session_destroy(session));
}

int main(void)
{
    alarm(110);
    test_use_fake_helper();
    test_create();
    test_product_guid_given_later();
    test_copied_settings();
    test_helper_is_nobodys_child();
    test_states();
    test_settings_reach_the_driver();
    test_rules_reach_the_driver();
    test_rule_parameters();
    test_driver_that_dies();
    test_losses_are_told_once_a_burst();
    test_guesses_are_counted_and_told();
    test_sessions_share_a_helper();
    test_session_in_a_fork();
    test_many_cycles();
    test_missing_helper();
    test_silent_driver();
    return 0;
}
