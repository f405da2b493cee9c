/* Tests races: programs act in many threads while workers answer, receives are cancelled, deadlines move,
 * sessions close, controllers die and rules change. The thread sanitizer looks on. */
#include "player.h"
#include "test.h"

#define EVENTS_ALL 0x3fu
#define PROGRAM L"\\Device\\HarddiskVolume2\\tools\\evil.exe"
enum { ACTORS = 4, PLAYERS = 3, ROUNDS = 150, LIVES = 12 };

static struct actor actor;
static uint32_t stops; /* atomic: threads that act stop */

/* A thread of a program, which does one thing after the other. */
struct program {
    uint32_t number, rounds;
    uint32_t refused_count;
    uint64_t event_count;
    pthread_t thread;
};

static void act_once(struct program *program, uint32_t round)
{
    uint32_t pid = 100000 + program->number * 10000 + round * 8, tid = pid + 4;
    struct shim_creation creation = {
        .process = {pid, SHELL_PID, PROGRAM, SHIM_USER}, .command_line = L"evil", .open_name_is_known = true};
    shim_become(SHELL_PID, SHELL_TID + 100 + 4 * program->number);
    program->event_count += 1;
    if (shim_create_process(&creation) != STATUS_SUCCESS) {
        program->refused_count++;
        return;
    }
    shim_create_thread(pid, tid);
    struct shim_opening opening = {.id = pid, .access = 0x1fffff};
    shim_become(USER_PID, USER_PID + 100 + 4 * program->number);
    (void) shim_open_object(&opening);
    shim_become(pid, tid);
    shim_end_thread(pid, tid);
    shim_end_process(pid, 0);
    program->event_count += 4;
}

static void *act(void *argument)
{
    struct program *program = argument;
    for (uint32_t i = 0; i < program->rounds && __atomic_load_n(&stops, __ATOMIC_SEQ_CST) == 0; i++)
        act_once(program, i);
    return NULL;
}

static void start_programs(struct program *programs, uint32_t rounds)
{
    __atomic_store_n(&stops, 0, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < ACTORS; i++) {
        programs[i] = (struct program){.number = i, .rounds = rounds};
        CHECK_EQ(pthread_create(&programs[i].thread, NULL, act, &programs[i]), 0);
    }
}

static uint64_t end_programs(struct program *programs)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < ACTORS; i++) {
        CHECK_EQ(pthread_join(programs[i].thread, NULL), 0);
        count += programs[i].event_count;
    }
    return count;
}

static void open_session(struct actor *of, uint32_t session_id)
{
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_ASK, 0);
    actor_session(of, session_id, EVENTS_ALL, 0, CBP_TIMEOUT_ACTION_ALLOW);
    CHECK_EQ(actor_rules(of, session_id, &rule, 1), 0);
}

TEST(every_event_is_asked_and_answered_once)
{
    static struct program programs[ACTORS];
    static struct player players[PLAYERS];
    struct cbp_kernel_counts counts;
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    open_session(&actor, 0);
    for (uint32_t i = 0; i < PLAYERS; i++) {
        players[i] = (struct player){.seed = i + 1};
        player_start(&players[i], &actor, CONTROLLER_TID + 4 + 4 * i, 0, 0);
    }
    start_programs(programs, ROUNDS);
    uint64_t event_count = end_programs(programs), told = 0, asked = 0;
    CHECK_EQ(actor_beat(&actor, 0, &counts), 0);
    CHECK_EQ(actor_session_close(&actor, 0), 0);
    for (uint32_t i = 0; i < PLAYERS; i++) {
        player_end(&players[i]);
        told += players[i].told_count;
        asked += players[i].asked_count;
        CHECK_EQ(players[i].asked_count, players[i].answered_count);
    }
    CHECK_EQ(told, event_count);
    CHECK_EQ(asked, event_count);
    CHECK_EQ(counts.lost, 0);
    CHECK_EQ(counts.timed_out, 0);
    test_count("events asked and answered", asked);
    actor_close(&actor);
    machine_stop();
}

/* A controller that lives for a short time, again and again, and ends in one of three ways. */
static void live(uint32_t round)
{
    static struct player players[PLAYERS];
    struct actor brief;
    struct cbp_kernel_counts counts;
    uint32_t pid = 20000 + 100 * round;
    shim_process_add(
        &(struct shim_process_plan){pid, 4, L"\\Device\\HarddiskVolume2\\brief.exe", SHIM_ADMINISTRATOR});
    actor_open(&brief, pid, pid + 4);
    open_session(&brief, 0);
    for (uint32_t i = 0; i < PLAYERS; i++) {
        players[i] = (struct player){.seed = round * 8 + i + 1};
        player_start(&players[i], &brief, pid + 8 + 4 * i, 0, i == 0 ? CBP_ERROR_ACCESS_DENIED : 0);
    }
    for (uint32_t i = 0; i < 5; i++) {
        sleep_ms(3);
        CHECK_EQ(actor_beat(&brief, 0, &counts), 0);
        const struct cbpi_rule rule = rule_by_name(2 + i, "evil.exe", CBP_ACTION_ASK, 0);
        CHECK_EQ(actor_rules(&brief, 0, &rule, 1), 0);
    }
    if (round % 3 == 0) {
        CHECK_EQ(actor_session_close(&brief, 0), 0);
    } else if (round % 3 == 1) {
        shim_become(pid, pid + 4);
        shim_end_process(pid, 0);
        shim_cancel_all_of(pid);
    } else {
        shim_become(pid, pid + 4);
        shim_cleanup(brief.file);
    }
    for (uint32_t i = 0; i < PLAYERS; i++)
        player_end(&players[i]);
    if (round % 3 == 1)
        shim_process_add(
            &(struct shim_process_plan){pid, 4, L"\\Device\\HarddiskVolume2\\next.exe", SHIM_ADMINISTRATOR});
    actor_close(&brief);
    shim_become(pid, pid + 4);
    shim_end_process(pid, 0);
}

TEST(controllers_come_and_go_while_programs_run)
{
    static struct program programs[ACTORS];
    machine_start();
    start_programs(programs, 1000);
    for (uint32_t round = 0; round < LIVES; round++)
        live(round);
    __atomic_store_n(&stops, 1, __ATOMIC_SEQ_CST);
    test_count("events beside controllers that come and go", end_programs(programs));
    machine_stop();
}

/* ---- Deadlines against answers ---- */

TEST(an_answer_and_a_deadline_meet)
{
    struct cbp_kernel_counts counts;
    uint64_t late = 0, timely = 0;
    const struct cbpi_rule rule = rule_by_name(1, "evil.exe", CBP_ACTION_ASK, 0);
    machine_start();
    actor_open(&actor, CONTROLLER_PID, CONTROLLER_TID);
    actor_session(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, 3000, CBP_TIMEOUT_ACTION_DENY);
    CHECK_EQ(actor_rules(&actor, 0, &rule, 1), 0);
    for (uint32_t i = 0; i < 60; i++) {
        uint64_t deadline;
        struct deed deed = creation_of(5000 + 4 * i, PROGRAM, NULL);
        deed_start(&deed);
        struct cbp_event_message *message =
            actor_expect(&actor, 0, CBP_PROC_EVT_PROCESS_CREATION, 5000 + 4 * i);
        CHECK_EQ(actor_deadline(&actor, message, true, 2, &deadline), 0);
        while (shim_now_ns() + 50000 * (i % 7) < deadline)
            ;
        uint32_t error = actor_answer(&actor, message, 0);
        deed_end(&deed);
        CHECK(error == 0 || error == CBP_ERROR_TIMEOUT);
        CHECK_EQ((uint32_t) deed.status, error == 0 ? 0 : 0xc0070000 | CBP_ERROR_TIMEOUT);
        late += error != 0;
        timely += error == 0;
        free(message);
    }
    CHECK_EQ(actor_beat(&actor, 0, &counts), 0);
    CHECK_EQ(counts.timed_out, late);
    CHECK(late > 0 && timely > 0);
    actor_close(&actor);
    machine_stop();
}
