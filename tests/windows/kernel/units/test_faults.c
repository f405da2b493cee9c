/* Tests want of memory and calls that fail: the first point of failure, then the second, and so on until none is
 * reached; each alone, and each with all that follow. Nothing is lost silently, nothing leaks, and what may be
 * refused is refused. */
#include "player.h"
#include "test.h"

#define EVENTS_ALL 0x3fu
#define PROGRAM L"\\Device\\HarddiskVolume2\\tools\\evil.exe"
#define REMOVABLE_RIGHTS 0x0bebu
enum { POINTS_MAX = 2000, FAILS_FOR_GOOD = 1 << 20 };

static struct actor actor;

/* Does what can fail, again and again; scene is called with faults on and says what it has found. */
static void fail_everywhere(const char *what, void (*begin)(void), void (*scene)(void), void (*end)(void))
{
    static const uint64_t counts[] = {1, FAILS_FOR_GOOD};
    uint64_t made_count = 0;
    for (size_t i = 0; i < ARRAYSIZE(counts); i++) {
        uint64_t made = 1;
        for (uint64_t nth = 0; made > 0; nth++) {
            CHECK(nth < POINTS_MAX);
            begin();
            shim_fail_at(SHIM_FAULT_ALL, nth, counts[i]);
            scene();
            made = shim_faults_made();
            shim_fail_at(0, 0, 0);
            end();
            made_count += made > 0;
        }
        CHECK(i > 0 || made_count > 0);
    }
    test_count(what, made_count);
}

/* ---- Loading and arming ---- */

static void load(void)
{
    NTSTATUS status = shim_load(DriverEntry);
    bool has_failed = shim_faults_made() > 0;
    CHECK(NT_SUCCESS(status) || has_failed);
    if (NT_SUCCESS(status))
        shim_unload();
}

TEST(loading_fails_cleanly)
{
    fail_everywhere("faults while loading", machine_begin, load, shim_processes_free);
}

static void start(void)
{
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
}

static void stop(void)
{
    actor_close(&actor);
    machine_stop();
}

static void open_device(void)
{
    struct shim_file *file;
    shim_become(CONTROLLER_PID, CONTROLLER_TID);
    NTSTATUS status = shim_open(L"\\DosDevices\\CBProcess", NULL, 3, &file);
    CHECK(NT_SUCCESS(status) || shim_faults_made() > 0);
    if (file)
        shim_close(file);
}

TEST(opening_the_device_fails_cleanly)
{
    fail_everywhere("faults while opening", machine_start, open_device, machine_stop);
}

static void arm(void)
{
    struct cbp_session_settings settings = {.events = EVENTS_ALL, .altitude = 1};
    uint32_t error = actor_settings(&actor, &settings);
    if (error == 0)
        error = actor_altitude(&actor, 0, "385201.5", true);
    CHECK(error == 0 || shim_faults_made() > 0);
    CHECK_EQ(shim_registered(), error == 0 ? 3 : 0);
}

/* What has failed once works when there is memory again. */
static void arm_again_and_stop(void)
{
    shim_fail_at(0, 0, 0);
    arm();
    CHECK_EQ(shim_registered(), 3);
    stop();
}

TEST(opening_a_session_fails_cleanly_and_can_be_tried_again)
{
    fail_everywhere("faults while arming", start, arm, arm_again_and_stop);
}

/* ---- Rules ---- */

static void start_with_rule(void)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_DENY, 5);
    start();
    actor_session(&actor, 0, CBP_PROC_EVT_NONE, 0, 0);
    CHECK_EQ(actor_rules(&actor, 0, &rule, 1), 0);
}

static void change_rules(void)
{
    const struct cbpi_rule rules[] = {rule_by_name(1, "evil.exe", CBP_ACTION_DENY, 5),
                                      rule_by_name(2, "good.exe", CBP_ACTION_DENY, 7),
                                      rule_for_process(3, VICTIM_PID, CBP_ACTION_STRIP, 0x801)};
    uint32_t error = actor_rules(&actor, 0, rules, ARRAYSIZE(rules));
    CHECK(error == 0 || (error == CBP_ERROR_NOT_ENOUGH_MEMORY && shim_faults_made() > 0));
    CHECK((uint32_t) create_program(5000, PROGRAM) >> 30 == 3); /* the old rules or the new ones hold */
}

TEST(rules_change_as_a_whole_or_not_at_all)
{
    fail_everywhere("faults with rules", start_with_rule, change_rules, stop);
}

/* ---- Operations that rules decide ---- */

static void start_told(void)
{
    const struct cbpi_rule rules[] = {rule_by_name(1, "evil.exe", CBP_ACTION_DENY, 5),
                                      rule_by_name(2, "bank.exe", CBP_ACTION_STRIP, REMOVABLE_RIGHTS)};
    start();
    actor_session(&actor, 0, EVENTS_ALL, 0, 0);
    CHECK_EQ(actor_rules(&actor, 0, rules, ARRAYSIZE(rules)), 0);
}

static void decide(void)
{
    CHECK((uint32_t) create_program(5000, PROGRAM) >> 30 == 3);
    struct shim_opening opening = {.id = VICTIM_PID, .access = 0x1fffff};
    shim_become(USER_PID, USER_PID + 4);
    CHECK_EQ(shim_open_object(&opening) & REMOVABLE_RIGHTS, 0);
    struct shim_opening thread = {.is_thread = true, .id = VICTIM_TID, .access = 0x1fffff};
    CHECK_EQ(shim_open_object(&thread) & 1u, 0);
}

/* Three events were fired: each was told or counted as lost. */
static void check_none_is_lost_silently(void)
{
    struct cbp_kernel_counts counts;
    uint64_t told = 0;
    NTSTATUS status;
    CHECK_EQ(actor_beat(&actor, 0, &counts), 0);
    for (uint64_t i = 0; i < counts.backlog; i++) {
        struct cbp_event_message *message = actor_next(&actor, 0, &status);
        CHECK_EQ(status, STATUS_SUCCESS);
        told += message->item_count;
        free(message);
    }
    CHECK(told + counts.lost >= 3);
    CHECK(told <= 3);
    CHECK(counts.refused >= 1);
    stop();
}

TEST(what_rules_decide_holds_without_memory)
{
    fail_everywhere("faults under rules", start_told, decide, check_none_is_lost_silently);
}

/* ---- Operations that handlers decide ---- */

static struct player player;

static void start_asked(void)
{
    const struct cbpi_rule rules[] = {rule_by_name(1, "evil.exe", CBP_ACTION_ASK, 0),
                                      rule_by_name(2, "bank.exe", CBP_ACTION_ASK, 0)};
    start();
    actor_session(&actor, 0, EVENTS_ALL, 0, 0);
    CHECK_EQ(actor_rules(&actor, 0, rules, ARRAYSIZE(rules)), 0);
    player = (struct player){0};
    player_start(&player, &actor, CONTROLLER_TID + 4, 0, CBP_ERROR_ACCESS_DENIED);
}

/* The handler refuses everything, and so does the driver when it cannot ask. */
static void ask(void)
{
    CHECK((uint32_t) create_program(5000, PROGRAM) >> 30 == 3);
    struct shim_opening opening = {.id = VICTIM_PID, .access = 0x1fffff};
    shim_become(SHELL_PID, SHELL_TID);
    CHECK_EQ(shim_open_object(&opening) & REMOVABLE_RIGHTS, 0);
    shim_create_thread(VICTIM_PID, 3100);
    shim_become(VICTIM_PID, 3100);
    shim_end_thread(VICTIM_PID, 3100);
    shim_become(VICTIM_PID, VICTIM_TID);
    shim_end_process(VICTIM_PID, 1);
}

static void stop_asked(void)
{
    struct cbp_kernel_counts counts;
    CHECK_EQ(actor_beat(&actor, 0, &counts), 0);
    CHECK_EQ(actor_session_close(&actor, 0), 0);
    player_end(&player);
    CHECK(player.told_count + counts.lost >= 5);
    CHECK(player.told_count <= 5);
    CHECK_EQ(player.asked_count, player.answered_count);
    stop();
}

TEST(what_cannot_be_asked_is_refused)
{
    fail_everywhere("faults under questions", start_asked, ask, stop_asked);
}

/* ---- Requests about messages, workers and launches ---- */

static struct deed held;
static struct cbp_event_message *held_message;

static void start_held(void)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_ASK, 0);
    start();
    actor_session(&actor, 0, EVENTS_ALL, 0, 0);
    CHECK_EQ(actor_rules(&actor, 0, &rule, 1), 0);
    held = creation_of(5000, PROGRAM, NULL);
    deed_start(&held);
    held_message = actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, 5000);
}

static void request(void)
{
    uint64_t value;
    uint32_t error = actor_token(&actor, held_message, &value);
    CHECK((error == 0) == (value != 0));
    if (error == 0)
        CHECK(shim_handle_close(CONTROLLER_PID, value));
    CHECK(error == 0 || shim_faults_made() > 0);
    error = actor_worker(&actor, 0, true);
    CHECK(error == 0 || shim_faults_made() > 0);
    CHECK_EQ(actor_worker(&actor, 0, false), 0);
    error = actor_launch(&actor, 0, 7, CONTROLLER_TID + 4);
    CHECK(error == 0 || shim_faults_made() > 0);
    CHECK_EQ(actor_launch(&actor, 0, 0, CONTROLLER_TID + 4), 0);
    CHECK_EQ(actor_deadline(&actor, held_message, true, 60000, &value), 0); /* these two cannot fail */
    CHECK_EQ(actor_answer(&actor, held_message, 5), 0);
}

static void stop_held(void)
{
    deed_end(&held);
    CHECK_EQ(held.status, STATUS_ACCESS_DENIED);
    free(held_message);
    stop();
}

TEST(an_answer_needs_no_memory)
{
    fail_everywhere("faults under requests", start_held, request, stop_held);
}

/* ---- Ends ---- */

static void close_session(void)
{
    CHECK_EQ(actor_session_close(&actor, 0), 0);
}

static void close_device(void)
{
    shim_become(actor.pid, actor.tid);
    shim_cleanup(actor.file);
}

static void die(void)
{
    shim_become(actor.pid, actor.tid);
    shim_end_process(actor.pid, 1);
}

TEST(ends_need_no_memory)
{
    static void (*const ends[])(void) = {close_session, close_device, die};
    for (size_t i = 0; i < ARRAYSIZE(ends); i++) {
        start_held();
        struct shim_call *call = actor_receive(&actor, 0, 0, 4096);
        shim_fail_at(SHIM_FAULT_ALL, 0, FAILS_FOR_GOOD);
        ends[i]();
        deed_end(&held);
        CHECK_EQ(held.status, STATUS_SUCCESS);
        CHECK(shim_call_wait(call, WAIT_MS));
        CHECK_EQ(shim_call_status(call), STATUS_CANCELLED);
        shim_call_free(call);
        free(held_message);
        stop();
        shim_fail_at(0, 0, 0);
    }
}

/* ---- Systems that lack functions ---- */

static void run_once(void)
{
    start_told();
    decide();
    check_none_is_lost_silently();
}

TEST(older_systems_are_served)
{
    static const char *const names[] = {"ExAllocatePool2", "PsSetCreateProcessNotifyRoutineEx2"};
    for (size_t i = 0; i < ARRAYSIZE(names); i++) {
        shim_hide(names[i]);
        run_once();
    }
    shim_hide(NULL);
    machine_begin();
    shim_hide("ZwQuerySystemInformation");
    CHECK(!NT_SUCCESS(shim_load(DriverEntry)));
    shim_processes_free();
}
