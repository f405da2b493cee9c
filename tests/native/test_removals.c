/* What the driver gets when rules go, one by one and many at once, and what stays of a process's rules when
 * its number is used again. */
#include "rule_changes.h"

/* A rule is its process's: another that gets the number leaves what descendants of the first have. */
static void test_numbers_that_are_used_again(void)
{
    struct cbp_session *session = dumping_session();
    uint32_t child = (uint32_t) start_child();
    CHECK_OK(cbp_session_start(session, 0));
    all_in_main();
    CHECK_OK(cbp_rule_add_process(session, child, CBP_RULE_FLAG_CHILDREN, CBP_ACTION_ASK, 0));
    model_add(launch_line(child));
    say_about_later(session, child, 1);
    all_in_main();
    launch(session);
    CHECK_DRIVER();
    say_about_later(session, child, 2); /* the driver keeps a launch's rule for its descendants by itself */
    all_in_main();
    launch(session);
    CHECK_DRIVER();
    CHECK_OK(cbp_rule_remove_process(session, child, CBP_ACTION_ASK)); /* the last one's first */
    model.launch_count--;
    CHECK_DRIVER();
    CHECK_OK(cbp_rule_remove_process(session, child, CBP_ACTION_ASK));
    model_remove(launch_line(child));
    CHECK_DRIVER();
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_rule_remove_process(session, child, CBP_ACTION_ASK));

    CHECK_OK(cbp_rule_add_process(session, child, 0, CBP_ACTION_ASK, 0)); /* nobody descends from this */
    model_add(line_of(CBP_RULE_MATCH_PROCESS, 0, CBP_ACTION_ASK, 0, child, ""));
    all_in_main();
    CHECK_DRIVER();
    launch(session);
    model_remove(line_of(CBP_RULE_MATCH_PROCESS, 0, CBP_ACTION_ASK, 0, child, ""));
    CHECK_DRIVER();
    CHECK_OK(cbp_session_destroy(session));
    end_child((pid_t) child);
}

/* ---- Removals ---- */

/* One that is taken out of many costs what one costs that is added. */
static void test_price_of_a_removal(void)
{
    enum { CHANGES = 120 };
    struct cbp_session *session = dumping_session();
    add_numbered(session, 0, MAIN_MIN + 600);
    CHECK_OK(cbp_session_start(session, 0));
    all_in_main();
    CHECK_DRIVER();
    unsigned long long bytes = sent.bytes, added_bytes;
    unsigned set_count = sent.set_count;
    add_numbered(session, 3000, CHANGES);
    CHECK_DRIVER();
    added_bytes = sent.bytes - bytes;
    bytes = sent.bytes;
    CHECK(sent.set_count - set_count == CHANGES);
    for (uint32_t i = 0; i < CHANGES; i++)
        remove_name(session, numbered(3000 + i), 0);
    for (uint32_t i = 0; i < CHANGES; i++)
        remove_name(session, numbered(2 * i), 0); /* of the main part */
    CHECK_DRIVER();
    CHECK(sent.set_count - set_count == 3 * CHANGES && sent.bytes - bytes <= 2 * added_bytes);
    CHECK_OK(cbp_rule_add_name(session, "last", 4, 0, CBP_ACTION_ASK, 0));
    model_add(line_of(CBP_RULE_MATCH_NAME, 0, CBP_ACTION_ASK, 0, 0, "last"));
    CHECK_DRIVER();
    CHECK_OK(cbp_session_destroy(session));
}

static void test_many_removals_at_once(void)
{
    enum { CHANGES = 600 };
    static char texts[CHANGES + 1][32];
    const char *patterns[CHANGES + 1];
    uint64_t sizes[CHANGES + 1];
    struct cbp_session *session = dumping_session();
    uint32_t children[2] = {(uint32_t) start_child(), (uint32_t) start_child()};
    add_numbered(session, 0, MAIN_MIN + 800);
    CHECK_OK(cbp_session_start(session, 0));
    all_in_main();
    say_about(session, children[0]);
    launch(session);
    CHECK_OK(cbp_rule_add_process(session, children[1], 0, CBP_ACTION_ASK, 0));
    model_add(line_of(CBP_RULE_MATCH_PROCESS, 0, CBP_ACTION_ASK, 0, children[1], ""));
    CHECK_DRIVER();
    unsigned set_count = sent.set_count;
    for (uint32_t i = 0; i <= CHANGES; i++) {
        strcpy(texts[i], numbered(i < CHANGES ? 2 * i : 9999));
        patterns[i] = texts[i];
        sizes[i] = strlen(texts[i]);
    }
    CHECK_CODE(CBP_ERROR_NOT_FOUND,
               cbp_rules_remove(session, CBP_ACTION_ASK, patterns, sizes, CHANGES + 1, children, 2));
    CHECK_CODE(CBP_ERROR_NOT_FOUND,
               cbp_rules_remove(session, CBP_ACTION_DENY, patterns, sizes, CHANGES, children, 2));
    patterns[CHANGES] = ""; /* no pattern at all */
    sizes[CHANGES] = 0;
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER,
               cbp_rules_remove(session, CBP_ACTION_ASK, patterns, sizes, CHANGES + 1, children, 2));
    CHECK_DRIVER();
    CHECK(sent.set_count == set_count);
    patterns[CHANGES] = patterns[0]; /* twice */
    sizes[CHANGES] = sizes[0];
    CHECK_OK(cbp_rules_remove(session, CBP_ACTION_ASK, patterns, sizes, CHANGES + 1, children, 2));
    for (uint32_t i = 0; i < CHANGES; i++)
        model_remove(line_of(CBP_RULE_MATCH_NAME, 0, CBP_ACTION_ASK, 0, 0, numbered(2 * i)));
    model_remove(line_of(CBP_RULE_MATCH_PROCESS, 0, CBP_ACTION_ASK, 0, children[1], ""));
    model.launch_count--;
    all_in_main();
    CHECK_DRIVER();
    CHECK(sent.set_count == set_count + 1);
    CHECK_OK(cbp_rules_remove(session, CBP_ACTION_ASK, NULL, NULL, 0, NULL, 0));
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_rule_remove_process(session, children[0], CBP_ACTION_ASK));
    remove_name(session, numbered(1), 0);
    all_in_main();
    CHECK_DRIVER();
    CHECK_OK(cbp_session_destroy(session));
    end_child((pid_t) children[0]);
    end_child((pid_t) children[1]);
}

int main(void)
{
    alarm(110);
    test_use_fake_helper();
    snprintf(dump_path, sizeof dump_path, "%s.%d.dump", test_program("test_removals"), getpid());
    test_numbers_that_are_used_again();
    test_price_of_a_removal();
    test_many_removals_at_once();
    CHECK(remove(dump_path) == 0);
    return 0;
}
