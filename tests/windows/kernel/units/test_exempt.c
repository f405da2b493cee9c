/* Tests what fires nothing: kernel handles, the system, the controller's own requests, its workers and all that
 * they start. */
#include "actor.h"
#include "test.h"

#define EVENTS_ALL 0x3fu
#define PROGRAM L"\\Device\\HarddiskVolume2\\tools\\evil.exe"
enum { WORKER_TID = 1200 };

static struct actor actor;

static void begin(uint32_t flags)
{
    const struct cbpi_rule rule = rule_for_all(1, CBP_ACTION_ASK, 0);
    struct cbp_session_settings settings = {.events = EVENTS_ALL, .flags = flags, .altitude = 1};
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    CHECK_EQ(actor_settings(&actor, &settings), 0);
    CHECK_EQ(actor_altitude(&actor, 0, "385201.5", false), 0);
    CHECK_EQ(actor_rules(&actor, 0, &rule, 1), 0);
}

static void end(void)
{
    actor_close(&actor);
    machine_stop();
}

static NTSTATUS create_as(uint32_t pid, uint32_t tid, uint32_t child)
{
    struct shim_creation creation = {.process = {child, pid, PROGRAM, SHIM_USER}, .open_name_is_known = true};
    shim_become(pid, tid);
    return shim_create_process(&creation);
}

TEST(the_system_and_kernel_handles_fire_nothing)
{
    begin(0);
    struct shim_opening opening = {.id = VICTIM_PID, .access = 0x1fffff, .is_kernel = true};
    shim_become(SHELL_PID, SHELL_TID);
    CHECK_EQ(shim_open_object(&opening), 0x1fffff);
    opening.is_kernel = false;
    shim_become(4, 8);
    CHECK_EQ(shim_open_object(&opening), 0x1fffff);
    opening.is_thread = true;
    opening.id = VICTIM_TID;
    CHECK_EQ(shim_open_object(&opening), 0x1fffff);
    shim_create_thread(4, 16);
    shim_end_thread(4, 16);
    shim_create_thread(VICTIM_PID, 3200); /* by the system */
    CHECK(actor_has_nothing(&actor, 0));
    end();
}

TEST(a_process_may_do_to_itself_what_it_likes)
{
    begin(0);
    struct shim_opening opening = {.id = VICTIM_PID, .access = 0x1fffff};
    shim_become(VICTIM_PID, VICTIM_TID);
    CHECK_EQ(shim_open_object(&opening), 0x1fffff);
    CHECK(actor_has_nothing(&actor, 0));
    end();
}

TEST(own_requests_are_told_on_demand_and_never_held)
{
    for (uint32_t wants = 0; wants < 2; wants++) {
        struct shim_opening opening = {.id = VICTIM_PID, .access = 0x1fffff};
        begin(wants ? CBP_SESSION_FLAG_OWN_REQUESTS : 0);
        shim_become(CONTROLLER_PID, CONTROLLER_TID + 8);
        CHECK_EQ(shim_open_object(&opening), 0x1fffff);
        CHECK_EQ(create_as(CONTROLLER_PID, CONTROLLER_TID + 8, 5000), STATUS_SUCCESS);
        if (wants) {
            struct cbp_event_message *message =
                actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_HANDLE_OPERATION, VICTIM_PID);
            CHECK_EQ(message->item0.flags & CBP_EVENT_FLAG_HELD, 0);
            free(message);
            free(actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, 5000));
        }
        CHECK(actor_has_nothing(&actor, 0));
        end();
    }
}

static void check_silent_tree(uint32_t pid, uint32_t tid)
{
    struct shim_opening opening = {.id = VICTIM_PID, .access = 0x1fffff};
    shim_become(pid, tid);
    CHECK_EQ(shim_open_object(&opening), 0x1fffff);
    CHECK_EQ(create_as(pid, tid, 6000), STATUS_SUCCESS);
    shim_create_thread(6000, 6004); /* by the worker: the first thread */
    CHECK_EQ(create_as(6000, 6004, 6100), STATUS_SUCCESS);
    shim_create_thread(6100, 6104);
    CHECK_EQ(create_as(6100, 6104, 6200), STATUS_SUCCESS);
    shim_become(6200, 6204);
    CHECK_EQ(shim_open_object(&opening), 0x1fffff);
    shim_become(6200, 6204);
    shim_end_process(6200, 0);
    shim_become(6100, 6104);
    shim_end_thread(6100, 6104);
    shim_end_process(6100, 0);
    shim_become(6000, 6004);
    shim_end_process(6000, 0);
    shim_thread_remove(6004);
}

TEST(workers_and_all_that_they_start_fire_nothing)
{
    begin(CBP_SESSION_FLAG_OWN_REQUESTS);
    actor.tid = WORKER_TID;
    CHECK_EQ(actor_worker(&actor, 0, true), 0);
    check_silent_tree(CONTROLLER_PID, WORKER_TID);
    CHECK(actor_has_nothing(&actor, 0));
    CHECK_EQ(actor_worker(&actor, 0, false), 0);
    shim_become(CONTROLLER_PID, WORKER_TID);
    CHECK_EQ(create_as(CONTROLLER_PID, WORKER_TID, 6300), STATUS_SUCCESS); /* no worker any more */
    free(actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, 6300));
    end();
}

TEST(the_id_of_a_worker_that_has_ended_is_nobody)
{
    begin(CBP_SESSION_FLAG_OWN_REQUESTS);
    shim_thread_add(CONTROLLER_PID, WORKER_TID);
    actor.tid = WORKER_TID;
    CHECK_EQ(actor_worker(&actor, 0, true), 0);
    shim_become(CONTROLLER_PID, WORKER_TID);
    shim_end_thread(CONTROLLER_PID, WORKER_TID);
    CHECK(actor_has_nothing(&actor, 0));
    CHECK_EQ(create_as(CONTROLLER_PID, WORKER_TID, 6300), STATUS_SUCCESS);
    free(actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, 6300));
    end();
}

TEST(rules_hold_for_workers_too)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_DENY, 5);
    begin(0);
    CHECK_EQ(actor_rules(&actor, 0, &rule, 1), 0);
    actor.tid = WORKER_TID;
    CHECK_EQ(actor_worker(&actor, 0, true), 0);
    CHECK_EQ((uint32_t) create_as(CONTROLLER_PID, WORKER_TID, 5000), 0xc0000022);
    CHECK(actor_has_nothing(&actor, 0));
    end();
}

TEST(a_launch_is_asked_about)
{
    struct cbp_session_settings settings = {.events = EVENTS_ALL, .altitude = 1};
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    CHECK_EQ(actor_settings(&actor, &settings), 0);
    CHECK_EQ(actor_altitude(&actor, 0, "385201.5", false), 0);
    CHECK_EQ(actor_launch(&actor, 0, 7, CONTROLLER_TID + 8), 0);
    struct deed deed = creation_of(5000, PROGRAM, NULL);
    deed.pid = CONTROLLER_PID;
    deed.tid = CONTROLLER_TID + 8;
    deed.creation.process.parent_pid = CONTROLLER_PID;
    deed_start(&deed);
    struct cbp_event_message *message = actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, 5000);
    CHECK_EQ(message->item0.flags & CBP_EVENT_FLAG_HELD, CBP_EVENT_FLAG_HELD);
    CHECK_EQ(actor_answer(&actor, message, 0), 0);
    deed_end(&deed);
    free(message);
    struct cbp_launch_forget forget = {.header = {.size = sizeof forget, .type = CBP_MESSAGE_LAUNCH_FORGET},
                                       .rule_id = 7};
    CHECK_EQ(actor_request(&actor, &forget, NULL), 0);
    forget.header.id = 0;
    CHECK_EQ(actor_request(&actor, &forget, NULL), CBP_ERROR_NOT_FOUND);
    CHECK_EQ(create_as(5000, 5004, 5100), STATUS_SUCCESS); /* not asked any more */
    end();
}
