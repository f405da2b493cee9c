/* Tests which sessions hear of an operation: own requests, launches, and what workers do. */
#include "scene.h"

TEST(own_requests_are_not_told_and_rules_hold_for_them)
{
    const struct cbpi_rule rules[] = {rule_for_all(1, CBP_ACTION_ASK, 0),
                                      rule_by_name(2, "evil.exe", CBP_ACTION_DENY, 5)};
    scene_begin(rules, 2);
    CHECK_EQ(scene_create_as(CONTROLLER_PID, OTHER_TID, CONTROLLER_PID, CHILD_PID, PATH_TO(L"a.exe")),
             STATUS_SUCCESS);
    shim_create_thread(CHILD_PID, CHILD_TID);
    CHECK_EQ((uint32_t) scene_create_as(CONTROLLER_PID, OTHER_TID, CONTROLLER_PID, CHILD_PID + 8,
                                        PATH_TO(L"evil.exe")),
             0xc0000022);
    CHECK_EQ(scene_open_as(CONTROLLER_PID, OTHER_TID, VICTIM_PID, 1), 1);
    CHECK(actor_has_nothing(&scene_actor, 0));
    scene_end();
}

TEST(own_requests_are_told_on_demand_and_never_held)
{
    const struct cbpi_rule rule = rule_for_all(1, CBP_ACTION_ASK, 0);
    scene_begin_with(CBP_SESSION_FLAG_OWN_REQUESTS, &rule, 1);
    CHECK_EQ(scene_create_as(CONTROLLER_PID, OTHER_TID, CONTROLLER_PID, CHILD_PID, PATH_TO(L"a.exe")),
             STATUS_SUCCESS);
    CHECK_EQ(scene_open_as(CONTROLLER_PID, OTHER_TID, VICTIM_PID, 1), 1);
    free(scene_expect_told(CBP_PROC_EVT_PROCESS_CREATION, CHILD_PID));
    free(scene_expect_told(CBP_PROC_EVT_PROCESS_HANDLE_OPERATION, VICTIM_PID));
    CHECK(actor_has_nothing(&scene_actor, 0));
    scene_end();
}

TEST(another_controllers_requests_are_no_own_ones)
{
    struct actor other;
    const struct cbpi_rule allow = rule_for_all(1, CBP_ACTION_ALLOW, 0);
    scene_begin(&allow, 1);
    shim_process_add(&(struct shim_process_plan){1200, 4, PATH_TO(L"other.exe"), SHIM_ADMINISTRATOR});
    actor_open(&other, 1200, 1204);
    CHECK_EQ(scene_create_as(1200, 1208, 1200, CHILD_PID, PATH_TO(L"a.exe")), STATUS_SUCCESS);
    free(scene_expect_told(CBP_PROC_EVT_PROCESS_CREATION, CHILD_PID));
    actor_close(&other);
    scene_end();
}

TEST(a_launch_is_asked_about_with_its_first_thread_and_its_children)
{
    scene_begin(NULL, 0);
    CHECK_EQ(actor_launch(&scene_actor, 0, 7, OTHER_TID), 0);
    struct deed deed = creation_of(CHILD_PID, PATH_TO(L"a.exe"), NULL);
    deed.pid = CONTROLLER_PID;
    deed.tid = OTHER_TID;
    deed_start(&deed);
    struct cbp_event_message *message =
        actor_expect(&scene_actor, 0, CBP_PROC_EVT_PROCESS_CREATION, CHILD_PID);
    CHECK(message->item0.flags & CBP_EVENT_FLAG_HELD);
    CHECK_EQ(actor_answer(&scene_actor, message, 0), 0);
    free(message);
    deed_end(&deed);
    struct deed thread = {.kind = CREATE_THREAD,
                          .pid = CONTROLLER_PID,
                          .tid = OTHER_TID,
                          .subject_pid = CHILD_PID,
                          .subject_tid = CHILD_TID};
    deed_start(&thread);
    message = actor_expect(&scene_actor, 0, CBP_PROC_EVT_THREAD_CREATION, CHILD_PID);
    CHECK_EQ(message->thread_id, CHILD_TID);
    CHECK_EQ(actor_answer(&scene_actor, message, 0), 0);
    free(message);
    deed_end(&thread);
    struct deed child = creation_of(GRANDCHILD_PID, PATH_TO(L"b.exe"), NULL);
    child.pid = CHILD_PID;
    child.tid = CHILD_TID;
    deed_start(&child);
    message = actor_expect(&scene_actor, 0, CBP_PROC_EVT_PROCESS_CREATION, GRANDCHILD_PID);
    CHECK_EQ(actor_answer(&scene_actor, message, 2), 0);
    free(message);
    deed_end(&child);
    CHECK_EQ((uint32_t) child.status, 0xc0070002);
    scene_end();
}

TEST(what_workers_do_and_start_is_not_told_and_rules_hold_for_it)
{
    const struct cbpi_rule rules[] = {rule_for_all(1, CBP_ACTION_ASK, 0),
                                      rule_by_name(2, "evil.exe", CBP_ACTION_DENY, 5)};
    scene_begin_with(CBP_SESSION_FLAG_OWN_REQUESTS, rules, 2);
    struct actor worker = scene_actor;
    worker.tid = OTHER_TID;
    CHECK_EQ(actor_worker(&worker, 0, true), 0);
    CHECK_EQ(scene_open_as(CONTROLLER_PID, OTHER_TID, VICTIM_PID, 1), 1);
    CHECK_EQ(scene_create_as(CONTROLLER_PID, OTHER_TID, CONTROLLER_PID, CHILD_PID, PATH_TO(L"a.exe")),
             STATUS_SUCCESS);
    shim_create_thread(CHILD_PID, CHILD_TID);
    CHECK_EQ(scene_create_as(CHILD_PID, CHILD_TID, CHILD_PID, GRANDCHILD_PID, PATH_TO(L"b.exe")),
             STATUS_SUCCESS);
    CHECK_EQ(scene_open_as(GRANDCHILD_PID, 5104, VICTIM_PID, 1), 1);
    CHECK_EQ(scene_open_as(SHELL_PID, SHELL_TID, CHILD_PID, 1), 1); /* nor what others do to it */
    CHECK_EQ((uint32_t) scene_create_as(CHILD_PID, CHILD_TID, CHILD_PID, 5200, PATH_TO(L"evil.exe")),
             0xc0000022);
    shim_become(GRANDCHILD_PID, 5104);
    shim_end_process(GRANDCHILD_PID, 0);
    CHECK(actor_has_nothing(&scene_actor, 0));
    scene_end();
}
