/* Tests what the driver makes of operations: which process is meant, who created it, and which rights stay. */
#include "scene.h"

/* ---- Rules without handlers ---- */

TEST(a_rule_decides_and_nobody_else_is_told)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_DENY, 5);
    struct cbp_kernel_counts counts;
    scene_begin(&rule, 1);
    CHECK_EQ(create_program(CHILD_PID, PATH_TO(L"good.exe")), STATUS_SUCCESS);
    CHECK(actor_has_nothing(&scene_actor, 0));
    CHECK_EQ((uint32_t) create_program(CHILD_PID + 8, PATH_TO(L"EVIL.exe")), 0xc0000022);
    struct cbp_event_message *message = scene_expect_told(CBP_PROC_EVT_PROCESS_CREATION, CHILD_PID + 8);
    CHECK_EQ(message->item0.flags, CBP_EVENT_FLAG_DECIDED_BY_RULE);
    CHECK_EQ(message->item0.result_code, 5);
    free(message);
    CHECK_EQ(actor_beat(&scene_actor, 0, &counts), 0);
    CHECK_EQ(counts.refused, 1);
    CHECK_EQ(counts.decided, 1);
    CHECK_EQ(counts.lost, 0);
    scene_end();
}

TEST(a_partial_name_counts_as_a_match_where_that_is_stricter)
{
    const struct cbpi_rule rules[] = {rule_by_name(1, "evil.exe", CBP_ACTION_DENY, 5),
                                      rule_by_name(2, "*.exe", CBP_ACTION_IGNORE, 0)};
    struct shim_creation creation = {.process = {CHILD_PID, SHELL_PID, NULL, SHIM_USER},
                                     .creator_pid = SHELL_PID,
                                     .creator_tid = SHELL_TID};
    scene_begin(rules, 2);
    creation.has_no_name = true;
    CHECK_EQ((uint32_t) shim_create_process(&creation), 0xc0000022);
    scene_end();
}

static void check_text(const struct cbp_event_message *message, uint32_t offset, uint32_t size,
                       const char *expected)
{
    CHECK_EQ(size, strlen(expected));
    CHECK(memcmp((const char *) message + offset, expected, size) == 0);
}

TEST(a_partial_name_does_not_look_like_a_path)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_ALLOW, 0);
    struct shim_creation creation = {.process = {CHILD_PID, SHELL_PID, PATH_TO(L"evil.exe"), SHIM_USER},
                                     .creator_pid = SHELL_PID,
                                     .creator_tid = SHELL_TID};
    scene_begin(&rule, 1);
    CHECK_EQ(shim_create_process(&creation), STATUS_SUCCESS);
    struct cbp_event_message *message = scene_expect_told(CBP_PROC_EVT_PROCESS_CREATION, CHILD_PID);
    check_text(message, message->process_name_offset, message->process_name_size, "C:\\tools\\evil.exe");
    check_text(message, message->image_file_name_offset, message->image_file_name_size, "evil.exe");
    free(message);
    scene_end();
}

TEST(an_abbreviated_path_is_the_long_one_to_rules)
{
    const struct cbpi_rule rule = rule_by_name(1, "C:\\Program Files\\*", CBP_ACTION_DENY, 5);
    struct shim_creation creation = {
        .process = {CHILD_PID, SHELL_PID, L"\\Device\\HarddiskVolume2\\PROGRA~1\\a.exe", SHIM_USER},
        .creator_pid = SHELL_PID,
        .creator_tid = SHELL_TID,
        .open_name_is_known = true,
        .file_name = L"\\Program Files\\a.exe"};
    scene_begin(&rule, 1);
    CHECK_EQ((uint32_t) shim_create_process(&creation), 0xc0000022);
    struct cbp_event_message *message = scene_expect_told(CBP_PROC_EVT_PROCESS_CREATION, CHILD_PID);
    check_text(message, message->process_name_offset, message->process_name_size, "C:\\Program Files\\a.exe");
    free(message);
    creation.file_name = L"\\Others\\a.exe";
    CHECK_EQ(shim_create_process(&creation), STATUS_SUCCESS);
    shim_end_process(CHILD_PID, 0);
    creation.file_name = L"\\Program Files\\a.exe";
    uint64_t count = 0;
    for (uint64_t nth = 0, made = 1; made > 0; nth++) {
        shim_fail_at(SHIM_FAULT_ALL, nth, 1); /* counts from 0 again */
        CHECK(!NT_SUCCESS(shim_create_process(&creation)));
        made = shim_faults_made();
        shim_fail_at(0, 0, 0);
        count += made;
    }
    CHECK(count > 10);
    test_count("allocations and calls failed", count);
    scene_end();
}

/* ---- Which process is meant ---- */

static uint64_t process_count(void)
{
    struct cbp_kernel_counts counts;
    CHECK_EQ(actor_beat(&scene_actor, 0, &counts), 0);
    return counts.supervised;
}

TEST(children_inherit_from_the_creator_and_not_from_the_parent)
{
    struct cbpi_rule rule = rule_by_name(1, "cmd.exe", CBP_ACTION_DENY, 5);
    rule.flags = CBP_RULE_FLAG_CHILDREN;
    scene_begin(&rule, 1);
    CHECK_EQ(scene_create_as(CONTROLLER_PID, OTHER_TID, SHELL_PID, CHILD_PID, PATH_TO(L"a.exe")),
             STATUS_SUCCESS);
    CHECK_EQ((uint32_t) scene_create_as(SHELL_PID, SHELL_TID, USER_PID, CHILD_PID + 8, PATH_TO(L"a.exe")),
             0xc0000022);
    struct cbp_event_message *message = scene_expect_told(CBP_PROC_EVT_PROCESS_CREATION, CHILD_PID + 8);
    CHECK_EQ(message->parent_process_id, USER_PID);
    CHECK_EQ(message->originator_process_id, SHELL_PID);
    free(message);
    scene_end();
}

TEST(an_id_that_is_given_out_again_inherits_nothing)
{
    struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_ALLOW, 0);
    rule.flags = CBP_RULE_FLAG_CHILDREN;
    scene_begin(&rule, 1);
    CHECK_EQ(create_program(CHILD_PID, PATH_TO(L"evil.exe")), STATUS_SUCCESS);
    free(scene_expect_told(CBP_PROC_EVT_PROCESS_CREATION, CHILD_PID));
    uint64_t before = process_count();
    shim_process_remove(CHILD_PID, 0); /* the driver is not told of its end */
    CHECK_EQ(create_program(CHILD_PID, PATH_TO(L"good.exe")), STATUS_SUCCESS);
    CHECK_EQ(process_count(), before);
    CHECK_EQ(scene_create_as(CHILD_PID, CHILD_TID, CHILD_PID, GRANDCHILD_PID, PATH_TO(L"child.exe")),
             STATUS_SUCCESS);
    CHECK(actor_has_nothing(&scene_actor, 0));
    scene_end();
}

TEST(a_child_is_protected_with_its_creator_where_the_rule_says_so)
{
    struct cbpi_rule rule = rule_by_name(1, "bank.exe", CBP_ACTION_STRIP, CBP_PROCESS_TERMINATE);
    scene_begin(&rule, 1);
    CHECK_EQ(scene_create_as(VICTIM_PID, VICTIM_TID, SHELL_PID, CHILD_PID, PATH_TO(L"a.exe")),
             STATUS_SUCCESS);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, CHILD_PID, CBP_PROCESS_TERMINATE), CBP_PROCESS_TERMINATE);
    rule.rule_id = 2;
    rule.flags = CBP_RULE_FLAG_CHILDREN;
    CHECK_EQ(actor_rules(&scene_actor, 0, &rule, 1), 0);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, CHILD_PID, CBP_PROCESS_TERMINATE), 0); /* it lives already */
    CHECK_EQ(scene_create_as(VICTIM_PID, VICTIM_TID, SHELL_PID, CHILD_PID + 8, PATH_TO(L"a.exe")),
             STATUS_SUCCESS);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, CHILD_PID + 8, CBP_PROCESS_TERMINATE), 0);
    scene_end();
}

TEST(processes_that_run_already_are_known_with_their_creators)
{
    struct cbpi_rule rule = rule_by_name(1, "bank.exe", CBP_ACTION_STRIP, CBP_PROCESS_TERMINATE);
    rule.flags = CBP_RULE_FLAG_CHILDREN;
    machine_start();
    shim_process_add(&(struct shim_process_plan){CHILD_PID, VICTIM_PID, PATH_TO(L"a.exe"), SHIM_USER});
    shim_process_add(&(struct shim_process_plan){GRANDCHILD_PID, CHILD_PID, PATH_TO(L"b.exe"), SHIM_USER});
    /* This one's parent has ended, and another process has that id. */
    shim_process_add(&(struct shim_process_plan){5200, 5300, PATH_TO(L"c.exe"), SHIM_USER});
    shim_process_add(&(struct shim_process_plan){5300, VICTIM_PID, PATH_TO(L"d.exe"), SHIM_USER});
    shim_process_add(&(struct shim_process_plan){5400, VICTIM_PID, PATH_TO(L"e.exe"), SHIM_USER});
    shim_process_exits(5400, 1); /* it is ending: nobody will tell of its end */
    scene_watch(0, &rule, 1);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, GRANDCHILD_PID, CBP_PROCESS_TERMINATE), 0);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, 5300, CBP_PROCESS_TERMINATE), 0);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, 5200, CBP_PROCESS_TERMINATE), CBP_PROCESS_TERMINATE);
    CHECK_EQ(process_count(), 9); /* with System and the programs of every test */
    scene_end();
}

TEST(a_process_with_another_ones_id_is_found_by_its_start_time)
{
    const struct cbpi_rule rule = rule_by_name(1, "bank.exe", CBP_ACTION_STRIP, CBP_PROCESS_TERMINATE);
    scene_begin(&rule, 1);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, VICTIM_PID, CBP_PROCESS_TERMINATE), 0);
    shim_process_remove(VICTIM_PID, 0);
    shim_process_add(&(struct shim_process_plan){VICTIM_PID, SHELL_PID, PATH_TO(L"good.exe"), SHIM_USER});
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, VICTIM_PID, CBP_PROCESS_TERMINATE), CBP_PROCESS_TERMINATE);
    shim_process_add(&(struct shim_process_plan){CHILD_PID, SHELL_PID, PATH_TO(L"bank.exe"), SHIM_USER});
    CHECK_EQ(scene_open_as(USER_PID, 4004, CHILD_PID, CBP_PROCESS_TERMINATE), 0);
    scene_end();
}

TEST(the_books_keep_no_process_that_has_gone)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_DENY, 5);
    scene_begin(&rule, 1);
    uint64_t before = process_count();
    CHECK(!NT_SUCCESS(create_program(CHILD_PID, PATH_TO(L"evil.exe"))));
    CHECK_EQ(process_count(), before);
    CHECK_EQ(create_program(CHILD_PID, PATH_TO(L"good.exe")), STATUS_SUCCESS);
    CHECK_EQ(process_count(), before + 1);
    shim_end_process(CHILD_PID, 0);
    CHECK_EQ(process_count(), before);
    /* An operation on a process that is ending adds nothing. */
    shim_process_add(&(struct shim_process_plan){CHILD_PID, SHELL_PID, PATH_TO(L"a.exe"), SHIM_USER});
    shim_process_exits(CHILD_PID, 7);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, CHILD_PID, 1), 1);
    CHECK_EQ(process_count(), before);
    scene_end();
}

/* ---- Which rights stay ---- */

TEST(a_creation_gives_its_creator_handles_with_all_rights)
{
    const uint32_t taken = CBP_PROCESS_TERMINATE | CBP_PROCESS_SUSPEND_RESUME | CBP_PROCESS_VM_WRITE;
    const struct cbpi_rule rule = rule_by_name(1, "server.exe", CBP_ACTION_STRIP, taken);
    scene_begin(&rule, 1);
    CHECK_EQ(create_program(CHILD_PID, PATH_TO(L"server.exe")), STATUS_SUCCESS);
    shim_thread_add(CHILD_PID, CHILD_TID);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, CHILD_PID, CBP_PROCESS_TERMINATE), 0);  /* a later opening */
    CHECK_EQ(scene_open_as(USER_PID, 4004, CHILD_PID, ALL_RIGHTS), ALL_RIGHTS & ~taken); /* not the creator */
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, CHILD_PID, ALL_RIGHTS), ALL_RIGHTS);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, CHILD_PID, ALL_RIGHTS), ALL_RIGHTS & ~taken); /* only once */
    CHECK_EQ(scene_open_thread_as(SHELL_PID, SHELL_TID, CHILD_TID, ALL_RIGHTS), ALL_RIGHTS);
    CHECK_EQ(scene_open_thread_as(SHELL_PID, SHELL_TID, CHILD_TID, ALL_RIGHTS), ALL_RIGHTS & ~0x13u);
    struct shim_opening copy = {.is_duplicate = true,
                                .id = CHILD_PID,
                                .access = ALL_RIGHTS,
                                .source_pid = SHELL_PID,
                                .target_pid = USER_PID};
    shim_become(USER_PID, 4004);
    CHECK_EQ(shim_open_object(&copy), ALL_RIGHTS);
    CHECK_EQ(shim_open_object(&copy), ALL_RIGHTS & ~taken);
    scene_end();
}

TEST(a_handle_of_a_creation_may_come_before_it)
{
    const struct cbpi_rule rules[] = {rule_by_name(1, "server.exe", CBP_ACTION_STRIP, CBP_PROCESS_TERMINATE),
                                      rule_by_name(2, "server.exe", CBP_ACTION_DENY, 5)};
    struct shim_creation creation = {.process = {CHILD_PID, SHELL_PID, PATH_TO(L"server.exe"), SHIM_USER},
                                     .open_name_is_known = true,
                                     .is_added = true};
    scene_begin(rules, 1);
    shim_process_add(&creation.process);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, CHILD_PID, ALL_RIGHTS), ALL_RIGHTS);
    CHECK_EQ(shim_create_process(&creation), STATUS_SUCCESS);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, CHILD_PID, ALL_RIGHTS), ALL_RIGHTS & ~1u);
    CHECK_EQ(actor_rules(&scene_actor, 0, rules, 2), 0);
    creation.process.pid = CHILD_PID + 8;
    shim_process_add(&creation.process);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, CHILD_PID + 8, ALL_RIGHTS), ALL_RIGHTS);
    CHECK_EQ((uint32_t) shim_create_process(&creation), 0xc0000022);
    scene_end();
}

TEST(a_guessed_creator_exempts_nobody)
{
    struct cbpi_rule rules[] = {rule_by_name(1, "cmd.exe", CBP_ACTION_ALLOW, 0),
                                rule_for_all(2, CBP_ACTION_ASK, 0)};
    rules[0].flags = CBP_RULE_FLAG_CHILDREN;
    scene_begin(rules, 2);
    shim_process_add(&(struct shim_process_plan){CHILD_PID, SHELL_PID, PATH_TO(L"a.exe"), SHIM_USER});
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, CHILD_PID, 1), 1); /* allowed to the shell */
    struct deed deed = opening_of(CONTROLLER_PID, 1);
    deed.pid = CHILD_PID;
    deed.tid = CHILD_TID;
    deed_start(&deed);
    free(scene_expect_told(CBP_PROC_EVT_PROCESS_HANDLE_OPERATION, CHILD_PID));
    struct cbp_event_message *message =
        actor_expect(&scene_actor, 0, CBP_PROC_EVT_PROCESS_HANDLE_OPERATION, CONTROLLER_PID);
    CHECK_EQ(actor_answer(&scene_actor, message, 0), 0);
    deed_end(&deed);
    free(message);
    scene_end();
}

TEST(rights_without_a_documented_way_stay_and_are_told_to_stay)
{
    const uint32_t asked = CBP_PROCESS_TERMINATE | CBP_PROCESS_VM_READ;
    const struct cbpi_rule rule = rule_by_name(1, "bank.exe", CBP_ACTION_STRIP, asked);
    scene_begin(&rule, 1);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, VICTIM_PID, asked), CBP_PROCESS_VM_READ);
    struct cbp_event_message *message = scene_expect_told(CBP_PROC_EVT_PROCESS_HANDLE_OPERATION, VICTIM_PID);
    CHECK_EQ(message->original_desired_access, asked);
    CHECK_EQ(message->item0.desired_access, CBP_PROCESS_VM_READ);
    free(message);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, VICTIM_PID, CBP_PROCESS_VM_READ), CBP_PROCESS_VM_READ);
    message = scene_expect_told(CBP_PROC_EVT_PROCESS_HANDLE_OPERATION, VICTIM_PID);
    CHECK_EQ(message->item0.desired_access, CBP_PROCESS_VM_READ);
    free(message);
    scene_end();
}

TEST(a_protected_process_keeps_its_rights_to_what_it_creates)
{
    const struct cbpi_rule rule = rule_by_name(1, "bank.exe", CBP_ACTION_STRIP, CBP_PROCESS_TERMINATE);
    scene_begin(&rule, 1);
    CHECK_EQ(scene_create_as(VICTIM_PID, VICTIM_TID, VICTIM_PID, CHILD_PID, PATH_TO(L"bank.exe")),
             STATUS_SUCCESS);
    CHECK_EQ(scene_open_as(VICTIM_PID, VICTIM_TID, CHILD_PID, CBP_PROCESS_TERMINATE), CBP_PROCESS_TERMINATE);
    CHECK_EQ(scene_open_as(CHILD_PID, CHILD_TID, VICTIM_PID, CBP_PROCESS_TERMINATE), 0);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, CHILD_PID, CBP_PROCESS_TERMINATE), 0);
    scene_end();
}

TEST(rights_that_one_session_takes_leave_others_for_the_next_one_to_decide)
{
    const struct cbpi_rule strip = rule_by_name(1, "bank.exe", CBP_ACTION_STRIP, CBP_PROCESS_TERMINATE);
    const struct cbpi_rule ask = rule_by_name(1, "bank.exe", CBP_ACTION_ASK, 0);
    const uint32_t asked = CBP_PROCESS_TERMINATE | CBP_PROCESS_VM_WRITE | CBP_PROCESS_SUSPEND_RESUME;
    scene_begin(&strip, 1);
    actor_session(&scene_actor, 1, EVENTS_ALL, 0, 0);
    CHECK_EQ(actor_rules(&scene_actor, 1, &ask, 1), 0);
    struct deed deed = opening_of(VICTIM_PID, asked);
    deed_start(&deed);
    struct cbp_event_message *message =
        actor_expect(&scene_actor, 1, CBP_PROC_EVT_PROCESS_HANDLE_OPERATION, VICTIM_PID);
    CHECK(message->item0.flags & CBP_EVENT_FLAG_HELD);
    CHECK_EQ(actor_answer_access(&scene_actor, message, asked & ~(uint32_t) CBP_PROCESS_VM_WRITE), 0);
    deed_end(&deed);
    CHECK_EQ(deed.access_left, CBP_PROCESS_SUSPEND_RESUME);
    free(message);
    scene_end();
}

TEST(nobody_comes_between_a_process_and_itself_or_the_kernel)
{
    const struct cbpi_rule rules[] = {rule_for_all(1, CBP_ACTION_ASK, 0),
                                      rule_for_all(2, CBP_ACTION_STRIP, ALL_RIGHTS)};
    struct shim_opening opening = {.id = VICTIM_PID, .access = 1, .is_kernel = true};
    scene_begin(rules, 2);
    CHECK_EQ(shim_open_object(&opening), 1);
    CHECK_EQ(scene_open_as(VICTIM_PID, VICTIM_TID, VICTIM_PID, 1), 1);
    CHECK_EQ(scene_open_as(4, 8, VICTIM_PID, 1), 1);
    CHECK(actor_has_nothing(&scene_actor, 0));
    scene_end();
}

/* ---- Without memory ---- */

/* Whatever allocation or call fails, a process that a rule denies does not run, and a right that a rule takes is
 * not given. */
TEST(rules_hold_whatever_fails)
{
    const struct cbpi_rule rules[] = {
        rule_by_name(1, "evil.exe", CBP_ACTION_DENY, 5),
        rule_by_name(2, "bank.exe", CBP_ACTION_STRIP, CBP_PROCESS_TERMINATE | CBP_PROCESS_VM_READ)};
    uint64_t made = 0;
    for (uint64_t nth = 0;; nth++) {
        scene_begin(rules, 2);
        shim_become(SHELL_PID, SHELL_TID);
        shim_fail_at(SHIM_FAULT_ALL, nth, 1);
        NTSTATUS status = create_program(CHILD_PID, PATH_TO(L"evil.exe"));
        uint32_t access = scene_open_as(SHELL_PID, SHELL_TID, VICTIM_PID, CBP_PROCESS_TERMINATE);
        shim_process_add(&(struct shim_process_plan){5300, SHELL_PID, PATH_TO(L"bank.exe"), SHIM_USER});
        uint32_t new_access =
            scene_open_as(SHELL_PID, SHELL_TID, 5300, CBP_PROCESS_TERMINATE | CBP_PROCESS_VM_READ);
        uint64_t faults = shim_faults_made();
        shim_fail_at(0, 0, 0);
        CHECK(!NT_SUCCESS(status));
        CHECK_EQ(access, 0);
        CHECK_EQ(new_access, CBP_PROCESS_VM_READ); /* which may not be taken, whatever fails */
        scene_end();
        made += faults;
        if (faults == 0)
            break;
    }
    CHECK(made > 10);
    test_count("allocations and calls failed", made);
}
