/* Tests at which altitude the callbacks are registered, and how many messages a session may leave unreceived. */
#include "actor.h"
#include "test.h"

#define EVENTS_ALL 0x3fu
#define PROGRAM L"\\Device\\HarddiskVolume2\\tools\\evil.exe"
enum {
    QUEUE_MAX = 16384, /* outbox.h has it */
    TOO_MANY = 25
};

static struct actor actor, other;

static void open_session(struct actor *self)
{
    const struct cbp_session_settings settings = {.session_id = 0, .events = EVENTS_ALL};
    actor_open(self, CONTROLLER_PID, CONTROLLER_TID);
    CHECK_EQ(actor_settings(self, &settings), 0);
}

TEST(controllers_share_the_callbacks_at_one_altitude)
{
    machine_start();
    open_session(&actor);
    open_session(&other);
    CHECK_EQ(actor_altitude(&actor, 0, "385201.5", false), 0);
    CHECK_EQ(actor_altitude(&other, 0, "385201.5", true), 0);
    CHECK_EQ(actor_altitude(&other, 0, "385201.6", true), CBP_ERROR_ALREADY_EXISTS);
    CHECK_EQ(actor_altitude(&other, 0, "385201.6", false), 0);
    CHECK_EQ(shim_registered(), 3);
    actor_close(&actor);
    CHECK_EQ(shim_registered(), 3);
    actor_close(&other);
    CHECK_EQ(shim_registered(), 0);
    machine_stop();
}

TEST(a_neighbour_is_not_the_altitude_that_somebody_insists_on)
{
    machine_start();
    open_session(&actor);
    open_session(&other);
    shim_take_altitude(L"385201.5");
    CHECK_EQ(actor_altitude(&actor, 0, "385201.5", false), 0);
    CHECK_EQ(actor_altitude(&other, 0, "385201.5", true), CBP_ERROR_ALREADY_EXISTS);
    shim_take_altitude(NULL);
    CHECK_EQ(actor_altitude(&other, 0, "385201.5", true), CBP_ERROR_ALREADY_EXISTS);
    actor_close(&actor);
    actor_close(&other);
    machine_stop();
}

TEST(an_altitude_needs_a_session)
{
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    CHECK_EQ(actor_altitude(&actor, 0, "385201.5", false), CBP_ERROR_NOT_FOUND);
    CHECK_EQ(shim_registered(), 0);
    actor_close(&actor);
    machine_stop();
}

TEST(what_is_told_and_not_received_is_limited_and_losses_are_counted)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_DENY, CBP_ERROR_ACCESS_DENIED);
    struct cbp_kernel_counts counts;
    NTSTATUS status;
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    actor_session(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, 0, 0);
    CHECK_EQ(actor_rules(&actor, 0, &rule, 1), 0);
    for (uint32_t i = 0; i < QUEUE_MAX + TOO_MANY; i++)
        CHECK_EQ(create_program(5000, PROGRAM), STATUS_ACCESS_DENIED);
    CHECK_EQ(actor_beat(&actor, 0, &counts), 0);
    CHECK_EQ(counts.backlog, QUEUE_MAX);
    CHECK_EQ(counts.lost, TOO_MANY);
    for (uint32_t i = 0; i < TOO_MANY; i++)
        free(actor_next(&actor, 0, &status));
    CHECK_EQ(create_program(5000, PROGRAM), STATUS_ACCESS_DENIED);
    CHECK_EQ(actor_beat(&actor, 0, &counts), 0);
    CHECK_EQ(counts.backlog, QUEUE_MAX - TOO_MANY + 1);
    CHECK_EQ(counts.lost, TOO_MANY);
    actor_close(&actor);
    machine_stop();
}
