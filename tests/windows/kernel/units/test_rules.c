/* Tests rules: a block that lies is refused, and what rules decide reaches no handler. */
#include "actor.h"
#include "test.h"

#define EVENTS_ALL 0x3fu
#define PROGRAM L"\\Device\\HarddiskVolume2\\tools\\evil.exe"
#define OTHER L"\\Device\\HarddiskVolume2\\tools\\good.exe"

static struct actor actor;

static void begin(uint32_t events, const struct cbpi_rule *rules, uint32_t count)
{
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    actor_session(&actor, 0, events, 0, CBP_TIMEOUT_ACTION_ALLOW);
    CHECK_EQ(actor_rules(&actor, 0, rules, count), 0);
}

static void end(void)
{
    actor_close(&actor);
    machine_stop();
}

/* ---- Blocks ---- */

TEST(a_block_that_lies_in_one_bit_is_refused_or_harmless)
{
    const struct cbpi_rule rules[] = {
        rule_by_name(1, "evil.exe", CBP_ACTION_DENY, 5), rule_by_name(2, "*\\tools\\*", CBP_ACTION_ASK, 0),
        rule_by_name(3, "a?c*", CBP_ACTION_ALLOW, 0),
        rule_for_process(4, VICTIM_PID, CBP_ACTION_STRIP, 0x801), rule_for_all(5, CBP_ACTION_ASK, 0)};
    struct cbp_ruleset *block;
    size_t size;
    uint64_t refused_count = 0, accepted_count = 0;
    begin(0, rules, 1);
    CHECK_EQ(cbpi_ruleset_build(CBP_COMPARE_UTF16, rules, ARRAYSIZE(rules), &block, &size), 0);
    struct cbp_rules request = {.header = {.size = sizeof request, .type = CBP_MESSAGE_RULES},
                                .block_size = size};
    CHECK_EQ(actor_block(&actor, &request, block, size, NULL), 0);
    for (size_t bit = 0; bit < size * 8; bit++) {
        ((unsigned char *) block)[bit / 8] ^= (unsigned char) (1u << bit % 8);
        uint32_t error = actor_block(&actor, &request, block, size, NULL);
        ((unsigned char *) block)[bit / 8] ^= (unsigned char) (1u << bit % 8);
        CHECK(error == 0 || error == CBP_ERROR_INVALID_DATA);
        refused_count += error != 0;
        accepted_count += error == 0;
        if (error == 0)
            (void) create_program(5000, PROGRAM);
        if (shim_process_runs(5000))
            shim_end_process(5000, 0);
    }
    CHECK(refused_count > accepted_count); /* a rule's id, value or action is nobody's lie */
    test_count("rule blocks with one wrong bit", size * 8);
    free(block);
    end();
}

TEST(a_block_of_any_other_size_is_refused)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_DENY, 5);
    struct cbp_ruleset *block;
    size_t size;
    NTSTATUS status;
    begin(0, &rule, 1);
    CHECK_EQ(cbpi_ruleset_build(CBP_COMPARE_UTF16, &rule, 1, &block, &size), 0);
    struct cbp_rules request = {.header = {.size = sizeof request, .type = CBP_MESSAGE_RULES}};
    for (size_t cut = 0; cut < size; cut++) {
        request.block_size = cut;
        CHECK_EQ(actor_block(&actor, &request, block, cut, NULL), CBP_ERROR_INVALID_DATA);
        request.block_size = size; /* more than there is */
        actor_block(&actor, &request, block, cut, &status);
        CHECK_EQ(status, STATUS_INVALID_PARAMETER);
    }
    request.block_size = UINT64_MAX - 10;
    actor_block(&actor, &request, block, size, &status);
    CHECK_EQ(status, STATUS_INVALID_PARAMETER);
    request.block_size = size - 1; /* less than there is */
    actor_block(&actor, &request, block, size, &status);
    CHECK_EQ(status, STATUS_INVALID_PARAMETER);
    request.block_size = size;
    request.section_handle = 1;
    actor_block(&actor, &request, block, size, &status);
    CHECK_EQ(status, STATUS_INVALID_PARAMETER);
    free(block);
    CHECK_EQ((uint32_t) create_program(5000, PROGRAM), 0xc0000022); /* the rules from before hold */
    end();
}

TEST(a_block_for_names_of_another_system_is_refused)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_DENY, 5);
    struct cbp_ruleset *block;
    size_t size;
    begin(0, &rule, 1);
    CHECK_EQ(cbpi_ruleset_build(CBP_COMPARE_BYTES, &rule, 1, &block, &size), 0);
    struct cbp_rules request = {.header = {.size = sizeof request, .type = CBP_MESSAGE_RULES},
                                .block_size = size};
    CHECK_EQ(actor_block(&actor, &request, block, size, NULL), CBP_ERROR_INVALID_DATA);
    free(block);
    end();
}

/* ---- Decisions ---- */

TEST(a_rule_denies_without_a_handler)
{
    const struct cbpi_rule rule = rule_by_name(1, "EVIL.exe", CBP_ACTION_DENY, 5);
    struct cbp_kernel_counts counts;
    begin(0, &rule, 1); /* the session hears of nothing, and nothing is pended */
    CHECK_EQ((uint32_t) create_program(5000, PROGRAM), 0xc0000022);
    CHECK_EQ(create_program(5004, OTHER), STATUS_SUCCESS);
    CHECK_EQ(actor_beat(&actor, 0, &counts), 0);
    CHECK_EQ(counts.refused, 1);
    CHECK_EQ(counts.decided, 1);
    CHECK_EQ(counts.backlog, 0);
    CHECK_EQ(counts.lost, 0);
    end();
}

TEST(a_decision_is_told_afterwards)
{
    const struct cbpi_rule rules[] = {rule_by_name(1, "evil.exe", CBP_ACTION_DENY, 1234),
                                      rule_by_name(2, "good.exe", CBP_ACTION_ALLOW, 0)};
    begin(CBP_PROC_EVT_PROCESS_CREATION, rules, 2);
    CHECK_EQ((uint32_t) create_program(5000, PROGRAM), 0xc0070000 | 1234);
    CHECK_EQ(create_program(5004, OTHER), STATUS_SUCCESS);
    struct cbp_event_message *message = actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, 5000);
    CHECK_EQ(message->item0.flags & (CBP_EVENT_FLAG_DECIDED_BY_RULE | CBP_EVENT_FLAG_HELD),
             CBP_EVENT_FLAG_DECIDED_BY_RULE);
    CHECK_EQ(message->item0.result_code, 1234);
    CHECK_EQ(actor_answer(&actor, message, 0), CBP_ERROR_NOT_FOUND); /* nothing waits for it */
    free(message);
    message = actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, 5004);
    CHECK_EQ(message->item0.result_code, 0);
    free(message);
    CHECK(actor_has_nothing(&actor, 0));
    end();
}

TEST(a_stripped_process_loses_rights_to_nobody_but_strangers)
{
    const struct cbpi_rule rule = rule_by_name(1, "bank.exe", CBP_ACTION_STRIP, 0x0801);
    begin(0, &rule, 1);
    struct shim_opening opening = {.id = VICTIM_PID, .access = 0x1fffff};
    shim_become(USER_PID, USER_PID + 4);
    CHECK_EQ(shim_open_object(&opening), 0x1fffffu & ~0x0801u);
    struct shim_opening thread = {.is_thread = true, .id = VICTIM_TID, .access = 0x1fffff};
    CHECK((shim_open_object(&thread) & 1) == 0); /* nor may its threads be ended */
    shim_become(VICTIM_PID, VICTIM_TID);
    CHECK_EQ(shim_open_object(&opening), 0x1fffff);
    shim_become(USER_PID, USER_PID + 4);
    opening.is_kernel = true;
    CHECK_EQ(shim_open_object(&opening), 0x1fffff);
    shim_become(4, 8);
    opening.is_kernel = false;
    CHECK_EQ(shim_open_object(&opening), 0x1fffff);
    end();
}

static NTSTATUS create_by(uint32_t pid, uint32_t child)
{
    struct shim_creation creation = {.process = {child, pid, OTHER, SHIM_USER}, .open_name_is_known = true};
    shim_become(pid, pid + 4);
    return shim_create_process(&creation);
}

TEST(rules_reach_descendants_however_deep)
{
    struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_DENY, 5);
    begin(0, &rule, 0);
    CHECK_EQ(create_program(5000, PROGRAM), STATUS_SUCCESS);
    CHECK_EQ(create_by(5000, 5100), STATUS_SUCCESS);
    CHECK_EQ(create_by(5100, 5200), STATUS_SUCCESS);
    CHECK_EQ(actor_rules(&actor, 0, &rule, 1), 0);
    CHECK_EQ(create_by(5200, 5300), STATUS_SUCCESS);
    rule.rule_id = 2;
    rule.flags = CBP_RULE_FLAG_CHILDREN;
    CHECK_EQ(actor_rules(&actor, 0, &rule, 1), 0);
    CHECK_EQ((uint32_t) create_by(5200, 5304), 0xc0000022);
    CHECK_EQ((uint32_t) create_by(5300, 5308), 0xc0000022);
    shim_end_process(5100, 0);
    shim_end_process(5000, 0);
    CHECK_EQ((uint32_t) create_by(5300, 5308), 0xc0000022);
    end();
}

TEST(a_process_without_a_known_name_meets_rules_that_forbid)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_DENY, 5);
    begin(0, &rule, 1);
    struct shim_creation creation = {.process = {5000, SHELL_PID, NULL, SHIM_USER}, .has_no_name = true};
    shim_become(SHELL_PID, SHELL_TID);
    CHECK_EQ((uint32_t) shim_create_process(&creation), 0xc0000022);
    end();
}

TEST(a_rest_takes_away_one_rule_of_the_main_part)
{
    const struct cbpi_rule rules[] = {rule_by_name(1, "evil.exe", CBP_ACTION_DENY, 5),
                                      rule_by_name(2, "good.exe", CBP_ACTION_DENY, 5)};
    const struct cbpi_rule newer = rule_by_name(3, "new.exe", CBP_ACTION_DENY, 5);
    struct cbp_ruleset *block;
    size_t size;
    begin(0, rules, 2);
    CHECK_EQ(cbpi_ruleset_build(CBP_COMPARE_UTF16, &newer, 1, &block, &size), 0);
    struct cbp_rules request = {.header = {.size = sizeof request, .type = CBP_MESSAGE_RULES},
                                .part = CBP_RULES_PART_REST,
                                .gone_rule_id = 1,
                                .block_size = size};
    CHECK_EQ(actor_block(&actor, &request, block, size, NULL), 0);
    CHECK_EQ(create_program(5000, PROGRAM), STATUS_SUCCESS);
    CHECK_EQ((uint32_t) create_program(5004, OTHER), 0xc0000022);
    CHECK_EQ((uint32_t) create_program(5008, L"\\Device\\HarddiskVolume2\\new.exe"), 0xc0000022);
    free(block);
    end();
}

TEST(the_refusal_of_the_highest_session_counts)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_ASK, 0);
    begin(CBP_PROC_EVT_PROCESS_CREATION, &rule, 1);
    struct cbp_session_settings settings = {
        .session_id = 1, .events = CBP_PROC_EVT_PROCESS_CREATION, .altitude = 400000};
    CHECK_EQ(actor_settings(&actor, &settings), 0);
    CHECK_EQ(actor_altitude(&actor, 1, "385201.5", false), 0);
    CHECK_EQ(actor_rules(&actor, 1, &rule, 1), 0);
    struct deed deed = creation_of(5000, PROGRAM, NULL);
    deed_start(&deed);
    struct cbp_event_message *low = actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, 5000);
    struct cbp_event_message *high = actor_expect(&actor, 1, CBP_PROC_EVT_PROCESS_CREATION, 5000);
    CHECK_EQ(actor_answer(&actor, low, 111), 0);
    CHECK(!deed_is_done(&deed));
    CHECK_EQ(actor_answer(&actor, high, 222), 0);
    deed_end(&deed);
    CHECK_EQ((uint32_t) deed.status, 0xc0070000 | 222);
    free(low);
    free(high);
    end();
}
