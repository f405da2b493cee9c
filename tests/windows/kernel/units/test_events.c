/* Tests the whole driver: each operation is told and asked, and the answer holds. */
#include "actor.h"
#include "test.h"

#define EVENTS_ALL 0x3fu

static struct actor actor;

static void begin(const struct cbpi_rule *rules, uint32_t count)
{
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    actor_session(&actor, 0, EVENTS_ALL, 0, CBP_TIMEOUT_ACTION_ALLOW);
    CHECK_EQ(actor_rules(&actor, 0, rules, count), 0);
}

static void end(void)
{
    actor_close(&actor);
    machine_stop();
}

TEST(the_driver_loads_and_unloads)
{
    machine_start();
    machine_stop();
}

TEST(a_session_arms_the_callbacks_and_its_end_disarms_them)
{
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    CHECK_EQ(shim_registered(), 0);
    actor_session(&actor, 0, EVENTS_ALL, 0, 0);
    CHECK_EQ(shim_registered(), 3);
    CHECK_EQ(actor_session_close(&actor, 0), 0);
    CHECK_EQ(shim_registered(), 0);
    end();
}

TEST(a_creation_is_asked_and_allowed)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_ASK, 0);
    begin(&rule, 1);
    struct deed deed = creation_of(5000, L"\\Device\\HarddiskVolume2\\tools\\evil.exe", L"evil -x");
    deed_start(&deed);
    struct cbp_event_message *message = actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, 5000);
    CHECK(!deed_is_done(&deed));
    CHECK_EQ(message->parent_process_id, SHELL_PID);
    CHECK_EQ(message->originator_process_id, SHELL_PID);
    CHECK_EQ(message->originator_thread_id, SHELL_TID);
    CHECK_EQ(message->item0.flags & CBP_EVENT_FLAG_HELD, CBP_EVENT_FLAG_HELD);
    CHECK_EQ(message->process_name_size, sizeof "C:\\tools\\evil.exe" - 1);
    CHECK(memcmp((char *) message + message->process_name_offset, "C:\\tools\\evil.exe",
                 message->process_name_size) == 0);
    CHECK_EQ(message->arguments_size, 7);
    CHECK(memcmp((char *) message + message->arguments_offset, "evil -x", 7) == 0);
    CHECK_EQ(actor_answer(&actor, message, 0), 0);
    deed_end(&deed);
    CHECK_EQ(deed.status, STATUS_SUCCESS);
    free(message);
    end();
}

TEST(a_refused_creation_has_a_status_of_failure)
{
    static const struct {
        uint32_t code, status;
    } rows[] = {{CBP_ERROR_ACCESS_DENIED, 0xc0000022},
                {2, 0xc0070002},
                {1, 0xc0070001},
                {0xffff, 0xc007ffff},
                {0x10000, 0xc0070000},
                {0x80000000u, 0xc0070000}};
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_ASK, 0);
    begin(&rule, 1);
    for (size_t i = 0; i < ARRAYSIZE(rows); i++) {
        uint32_t pid = 5000 + 4 * (uint32_t) i;
        struct deed deed = creation_of(pid, L"\\Device\\HarddiskVolume2\\evil.exe", NULL);
        deed_start(&deed);
        struct cbp_event_message *message = actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, pid);
        CHECK_EQ(actor_answer(&actor, message, rows[i].code), 0);
        deed_end(&deed);
        CHECK_EQ((uint32_t) deed.status, rows[i].status);
        CHECK(!shim_process_runs(pid));
        free(message);
    }
    CHECK(actor_has_nothing(&actor, 0));
    end();
}

TEST(threads_and_ends_are_asked)
{
    const struct cbpi_rule rule = rule_by_name(1, "bank.exe", CBP_ACTION_ASK, 0);
    begin(&rule, 1);
    struct deed deeds[] = {
        {.kind = CREATE_THREAD, .subject_pid = VICTIM_PID, .subject_tid = 3100},
        {.kind = CREATE_THREAD, .subject_pid = VICTIM_PID, .subject_tid = 3104},
        {.kind = END_THREAD, .pid = VICTIM_PID, .tid = 3100, .subject_pid = VICTIM_PID, .subject_tid = 3100},
        {.kind = END_THREAD, .pid = VICTIM_PID, .tid = 3104, .subject_pid = VICTIM_PID, .subject_tid = 3104},
        {.kind = END_PROCESS,
         .pid = VICTIM_PID,
         .tid = VICTIM_TID,
         .subject_pid = VICTIM_PID,
         .exit_status = 7},
    };
    static const uint32_t types[] = {CBP_PROC_EVT_THREAD_CREATION, CBP_PROC_EVT_THREAD_CREATION,
                                     CBP_PROC_EVT_THREAD_TERMINATION, CBP_PROC_EVT_THREAD_TERMINATION,
                                     CBP_PROC_EVT_PROCESS_TERMINATION};
    for (size_t i = 0; i < ARRAYSIZE(deeds); i++) {
        deed_start(&deeds[i]);
        struct cbp_event_message *message = actor_expect(&actor, 0, types[i], VICTIM_PID);
        CHECK(!deed_is_done(&deeds[i]));
        CHECK_EQ(message->thread_id, i < 4 ? deeds[i].subject_tid : VICTIM_TID);
        CHECK_EQ(message->exit_status, i < 4 ? 0 : 7);
        CHECK_EQ(actor_answer(&actor, message, 5), 0);
        deed_end(&deeds[i]);
        free(message);
    }
    end();
}

TEST(a_handle_loses_only_documented_rights)
{
    const struct cbpi_rule rule = rule_by_name(1, "bank.exe", CBP_ACTION_ASK, 0);
    begin(&rule, 1);
    struct deed deed = opening_of(VICTIM_PID, 0x1fffff);
    deed_start(&deed);
    struct cbp_event_message *message =
        actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_HANDLE_OPERATION, VICTIM_PID);
    CHECK_EQ(message->original_desired_access, 0x1fffff);
    CHECK_EQ(message->originator_process_id, SHELL_PID);
    CHECK_EQ(actor_answer_access(&actor, message, 0), 0);
    deed_end(&deed);
    CHECK_EQ(deed.access_left, 0x1fffffu & ~0x0bebu);
    free(message);

    struct deed duplication = opening_of(VICTIM_PID, 0x0001 | 0x1000);
    duplication.opening.is_duplicate = true;
    duplication.opening.source_pid = SHELL_PID;
    duplication.opening.target_pid = USER_PID;
    deed_start(&duplication);
    message = actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_HANDLE_OPERATION, VICTIM_PID);
    CHECK_EQ(message->source_process_id, SHELL_PID);
    CHECK_EQ(message->target_process_id, USER_PID);
    CHECK_EQ(message->item0.flags & CBP_EVENT_FLAG_DUPLICATION, CBP_EVENT_FLAG_DUPLICATION);
    CHECK_EQ(actor_answer(&actor, message, 5), 0);
    deed_end(&duplication);
    CHECK_EQ(duplication.access_left, 0x1000);
    free(message);

    struct deed thread = {.kind = OPEN_HANDLE,
                          .opening = {.is_thread = true, .id = VICTIM_TID, .access = 0x1fffff}};
    deed_start(&thread);
    message = actor_expect(&actor, 0, CBP_PROC_EVT_THREAD_HANDLE_OPERATION, VICTIM_PID);
    CHECK_EQ(message->thread_id, VICTIM_TID);
    CHECK_EQ(actor_answer_access(&actor, message, 0x1fffff & ~1u), 0);
    deed_end(&thread);
    CHECK_EQ(thread.access_left, 0x1fffffu & ~1u);
    free(message);
    end();
}

/* Systems differ in whether they tell of the end of a process whose creation was refused. */
TEST(the_end_of_a_refused_process_is_not_told)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_DENY, 5);
    begin(&rule, 1);
    CHECK_EQ((uint32_t) create_program(5000, L"\\Device\\HarddiskVolume2\\evil.exe"), 0xc0000022);
    free(actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, 5000));
    shim_process_add(
        &(struct shim_process_plan){5000, SHELL_PID, L"\\Device\\HarddiskVolume2\\evil.exe", SHIM_USER});
    shim_become(5000, 5004);
    shim_end_process(5000, 5);
    CHECK(actor_has_nothing(&actor, 0));
    end();
}

TEST(what_another_driver_has_refused_stays_refused_and_is_not_asked)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_ASK, 0);
    begin(&rule, 1);
    struct deed deed = creation_of(5000, L"\\Device\\HarddiskVolume2\\evil.exe", NULL);
    deed.creation.refused_with = STATUS_INSUFFICIENT_RESOURCES;
    deed_start(&deed);
    deed_end(&deed);
    CHECK_EQ(deed.status, STATUS_INSUFFICIENT_RESOURCES);
    CHECK(actor_has_nothing(&actor, 0));
    end();
}
