/* Plays one round: loads the driver, lets controllers answer about the stories of originators, ends it in one of
 * several ways, and unloads the driver, maybe while operations go on. Says how, not how often. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stage.h"

enum {
    CONTROLLER_PID = 0x8000,
    CONTROLLER_STEP = 0x400,
    CHURNER_PID = 0x9000,
    CHURNER_SESSION = 9,
    HASTE = 60, /* how much faster time passes in a hasty round */
    TIMEOUT_MS = 3000,
    LONG_TIMEOUT_MS = 600000,
    BEAT_US = 4000,
    PATIENCE_MS = 100,
    NS_PER_MS = 1000000,
    PAUSE_US = 200,
    ALL_EVENTS = CBP_PROC_EVT_PROCESS_CREATION | CBP_PROC_EVT_PROCESS_TERMINATION |
                 CBP_PROC_EVT_THREAD_CREATION | CBP_PROC_EVT_THREAD_TERMINATION |
                 CBP_PROC_EVT_PROCESS_HANDLE_OPERATION | CBP_PROC_EVT_THREAD_HANDLE_OPERATION
};

/* What one round is made of. Each session has a controller and a crew of its own. */
struct scene {
    struct round *round;
    struct random random;
    unsigned count; /* of sessions */
    struct controller controllers[SESSIONS_MAX];
    struct crew crews[SESSIONS_MAX];
    struct cbp_kernel_counts counts[SESSIONS_MAX]; /* before the end */
    struct originators originators;
    struct player beater, churner;
    uint64_t began_ns;
    unsigned long deliveries_before; /* the round */
    uint32_t is_over;                /* atomic: the helpers of the scene end */
};

static bool is_over(struct scene *scene)
{
    return __atomic_load_n(&scene->is_over, __ATOMIC_SEQ_CST) != 0;
}

static void expect(uint32_t code, const char *what)
{
    if (code != 0)
        wrong("%s ends with %u", what, code);
}

/* ---- Threads beside ---- */

/* The dispatchers' heartbeats. */
static void beat(struct player *player)
{
    struct scene *scene = player->context;
    while (!is_over(scene)) {
        for (unsigned i = 0; i < scene->count; i++) {
            struct cbp_kernel_counts counts;
            actor_set(scene->controllers[i].thread);
            (void) controller_beat(&scene->controllers[i], i, &counts);
        }
        usleep(BEAT_US);
    }
}

/* Sends rules: good ones, after which the session is told what happens, and asked nothing; or bad ones. */
static void send_rules(struct controller *controller, struct random *random)
{
    uint32_t expected = 0;
    bool is_bad = random_below(random, 2);
    uint32_t code =
        controller_rule_all(controller, CHURNER_SESSION, CBP_ACTION_ALLOW, is_bad ? random : NULL, &expected);
    if (code != expected)
        wrong("a rule block ends with %u, and should with %u", code, expected);
}

/* Another controller comes and goes, so that callbacks are armed and disarmed and places are used again. It
 * receives nothing of what it is told. */
static void churn(struct player *player)
{
    struct scene *scene = player->context;
    struct controller controller;
    for (uint32_t i = 0; !is_over(scene); i++) {
        controller_open(&controller, CHURNER_PID + i % 64 * 16);
        if (controller.file) {
            struct session_wish wish = {
                .session_id = CHURNER_SESSION, .events = ALL_EVENTS, .timeout_ms = LONG_TIMEOUT_MS};
            expect(controller_hello(&controller), "HELLO");
            expect(controller_session(&controller, &wish), "SESSION of the churner");
            if (random_below(&player->random, 2))
                send_rules(&controller, &player->random);
            if (random_below(&player->random, 2))
                expect(controller_arm(&controller, CHURNER_SESSION, "385000.5", false),
                       "KERNEL_SESSION of the churner");
            if (random_below(&player->random, 2))
                expect(controller_close_session(&controller, CHURNER_SESSION),
                       "SESSION_CLOSE of the churner");
            if (random_below(&player->random, 4) == 0)
                controller_die(&controller, false);
            controller_close_file(&controller);
        }
        controller_forget(&controller);
        usleep(random_below(&player->random, 2000));
    }
}

static void start_beside(struct scene *scene, struct player *player, void (*play)(struct player *),
                         unsigned number)
{
    player->self = actor();
    player->context = scene;
    player->play = play;
    random_open(&player->random, scene->round->seed, number);
    players_start(player, 1);
}

/* ---- Beginning ---- */

static void open_session(struct scene *scene, unsigned index)
{
    struct controller *controller = &scene->controllers[index];
    struct crew *crew = &scene->crews[index];
    struct session_wish wish = {.session_id = index,
                                .events = ALL_EVENTS,
                                .timeout_ms = scene->round->is_hasty ? TIMEOUT_MS : LONG_TIMEOUT_MS,
                                .altitude = 1000 - index};
    controller_open(controller, CONTROLLER_PID + index * CONTROLLER_STEP);
    if (!controller->file)
        wrong("the device cannot be opened");
    expect(controller_hello(controller), "HELLO");
    expect(controller_session(controller, &wish), "SESSION");
    expect(controller_ask_all(controller, index), "RULES");
    *crew = (struct crew){.controller = controller,
                          .session = index,
                          .count = scene->round->workers,
                          .manners = scene->round->manners,
                          .rival = scene->count > 1 ? &scene->controllers[1 - index] : NULL,
                          .bystander = scene->originators.processes[0]};
    crew_start(crew, scene->round->seed);
    crew_wait_ready(crew);
}

static void begin(struct image *image, struct scene *scene)
{
    NTSTATUS status;
    struct round *round = scene->round;
    random_open(&scene->random, round->seed, 1);
    pool_special(round->special_share);
    time_scale(round->is_hasty ? HASTE : 1);
    facts_without(round->lacks);
    oracle_open(&round->plan);
    status = io_load(image);
    if (!NT_SUCCESS(status))
        wrong("DriverEntry ends with 0x%x", (unsigned) status);
    scene->count = round->plan.sessions;
    originators_prepare(&scene->originators, round->plan.originators);
    for (unsigned i = 0; i < scene->count; i++)
        open_session(scene, i);
    start_beside(scene, &scene->beater, beat, 2);
    if (round->has_churn)
        start_beside(scene, &scene->churner, churn, 3);
    for (unsigned i = 0; i < scene->count; i++) {
        actor_set(scene->controllers[i].thread);
        expect(controller_arm(&scene->controllers[i], i, "385201.125", false), "KERNEL_SESSION");
    }
    scene->deliveries_before = oracle_deliveries();
    scene->began_ns = time_now_ns();
    originators_start(&scene->originators);
}

/* ---- Endings ---- */

/* Waits until the session's messages have all been received. The last ones may tell of steps that timed out. */
static void drain(struct scene *scene, unsigned index)
{
    do {
        actor_set(scene->controllers[index].thread);
        expect(controller_beat(&scene->controllers[index], index, &scene->counts[index]), "BEAT");
        usleep(500);
    } while (scene->counts[index].backlog > 0);
}

static void end_session(struct scene *scene, unsigned index)
{
    struct controller *controller = &scene->controllers[index];
    actor_set(controller->thread);
    oracle_session_ends(index);
    expect(controller_close_session(controller, index), "SESSION_CLOSE");
    crew_join(&scene->crews[index], false);
    controller_close_file(controller);
}

/* Has taken the file by its handle, and is interrupted: the handle is closed before its requests are sent. They
 * find no session, and open none. */
static void straggle(struct player *player)
{
    struct controller *ghost = player->context; /* a copy, which still has the file */
    struct cbp_kernel_counts counts;
    struct io_file *file = ghost->file;
    while (!io_is_cleaned(file))
        usleep(50);
    struct session_wish wish = {.events = ALL_EVENTS, .timeout_ms = TIMEOUT_MS};
    expect(controller_hello(ghost), "a late HELLO");
    if (controller_session(ghost, &wish) != CBP_ERROR_OPERATION_ABORTED)
        wrong("a session opens after the last handle is closed");
    if (controller_ask_all(ghost, 0) != CBP_ERROR_NOT_FOUND ||
        controller_arm(ghost, 0, "385201", false) != CBP_ERROR_NOT_FOUND ||
        controller_beat(ghost, 0, &counts) != CBP_ERROR_NOT_FOUND)
        wrong("there is a session after the last handle is closed");
    io_release(file);
}

static void end_file(struct scene *scene, unsigned index)
{
    struct controller *controller = &scene->controllers[index];
    actor_set(controller->thread);
    controller->is_slow = true;
    usleep(random_below(&scene->random, 1000));
    struct controller ghost = {.file = controller_hold(controller), .process = controller->process};
    struct player straggler = {.play = straggle, .context = &ghost};
    players_start(&straggler, 1);
    oracle_session_ends(index);
    controller_close_file(controller);
    players_join(&straggler, 1);
    crew_join(&scene->crews[index], false);
}

/* Gives for how long operations that waited at that time went on to wait. */
static uint64_t longest_wait_after(const struct scene *scene, uint64_t time_ns)
{
    uint64_t longest = 0;
    unsigned stories = scene->round->plan.originators * scene->round->plan.stories;
    for (unsigned story = 0; story < stories; story++)
        for (enum step step = 0; step < STEP_COUNT; step++) {
            const struct step_record *record = oracle_step(story, step);
            if (record->is_done && record->began_ns < time_ns && record->ended_ns > time_ns + longest)
                longest = record->ended_ns - time_ns;
        }
    return longest;
}

static void end_by_death(struct scene *scene, unsigned index, uint64_t *died_ns)
{
    struct controller *controller = &scene->controllers[index];
    bool is_kept = scene->round->ending == ENDING_DEATH_KEPT;
    actor_set(controller->thread);
    oracle_session_ends(index);
    pthread_mutex_lock(&controller->lock);
    controller->is_dead = true;
    pthread_mutex_unlock(&controller->lock);
    crew_kill(&scene->crews[index]);
    crew_join(&scene->crews[index], true);
    controller_die(controller, is_kept);
    *died_ns = time_now_ns();
}

/* Waits until a part of what can be told has been, so that a round ends in the midst of operations on a fast
 * machine and on a busy one. */
static void let_happen(struct scene *scene)
{
    const struct plan *plan = &scene->round->plan;
    unsigned long target = scene->deliveries_before;
    target +=
        random_below(&scene->random, plan->originators * plan->stories * STEP_COUNT * plan->sessions / 2);
    uint64_t limit_ns =
        time_now_ns() + (uint64_t) PATIENCE_MS * NS_PER_MS * (scene->round->is_hasty ? HASTE : 1);
    while (oracle_deliveries() < target && time_now_ns() < limit_ns)
        usleep(PAUSE_US);
}

static void end_all(struct scene *scene)
{
    uint64_t died_ns = 0;
    for (unsigned i = 0; i < scene->count; i++) {
        let_happen(scene);
        if (scene->round->ending == ENDING_SESSION)
            end_session(scene, i);
        else if (scene->round->ending == ENDING_FILE)
            end_file(scene, i);
        else
            end_by_death(scene, i, &died_ns);
    }
    __atomic_store_n(&scene->is_over, 1, __ATOMIC_SEQ_CST);
    if (!scene->round->unloads_early || scene->round->ending == ENDING_DEATH_KEPT) {
        originators_join(&scene->originators);
        if (died_ns != 0)
            scene->round->release_ns = longest_wait_after(scene, died_ns);
    }
    for (unsigned i = 0; i < scene->count; i++) {
        actor_set(scene->controllers[i].thread);
        controller_close_file(&scene->controllers[i]);
    }
}

static void end_calmly(struct scene *scene)
{
    originators_join(&scene->originators);
    scene->round->took_ns = time_now_ns() - scene->began_ns;
    for (unsigned i = 0; i < scene->count; i++)
        drain(scene, i);
    __atomic_store_n(&scene->is_over, 1, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < scene->count; i++)
        end_session(scene, i);
}

/* ---- The round ---- */

static void clear(struct scene *scene)
{
    originators_forget(&scene->originators);
    for (unsigned i = 0; i < scene->count; i++)
        controller_forget(&scene->controllers[i]);
    oracle_close();
    objects_clear();
}

void round_run(struct image *image, struct round *round)
{
    struct scene *scene = calloc(1, sizeof *scene);
    struct nt_thread *self = actor();
    bool is_early =
        round->unloads_early && round->ending != ENDING_CALM && round->ending != ENDING_DEATH_KEPT;
    scene->round = round;
    round->plan.counts_exactly = round->ending == ENDING_CALM;
    begin(image, scene);
    if (round->ending == ENDING_CALM)
        end_calmly(scene);
    else
        end_all(scene);
    players_join(&scene->beater, 1);
    if (round->has_churn)
        players_join(&scene->churner, 1);
    actor_set(self);
    io_unload();
    if (is_early) {
        __atomic_store_n(&scene->originators.stops, true, __ATOMIC_SEQ_CST);
        originators_join(&scene->originators);
    }
    oracle_check();
    for (unsigned i = 0; i < scene->count && round->ending == ENDING_CALM; i++)
        oracle_check_counts(i, &scene->counts[i]);
    clear(scene);
    time_scale(1);
    facts_without(NULL);
    free(scene);
}
