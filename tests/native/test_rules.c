/* What the driver gets of a session's rules: the fake helper checks every block against the contract and
 * writes what it has to a file, which is compared here with a model of the list after every change. */
#include "rule_changes.h"

/* ---- The tests ---- */

static void test_one_part(void)
{
    struct cbp_session *session = dumping_session();
    uint32_t own = (uint32_t) getpid();
    CHECK_OK(cbp_rule_add_process(session, own, 1, CBP_ACTION_DENY, 5));
    model_add(line_of(CBP_RULE_MATCH_PROCESS, 1, CBP_ACTION_DENY, 5, own, ""));
    CHECK_OK(cbp_rule_add_process(session, UINT32_MAX, 0, CBP_ACTION_STRIP, 0x10));
    model_add(line_of(CBP_RULE_MATCH_ALL, 0, CBP_ACTION_STRIP, 0x10, 0, ""));
    add_name(session, "first", 0);
    add_name(session, "second", 1);
    add_name(session, "third", 0);
    replace_name(session, "first", 0, 1); /* before the start, too: it is the newest now */
    CHECK_OK(cbp_session_start(session, 0));
    all_in_main();
    CHECK_DRIVER();

    add_name(session, "fourth", 0);
    all_in_main();
    CHECK_DRIVER();
    replace_name(session, "second", 1, 0);
    all_in_main();
    CHECK_DRIVER();
    remove_name(session, "third", 0);
    CHECK_DRIVER();
    CHECK_OK(cbp_rule_remove_process(session, own, CBP_ACTION_DENY));
    model_remove(line_of(CBP_RULE_MATCH_PROCESS, 1, CBP_ACTION_DENY, 5, own, ""));
    CHECK_DRIVER();
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_rule_remove_process(session, own, CBP_ACTION_DENY));
    /* A pattern with another action is another rule. */
    CHECK_OK(cbp_rule_add_name(session, "fourth", 6, 0, CBP_ACTION_DENY, 2));
    model_add(line_of(CBP_RULE_MATCH_NAME, 0, CBP_ACTION_DENY, 2, 0, "fourth"));
    all_in_main();
    CHECK_DRIVER();
    CHECK_OK(cbp_session_destroy(session));
}

static void test_two_parts(void)
{
    struct cbp_session *session = dumping_session();
    add_numbered(session, 0, MAIN_MIN - 2);
    CHECK_OK(cbp_session_start(session, 0));
    for (uint32_t i = 0; i < 2; i++) { /* up to 1,025 rules it is one part, */
        add_name(session, numbered(9000 + i), 0);
        all_in_main();
        CHECK_DRIVER();
    }
    CHECK(model.count == MAIN_MIN + 1);
    for (uint32_t i = 0; i < REST_MAX; i++) /* from then on newer ones are another, */
        add_name(session, numbered(2000 + i), 0);
    CHECK(model.count == model.main_count + REST_MAX);
    CHECK_DRIVER();
    add_name(session, "one too many", 0); /* until those are too many. */
    all_in_main();
    CHECK_DRIVER();

    add_numbered(session, 3000, 3);
    replace_name(session, numbered(3001), 0, 1); /* of the rest: the main part stays */
    remove_name(session, numbered(3000), 0);
    CHECK(model.count == model.main_count + 2);
    CHECK_DRIVER();
    remove_name(session, numbered(3002), 0);
    remove_name(session, numbered(3001), 1); /* the rest may be empty */
    CHECK(model.count == model.main_count);
    CHECK_DRIVER();

    add_numbered(session, 4000, 3);
    replace_name(session, numbered(7), 0, 1); /* of the main part, which stays but for that one */
    CHECK_DRIVER();
    add_numbered(session, 4100, 3);
    remove_name(session, numbered(8), 0);
    CHECK_DRIVER();
    CHECK_OK(cbp_session_destroy(session));
}

static void test_back_to_one_part(void)
{
    struct cbp_session *session = dumping_session();
    add_numbered(session, 0, MAIN_MIN);
    CHECK_OK(cbp_session_start(session, 0));
    all_in_main();
    add_name(session, "newer", 0);
    CHECK(model.main_count == MAIN_MIN + 1);
    CHECK_DRIVER();
    remove_name(session, numbered(0), 0);
    remove_name(session, numbered(1), 0);
    all_in_main();
    CHECK_DRIVER();
    add_name(session, "newest", 0); /* the main part would be 1,024 */
    all_in_main();
    CHECK_DRIVER();
    CHECK_OK(cbp_session_destroy(session));
}

/* What cannot be had changes nothing, here and there. */
static void test_failed_changes(uint32_t rule_count)
{
    const uint32_t flags = CBP_RULE_FLAG_ATTACH;
    struct cbp_session *session = dumping_session();
    uint32_t child = (uint32_t) start_child();
    add_numbered(session, 0, rule_count);
    CHECK_OK(cbp_rule_add_process(session, child, 0, CBP_ACTION_ASK, 0));
    model_add(line_of(CBP_RULE_MATCH_PROCESS, 0, CBP_ACTION_ASK, 0, child, ""));
    CHECK_OK(cbp_session_start(session, 0));
    all_in_main();
    add_name(session, "!refuse 170", 0);
    if (rule_count < MAIN_MIN)
        all_in_main();
    CHECK_CODE(CBP_ERROR_BUSY, cbp_rule_add_process(session, child, flags, CBP_ACTION_DENY, 5));
    CHECK_CODE(CBP_ERROR_BUSY, cbp_rule_add_process(session, child, flags, CBP_ACTION_ASK, 0)); /* replaces */
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_rule_remove_process(session, child, CBP_ACTION_DENY));
    CHECK_DRIVER();
    add_name(session, "after it", 0);
    if (rule_count < MAIN_MIN)
        all_in_main();
    CHECK_DRIVER();
    CHECK_OK(cbp_rule_remove_process(session, child, CBP_ACTION_ASK));
    model_remove(line_of(CBP_RULE_MATCH_PROCESS, 0, CBP_ACTION_ASK, 0, child, ""));
    if (rule_count < MAIN_MIN)
        all_in_main();
    CHECK_DRIVER();
    CHECK_OK(cbp_session_destroy(session));
    end_child((pid_t) child);
}

/* Whether the driver has taken what it did not answer nobody knows: the next change is of everything. */
static void test_unanswered_change(void)
{
    struct cbp_session *session = dumping_session();
    add_numbered(session, 0, MAIN_MIN + 10);
    CHECK_OK(cbp_session_start(session, 0));
    all_in_main();
    CHECK_CODE(CBP_ERROR_SERVICE_REQUEST_TIMEOUT,
               cbp_rule_add_name(session, "!unanswered", 11, 0, CBP_ACTION_ASK, 0));
    add_name(session, "after it", 0);
    all_in_main();
    CHECK_DRIVER();
    add_name(session, "newer", 0);
    CHECK(model.main_count == model.count - 1);
    CHECK_DRIVER();
    CHECK_OK(cbp_session_destroy(session));
}

static void test_restart(void)
{
    struct cbp_session *session = dumping_session();
    uint32_t child = (uint32_t) start_child();
    const char *line;
    add_numbered(session, 0, MAIN_MIN + 10);
    CHECK_OK(cbp_session_start(session, 0));
    all_in_main();
    CHECK_OK(cbp_rule_add_process(session, child, 0, CBP_ACTION_ALLOW, 0));
    line = line_of(CBP_RULE_MATCH_PROCESS, 0, CBP_ACTION_ALLOW, 0, child, "");
    model_add(line);
    add_name(session, "in the rest", 0);
    CHECK_DRIVER();
    CHECK_OK(cbp_session_stop(session, 0));
    remove_name(session, numbered(5), 0);
    add_name(session, "while it is stopped", 0);
    CHECK(remove(dump_path) == 0);
    CHECK_OK(cbp_session_start(session, 0));
    all_in_main();
    CHECK_DRIVER();
    CHECK_OK(cbp_session_stop(session, 0));
    line = line_of(CBP_RULE_MATCH_PROCESS, 0, CBP_ACTION_ALLOW, 0, child, "");
    model_remove(line);
    end_child((pid_t) child);
    CHECK_OK(cbp_session_start(session, 0)); /* without what has ended */
    all_in_main();
    CHECK_DRIVER();
    CHECK_OK(cbp_session_destroy(session));
}

/* A filter without rules tells the driver of none: there is no file. */
static void test_no_rules(void)
{
    struct cbp_session *session = test_session(on_event, on_error, NULL);
    CHECK_OK(cbp_session_start(session, 0));
    CHECK(test_statistics(session).supervised == 0);
    CHECK_OK(cbp_rule_add_name(session, "a", 1, 0, CBP_ACTION_ASK, 0));
    CHECK(test_statistics(session).supervised == 1);
    CHECK_OK(cbp_rule_remove_name(session, "a", 1, CBP_ACTION_ASK));
    CHECK(test_statistics(session).supervised == 0);
    CHECK_OK(cbp_session_destroy(session));
}

/* ---- Launches ---- */

/* The driver keeps the rule of a launch itself, and is told when it goes. */
static void test_launch_rules(void)
{
    struct cbp_session *session = dumping_session();
    uint32_t child = (uint32_t) start_child();
    CHECK_OK(cbp_session_start(session, 0));
    say_about(session, child);
    all_in_main();
    launch(session);
    CHECK_DRIVER();
    add_name(session, "other", 0); /* it is in no set */
    all_in_main();
    CHECK_DRIVER();
    CHECK_OK(cbp_rule_remove_process(session, child, CBP_ACTION_ASK));
    model.launch_count--;
    CHECK_DRIVER();
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_rule_remove_process(session, child, CBP_ACTION_ASK));

    launch(session);
    CHECK_OK(cbp_rule_add_process(session, child, 0, CBP_ACTION_ASK, 0)); /* replaces it */
    model.launch_count--;
    model_add(line_of(CBP_RULE_MATCH_PROCESS, 0, CBP_ACTION_ASK, 0, child, ""));
    all_in_main();
    CHECK_DRIVER();
    launch(session); /* and gives way to the next */
    model_remove(line_of(CBP_RULE_MATCH_PROCESS, 0, CBP_ACTION_ASK, 0, child, ""));
    CHECK_DRIVER();
    launch(session); /* a launch gives way to another, when the number has passed on */
    model.launch_count--;
    CHECK_DRIVER();

    test_command(session, "!ended");
    model.launch_count = 0;
    CHECK_DRIVER();
    CHECK_OK(
        cbp_rule_remove_process(session, child, CBP_ACTION_ASK)); /* the driver has forgotten it already */
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_rule_remove_process(session, child, CBP_ACTION_ASK));
    CHECK_OK(cbp_session_destroy(session));
    end_child((pid_t) child);
}

/* After another start it is a rule as any other, whether the launch had ended before or not. */
static void test_launch_rules_after_a_restart(void)
{
    uint32_t os_error = 99;
    struct cbp_session *session = dumping_session();
    uint32_t first = (uint32_t) start_child(), second = (uint32_t) start_child();
    add_numbered(session, 0, MAIN_MIN + 10);
    CHECK_OK(cbp_session_start(session, 0));
    say_about(session, first);
    launch(session);
    say_about(session, second);
    struct cbp_launch_handle *late = begin_launch(session);
    CHECK_OK(cbp_session_stop(session, 0));
    model_add(launch_line(first));
    model.launch_count = 0;
    add_name(session, "newer than the launch", 0);
    CHECK_OK(cbp_session_start(session, 0));
    all_in_main();
    CHECK_DRIVER();
    CHECK_OK(cbp_launch_finish(late, 1, 0, &os_error));
    model_add(launch_line(second));
    CHECK(os_error == 0 && model.count == model.main_count + 1);
    CHECK_DRIVER();
    CHECK_OK(cbp_rule_remove_process(session, second, CBP_ACTION_ASK));
    model_remove(launch_line(second));
    CHECK_DRIVER();
    CHECK_OK(cbp_rule_remove_process(session, first, CBP_ACTION_ASK));
    model_remove(launch_line(first));
    CHECK_DRIVER();
    CHECK_OK(cbp_session_destroy(session));
    end_child((pid_t) first);
    end_child((pid_t) second);
}

/* Many rules cost little before the start, and can be added one by one while the filter is active. */
static void test_many_rules(void)
{
    struct cbp_session *session = test_session(on_event, on_error, NULL);
    uint64_t begin_ms = test_now_ms();
    for (uint32_t i = 0; i < 100000; i++)
        CHECK_OK(cbp_rule_add_name(session, numbered(i), strlen(numbered(i)), 0, CBP_ACTION_ASK, 0));
    uint64_t added_ms = test_now_ms();
    CHECK_OK(cbp_session_start(session, 0));
    uint64_t started_ms = test_now_ms();
    CHECK(test_statistics(session).supervised == 100000);
    CHECK_OK(cbp_session_stop(session, 0));
    for (uint32_t i = 0; i < 100000; i++)
        CHECK_OK(cbp_rule_remove_name(session, numbered(i), strlen(numbered(i)), CBP_ACTION_ASK));
    CHECK_OK(cbp_session_start(session, 0));
    uint64_t empty_ms = test_now_ms();
    for (uint32_t i = 0; i < 3000; i++)
        CHECK_OK(cbp_rule_add_name(session, numbered(i), strlen(numbered(i)), 0, CBP_ACTION_ASK, 0));
    CHECK(test_statistics(session).supervised == 3000);
    printf("100,000 rules added in %u ms and pushed in %u ms; 3,000 added while active in %u ms\n",
           (unsigned) (added_ms - begin_ms), (unsigned) (started_ms - added_ms),
           (unsigned) (test_now_ms() - empty_ms));
    CHECK_OK(cbp_session_destroy(session));
}

/* As many as a compiled set can have. */
static void test_most_rules(void)
{
    struct cbp_session *session = test_session(on_event, on_error, NULL);
    for (uint32_t i = 0; i < 1u << 20; i++)
        CHECK_OK(cbp_rule_add_name(session, numbered(i), strlen(numbered(i)), 0, CBP_ACTION_ASK, 0));
    CHECK_CODE(CBP_ERROR_NO_SYSTEM_RESOURCES, cbp_rule_add_name(session, "a", 1, 0, CBP_ACTION_ASK, 0));
    CHECK_OK(cbp_rule_add_name(session, "program-7", 9, 1, CBP_ACTION_ASK, 0)); /* replaces one */
    CHECK_OK(cbp_rule_remove_name(session, "program-8", 9, CBP_ACTION_ASK));
    CHECK_OK(cbp_rule_add_name(session, "a", 1, 0, CBP_ACTION_ASK, 0));
    CHECK_OK(cbp_session_start(session, 0));
    CHECK(test_statistics(session).supervised == 1u << 20);
    CHECK_OK(cbp_session_destroy(session));
}

int main(void)
{
    alarm(110);
    test_use_fake_helper();
    snprintf(dump_path, sizeof dump_path, "%s.%d.dump", test_program("test_rules"), getpid());
    test_no_rules();
    test_one_part();
    test_two_parts();
    test_back_to_one_part();
    test_failed_changes(10);
    test_failed_changes(MAIN_MIN + 10);
    test_restart();
    test_launch_rules();
    test_launch_rules_after_a_restart();
    test_many_rules();
    if (!TEST_THREAD_SANITIZER) /* a minute, and one thread */
        test_most_rules();
    test_unanswered_change();
    CHECK(remove(dump_path) == 0);
    return 0;
}
