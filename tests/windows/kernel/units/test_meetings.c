/* Tests requests that meet an end at the one moment that matters: a cancellation on its way, a file without
 * handles. Each meeting is made to happen, and not left to chance. */
#include "actor.h"
#include "test.h"

#define EVENTS_ALL 0x3fu
#define PROGRAM L"\\Device\\HarddiskVolume2\\tools\\evil.exe"

static struct actor actor;
static struct deed deed;

static void begin(void)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_ASK, 0);
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    actor_session(&actor, 0, EVENTS_ALL, 0, 0);
    CHECK_EQ(actor_rules(&actor, 0, &rule, 1), 0);
    deed = creation_of(5000, PROGRAM, NULL);
}

static void end(void)
{
    actor_close(&actor);
    machine_stop();
}

TEST(a_receive_that_is_cancelled_before_it_waits_does_not_wait)
{
    begin();
    shim_is_next_cancelled = true;
    struct shim_call *call = actor_receive(&actor, 0, 0, 4096);
    CHECK(shim_call_wait(call, 0));
    CHECK_EQ(shim_call_status(call), STATUS_CANCELLED);
    shim_call_free(call);
    end();
}

/* The event comes while the cancel routine is on its way. */
static void create(void)
{
    shim_before_cancel_routine = NULL;
    deed_start(&deed);
    sleep_ms(100);
}

TEST(a_message_does_not_go_to_a_receive_that_is_being_cancelled)
{
    begin();
    struct shim_call *call = actor_receive(&actor, 0, 0, 4096);
    shim_before_cancel_routine = create;
    CHECK(shim_call_cancel(call));
    CHECK(shim_call_wait(call, WAIT_MS));
    CHECK_EQ(shim_call_status(call), STATUS_CANCELLED);
    shim_call_free(call);
    struct cbp_event_message *message = actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, 5000);
    CHECK_EQ(actor_answer(&actor, message, 0), 0);
    free(message);
    deed_end(&deed);
    CHECK_EQ(deed.status, STATUS_SUCCESS);
    end();
}

/* A thread of the controller was about to send them when another one has closed the last handle. */
TEST(requests_after_the_last_handle_open_and_pend_nothing)
{
    struct cbp_session_settings settings = {.session_id = 1, .events = EVENTS_ALL};
    begin();
    shim_cleanup(actor.file);
    CHECK(actor_settings(&actor, &settings) != 0);
    CHECK_EQ(actor_altitude(&actor, 0, "385200", false), CBP_ERROR_NOT_FOUND);
    CHECK_EQ(shim_registered(), 0);
    struct shim_call *call = actor_receive(&actor, 0, 0, 4096);
    CHECK(shim_call_wait(call, 0));
    CHECK_EQ(shim_call_status(call), STATUS_CANCELLED);
    shim_call_free(call);
    CHECK_EQ(create_program(5000, PROGRAM), STATUS_SUCCESS);
    end();
}
