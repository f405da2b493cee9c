/* Tests ends: a receive that is cancelled, a session that closes, a controller that dies, and the unload. Nothing
 * is held afterwards, and nothing is left. */
#include "actor.h"
#include "test.h"

#define EVENTS_ALL 0x3fu
#define PROGRAM L"\\Device\\HarddiskVolume2\\tools\\evil.exe"
enum { MANY = 20 };

static struct actor actor;

static void begin(uint32_t timeout_action)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_ASK, 0);
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    actor_session(&actor, 0, EVENTS_ALL, 3000, timeout_action);
    CHECK_EQ(actor_rules(&actor, 0, &rule, 1), 0);
}

static void end(void)
{
    actor_close(&actor);
    machine_stop();
}

static void hold(struct deed *deeds)
{
    for (uint32_t i = 0; i < MANY; i++) {
        deeds[i] = creation_of(5000 + 4 * i, PROGRAM, NULL);
        deeds[i].pid = SHELL_PID;
        deeds[i].tid = 2100 + 4 * i;
        deed_start(&deeds[i]);
    }
}

static void check_all_go_on(struct deed *deeds)
{
    for (uint32_t i = 0; i < MANY; i++) {
        deed_end(&deeds[i]);
        CHECK_EQ(deeds[i].status, STATUS_SUCCESS);
    }
}

TEST(a_receive_is_cancelled)
{
    struct shim_call *calls[MANY];
    begin(0);
    for (size_t i = 0; i < MANY; i++) {
        calls[i] = actor_receive(&actor, 0, 0, 4096);
        CHECK(!shim_call_wait(calls[i], 0));
    }
    for (size_t i = 0; i < MANY; i += 2) {
        CHECK(shim_call_cancel(calls[i]));
        CHECK(shim_call_wait(calls[i], WAIT_MS));
        CHECK_EQ(shim_call_status(calls[i]), STATUS_CANCELLED);
        CHECK(!shim_call_cancel(calls[i]));
    }
    struct deed deed = creation_of(5000, PROGRAM, NULL);
    deed_start(&deed);
    CHECK(shim_call_wait(calls[1], WAIT_MS)); /* the first one that is left gets the message */
    NTSTATUS status;
    struct cbp_event_message *message = actor_taken(calls[1], &status);
    CHECK_EQ(message->process_id, 5000);
    CHECK_EQ(actor_answer(&actor, message, 0), 0);
    deed_end(&deed);
    free(message);
    shim_cleanup(actor.file);
    for (size_t i = 3; i < MANY; i += 2) {
        CHECK(shim_call_wait(calls[i], 0));
        CHECK_EQ(shim_call_status(calls[i]), STATUS_CANCELLED);
    }
    for (size_t i = 0; i < MANY; i++)
        if (i != 1)
            shim_call_free(calls[i]);
    end();
}

TEST(a_session_that_closes_lets_everything_go)
{
    struct deed deeds[MANY];
    begin(CBP_TIMEOUT_ACTION_DENY); /* its end is no timeout */
    hold(deeds);
    NTSTATUS status;
    struct cbp_event_message *message = actor_next(&actor, 0, &status);
    CHECK_EQ(status, STATUS_SUCCESS);
    CHECK_EQ(actor_session_close(&actor, 0), 0);
    check_all_go_on(deeds);
    CHECK_EQ(actor_answer(&actor, message, 5), CBP_ERROR_NOT_FOUND);
    free(message);
    end();
}

TEST(the_last_handle_that_closes_lets_everything_go)
{
    struct deed deeds[MANY];
    begin(CBP_TIMEOUT_ACTION_DENY);
    hold(deeds);
    sleep_ms(20);
    actor_close(&actor);
    check_all_go_on(deeds);
    machine_stop();
}

TEST(a_controller_that_dies_lets_everything_go_before_its_handles_close)
{
    struct deed deeds[MANY];
    begin(CBP_TIMEOUT_ACTION_DENY);
    struct shim_call *call = actor_receive(&actor, 0, 0, 4096);
    hold(deeds);
    sleep_ms(20);
    CHECK(shim_call_wait(call, WAIT_MS));
    shim_become(CONTROLLER_PID, CONTROLLER_TID);
    shim_end_process(CONTROLLER_PID, 1);
    check_all_go_on(deeds); /* while the device is still open */
    CHECK_EQ(create_program(6000, PROGRAM), STATUS_SUCCESS);
    shim_call_free(call);
    shim_process_add(&(struct shim_process_plan){CONTROLLER_PID, 4, L"\\Device\\HarddiskVolume2\\later.exe",
                                                 SHIM_ADMINISTRATOR});
    struct cbp_session_settings settings = {.session_id = 1, .events = EVENTS_ALL};
    CHECK(actor_settings(&actor, &settings) != 0); /* a handle that somebody still has opens no session */
    actor_close(&actor);
    machine_stop();
}

TEST(two_controllers_end_apart)
{
    struct deed deeds[MANY];
    struct actor other;
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_ASK, 0);
    begin(0);
    shim_process_add(
        &(struct shim_process_plan){1100, 4, L"\\Device\\HarddiskVolume2\\other.exe", SHIM_ADMINISTRATOR});
    actor_open(&other, 1100, 1104);
    actor_session(&other, 0, EVENTS_ALL, 3000, 0);
    CHECK_EQ(actor_rules(&other, 0, &rule, 1), 0);
    hold(deeds);
    sleep_ms(20);
    actor_close(&other);
    sleep_ms(20);
    for (uint32_t i = 0; i < MANY; i++)
        CHECK(!deed_is_done(&deeds[i]));
    for (uint32_t i = 0; i < MANY; i++) {
        NTSTATUS status;
        struct cbp_event_message *message = actor_next(&actor, 0, &status);
        CHECK_EQ(status, STATUS_SUCCESS);
        CHECK_EQ(actor_answer(&actor, message, 0), 0);
        free(message);
    }
    check_all_go_on(deeds);
    CHECK_EQ(shim_registered(), 3);
    end();
}

TEST(a_session_can_be_opened_again_and_again)
{
    begin(0);
    for (int i = 0; i < 50; i++) {
        CHECK_EQ(actor_session_close(&actor, 0), 0);
        CHECK_EQ(shim_registered(), 0);
        actor_session(&actor, 0, EVENTS_ALL, 3000, 0);
    }
    CHECK_EQ(create_program(5000, PROGRAM), STATUS_SUCCESS); /* its rules have gone with it */
    end();
}

TEST(there_is_room_for_so_many_sessions_and_no_more)
{
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        actor_session(&actor, id, EVENTS_ALL, 0, 0);
    struct actor other;
    shim_process_add(
        &(struct shim_process_plan){1100, 4, L"\\Device\\HarddiskVolume2\\other.exe", SHIM_ADMINISTRATOR});
    actor_open(&other, 1100, 1104);
    struct cbp_session_settings settings = {.session_id = 0};
    CHECK_EQ(actor_settings(&other, &settings), CBP_ERROR_NO_SYSTEM_RESOURCES);
    actor_close(&actor);
    CHECK_EQ(actor_settings(&other, &settings), 0);
    actor_close(&other);
    machine_stop();
}

TEST(the_altitude_can_be_strict)
{
    wchar_t altitude[64];
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    struct cbp_session_settings settings = {.session_id = 0, .events = EVENTS_ALL};
    CHECK_EQ(actor_settings(&actor, &settings), 0);
    shim_take_altitude(L"385201.5");
    CHECK_EQ(actor_altitude(&actor, 0, "385201.5", true), CBP_ERROR_ALREADY_EXISTS);
    CHECK_EQ(shim_registered(), 0);
    CHECK_EQ(actor_altitude(&actor, 0, "385201.5", false), 0);
    CHECK_EQ(shim_registered(), 3);
    CHECK(shim_altitude(altitude, sizeof altitude));
    static const wchar_t wanted[] = L"385201.5";
    CHECK(memcmp(altitude, wanted, sizeof wanted - sizeof wanted[0]) == 0);
    CHECK(altitude[ARRAYSIZE(wanted) - 1] != 0); /* a neighbour */
    shim_take_altitude(NULL);
    end();
}

TEST(an_altitude_without_a_point_has_neighbours_too)
{
    wchar_t altitude[64] = {0};
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    struct cbp_session_settings settings = {.session_id = 0, .events = EVENTS_ALL};
    CHECK_EQ(actor_settings(&actor, &settings), 0);
    shim_take_altitude(L"385201");
    CHECK_EQ(actor_altitude(&actor, 0, "385201", false), 0);
    CHECK(shim_altitude(altitude, sizeof altitude));
    CHECK_EQ(altitude[6], '.'); /* a decimal above it */
    CHECK(altitude[7] >= '0' && altitude[7] <= '9');
    shim_take_altitude(NULL);
    end();
}
