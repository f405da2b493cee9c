/* Fuzzes the driver's boundary: an input is a sequence of requests, receives, answers and operations of programs,
 * with controllers that come and go, faults, and time that passes. Whatever is sent, the driver breaks no rule of
 * the system, holds nothing for ever, and leaves nothing. */
#include <time.h>

#include "actor.h"
#include "test.h"

enum { CONTROLLERS = 3, CALLS = 6, DEEDS = 4, STEPS_MAX = 64, RAW_MAX = 512, SESSIONS = 3 };
#define PROGRAM L"\\Device\\HarddiskVolume2\\tools\\evil.exe"
#define NS_PER_MS 1000000ull

static struct {
    const uint8_t *at, *end;
    struct actor actors[CONTROLLERS];
    struct shim_call *calls[CALLS]; /* receives */
    uint32_t call_owners[CALLS];
    struct deed deeds[DEEDS];
    bool is_started[DEEDS];
    struct cbp_event_message last; /* the fixed part of the last message that was received */
    uint32_t next_pid;
} world;

static uint32_t take(uint32_t limit)
{
    return world.at < world.end ? *world.at++ % limit : 0;
}

static void take_bytes(void *to, size_t size)
{
    size_t left = (size_t) (world.end - world.at), count = size < left ? size : left;
    memset(to, 0, size);
    memcpy(to, world.at, count);
    world.at += count;
}

/* Gives a controller, which is opened if it is not open. */
static struct actor *controller(void)
{
    uint32_t i = take(CONTROLLERS), pid = 10000 + 100 * i;
    struct actor *actor = &world.actors[i];
    if (!actor->file) {
        if (!shim_process_runs(pid))
            shim_process_add(
                &(struct shim_process_plan){pid, 4, L"\\Device\\HarddiskVolume2\\c.exe", SHIM_ADMINISTRATOR});
        *actor = (struct actor){.pid = pid, .tid = pid + 4};
        shim_become(pid, pid + 4);
        (void) shim_open(L"\\Device\\CBProcess", NULL, 3, &actor->file);
    }
    shim_become(pid, pid + 4 + 4 * take(3));
    return actor->file ? actor : NULL;
}

/* ---- Requests ---- */

static void send(struct actor *actor, uint32_t code, const void *input, size_t size, size_t room)
{
    struct shim_call *call = shim_call_start(actor->file, code, input, size, room);
    shim_call_free(call); /* a receive is cancelled */
}

static void send_raw(struct actor *actor)
{
    uint64_t words[RAW_MAX / 8];
    uint32_t code = CBP_KERNEL_REQUEST;
    if (take(4) == 0)
        take_bytes(&code, sizeof code);
    size_t size = take(256) * 2;
    take_bytes(words, size);
    send(actor, code, words, size, take(2) == 0 ? sizeof(struct cbp_kernel_counts) : take(256));
}

/* A message of a known type and size, with the rest from the input. */
static void send_message(struct actor *actor)
{
    static const struct {
        uint32_t type, size;
    } rows[] = {
        {CBP_MESSAGE_HELLO, 48},          {CBP_MESSAGE_SESSION, 56},        {CBP_MESSAGE_SESSION_CLOSE, 32},
        {CBP_MESSAGE_RULES, 56},          {CBP_MESSAGE_LAUNCH_FORGET, 32},  {CBP_MESSAGE_LAUNCH, 40},
        {CBP_MESSAGE_PROCESS_QUERY, 32},  {CBP_MESSAGE_KERNEL_SESSION, 40}, {CBP_MESSAGE_KERNEL_WORKER, 32},
        {CBP_MESSAGE_KERNEL_ANSWER, 96},  {CBP_MESSAGE_KERNEL_TOKEN, 32},   {CBP_MESSAGE_KERNEL_BEAT, 32},
        {CBP_MESSAGE_KERNEL_DEADLINE, 40}};
    uint64_t words[64];
    uint32_t i = take(ARRAYSIZE(rows)), more = take(4) == 0 ? take(64) : 0;
    take_bytes(words, sizeof words);
    struct cbp_message_header *header = (struct cbp_message_header *) words;
    *header =
        (struct cbp_message_header){.size = rows[i].size + (rows[i].type == CBP_MESSAGE_RULES ? 0 : more),
                                    .type = rows[i].type,
                                    .id = take(2) == 0 ? world.last.header.id : take(32)};
    if (take(2) == 0) {
        struct cbp_session_close *sized = (struct cbp_session_close *) words;
        sized->session_id %= SESSIONS;
        sized->reserved %= 2;
    }
    send(actor, CBP_KERNEL_REQUEST, words, rows[i].size + more, sizeof(struct cbp_kernel_counts));
}

static void open_session(struct actor *actor)
{
    struct cbp_session_settings settings = {.header = {.size = sizeof settings, .type = CBP_MESSAGE_SESSION},
                                            .session_id = take(SESSIONS),
                                            .events = 0x3f,
                                            .timeout_ms = take(2) * 3000,
                                            .timeout_action = take(2),
                                            .flags = take(16),
                                            .altitude = take(256)};
    struct {
        struct cbp_kernel_session session;
        char text[8];
    } arm = {.session = {.header = {.size = sizeof arm, .type = CBP_MESSAGE_KERNEL_SESSION},
                         .session_id = settings.session_id,
                         .is_strict = take(2),
                         .altitude_offset = sizeof arm.session,
                         .altitude_size = sizeof arm.text},
             .text = "385201.5"};
    arm.text[5] = (char) ('0' + take(2));
    send(actor, CBP_KERNEL_REQUEST, &settings, sizeof settings, sizeof(struct cbp_reply));
    send(actor, CBP_KERNEL_REQUEST, &arm, sizeof arm, sizeof(struct cbp_reply));
}

static void send_rules(struct actor *actor)
{
    static const char *const patterns[] = {"evil.exe", "*", "*\\tools\\*", "bank.*", "cmd.exe", "?vil.exe"};
    struct cbpi_rule rules[4];
    struct cbp_ruleset *block;
    size_t size;
    uint32_t count = take(5);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t kind = take(3), action = take(5), value = take(256) | 1u;
        rules[i] = kind == 0   ? rule_for_all(i + 1, action, value)
                   : kind == 1 ? rule_for_process(i + 1, VICTIM_PID, action, value)
                               : rule_by_name(i + 1, patterns[take(ARRAYSIZE(patterns))], action, value);
        rules[i].flags = take(4);
    }
    if (cbpi_ruleset_build(CBP_COMPARE_UTF16, rules, count, &block, &size) != 0)
        return;
    for (uint32_t i = take(4); i > 0; i--)
        ((unsigned char *) block)[(take(256) * 256u + take(256)) % size] ^= (unsigned char) take(256);
    struct cbp_rules request = {.header = {.size = sizeof request, .type = CBP_MESSAGE_RULES},
                                .session_id = take(SESSIONS),
                                .part = take(2),
                                .gone_rule_id = take(4),
                                .block_size = size};
    char *message = malloc(sizeof request + size);
    memcpy(message, &request, sizeof request);
    memcpy(message + sizeof request, block, size);
    send(actor, CBP_KERNEL_REQUEST, message, sizeof request + size, sizeof(struct cbp_reply));
    free(message);
    free(block);
}

/* ---- Receives and answers ---- */

static void end_call(uint32_t i)
{
    size_t size = 0;
    if (!world.calls[i])
        return;
    if (shim_call_wait(world.calls[i], 0)) {
        const void *output = shim_call_output(world.calls[i], &size);
        if (size >= sizeof world.last)
            memcpy(&world.last, output, sizeof world.last);
    }
    shim_call_free(world.calls[i]);
    world.calls[i] = NULL;
}

static void receive(struct actor *actor)
{
    uint32_t i = take(CALLS);
    end_call(i);
    uint64_t id = take(2) == 0 ? 0 : world.last.header.id;
    size_t room = take(2) == 0 ? 4096 : 180 + take(40);
    world.calls[i] = actor_receive(actor, take(SESSIONS), id, room);
    world.call_owners[i] = (uint32_t) (actor - world.actors);
}

static void answer(struct actor *actor)
{
    struct cbp_kernel_answer message = {
        .header = {.size = sizeof message, .type = CBP_MESSAGE_KERNEL_ANSWER, .id = world.last.header.id},
        .session_id = world.last.session_id,
        .item_count = world.last.item_count,
        .item0 = world.last.item0};
    message.item0.result_code = take(3) * 4;
    message.item0.desired_access &= ~take(256);
    send(actor, CBP_KERNEL_REQUEST, &message, sizeof message, sizeof(struct cbp_reply));
}

/* ---- Ends ---- */

static void close_controller(struct actor *actor)
{
    uint32_t index = (uint32_t) (actor - world.actors);
    shim_become(actor->pid, actor->tid);
    shim_close(actor->file);
    for (uint32_t i = 0; i < CALLS; i++) /* its file has gone */
        if (world.calls[i] && world.call_owners[i] == index)
            end_call(i);
    actor->file = NULL;
}

static void end_controller(struct actor *actor)
{
    if (take(2) == 0) {
        shim_become(actor->pid, actor->tid);
        shim_end_process(actor->pid, 1);
        shim_cancel_all_of(actor->pid);
    }
    close_controller(actor);
}

/* ---- Operations: each has a thread, which stays for the next input ---- */

static struct slot {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct deed *deed; /* NULL: it has nothing to do */
    pthread_t thread;
} slots[DEEDS];

static void *serve(void *argument)
{
    struct slot *slot = argument;
    pthread_mutex_lock(&slot->lock);
    for (;;) {
        while (!slot->deed)
            pthread_cond_wait(&slot->changed, &slot->lock);
        pthread_mutex_unlock(&slot->lock);
        deed_run(slot->deed);
        pthread_mutex_lock(&slot->lock);
        slot->deed = NULL;
        pthread_cond_broadcast(&slot->changed);
    }
    return NULL;
}

int LLVMFuzzerInitialize(int *count, char ***arguments)
{
    (void) count;
    (void) arguments;
    for (uint32_t i = 0; i < DEEDS; i++) {
        pthread_mutex_init(&slots[i].lock, NULL);
        pthread_cond_init(&slots[i].changed, NULL);
        CHECK_EQ(pthread_create(&slots[i].thread, NULL, serve, &slots[i]), 0);
    }
    return 0;
}

static void give(uint32_t i, struct deed *deed)
{
    pthread_mutex_lock(&slots[i].lock);
    slots[i].deed = deed;
    pthread_cond_broadcast(&slots[i].changed);
    pthread_mutex_unlock(&slots[i].lock);
}

static void take_back(uint32_t i)
{
    pthread_mutex_lock(&slots[i].lock);
    while (slots[i].deed)
        pthread_cond_wait(&slots[i].changed, &slots[i].lock);
    pthread_mutex_unlock(&slots[i].lock);
}

static void pause_briefly(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
}

static void end_deed(uint32_t i)
{
    if (!world.is_started[i])
        return;
    for (uint32_t look = 0; !deed_is_done(&world.deeds[i]); look++) {
        pause_briefly();
        if (look == 4) /* nobody answers: its deadline comes, and its controller is silent */
            shim_clock_advance(CBP_HEARTBEAT_LIMIT_MS * 2 * NS_PER_MS);
    }
    take_back(i);
    world.is_started[i] = false;
}

static void act(void)
{
    uint32_t i = take(DEEDS), kind = take(5);
    end_deed(i);
    struct deed deed = {.kind = OPEN_HANDLE};
    world.next_pid += 4;
    if (kind == 0) {
        deed = creation_of(world.next_pid, PROGRAM, take(2) == 0 ? NULL : L"evil \xd800 x");
        deed.creation.has_no_name = take(4) == 0;
        deed.creation.is_subsystem = take(8) == 0;
    } else if (kind == 1) {
        deed = (struct deed){.kind = CREATE_THREAD, .subject_pid = VICTIM_PID, .subject_tid = world.next_pid};
    } else if (kind == 2) {
        deed.opening = (struct shim_opening){.id = VICTIM_PID, .access = 0x1fffff, .is_kernel = take(4) == 0};
    } else if (kind == 3) {
        deed.opening = (struct shim_opening){.is_thread = true, .id = VICTIM_TID, .access = take(256)};
    } else {
        deed.opening = (struct shim_opening){.id = VICTIM_PID,
                                             .access = take(256),
                                             .is_duplicate = true,
                                             .source_pid = SHELL_PID,
                                             .target_pid = USER_PID};
    }
    if (take(4) == 0) {
        deed.pid = 10000 + 100 * take(CONTROLLERS);
        deed.tid = deed.pid + 4 + 4 * take(3);
        if (!shim_process_runs(deed.pid))
            deed.pid = 0;
    }
    if (deed.pid == 0) {
        deed.pid = SHELL_PID;
        deed.tid = SHELL_TID;
    }
    world.deeds[i] = deed;
    world.is_started[i] = true;
    give(i, &world.deeds[i]);
    if (take(2) == 0)
        pause_briefly();
}

static void step(void)
{
    uint32_t kind = take(14);
    struct actor *actor = kind < 10 ? controller() : NULL;
    if (kind == 10)
        shim_clock_advance(take(256) * 50 * NS_PER_MS);
    else if (kind == 11)
        shim_fail_at(SHIM_FAULT_ALL, take(16), take(2) == 0 ? 1 : take(32));
    else if (kind >= 12)
        act();
    else if (!actor)
        return;
    else if (kind == 0)
        send_raw(actor);
    else if (kind <= 2)
        send_message(actor);
    else if (kind == 3)
        open_session(actor);
    else if (kind == 4)
        send_rules(actor);
    else if (kind <= 6)
        receive(actor);
    else if (kind == 7)
        answer(actor);
    else if (kind == 8)
        end_call(take(CALLS));
    else if (take(4) == 0)
        end_controller(actor);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memset(&world, 0, sizeof world);
    world.at = data;
    world.end = data + size;
    world.next_pid = 50000;
    machine_start();
    for (uint32_t i = 0; i < STEPS_MAX && world.at < world.end; i++)
        step();
    shim_fail_at(0, 0, 0);
    for (uint32_t i = 0; i < CONTROLLERS; i++)
        if (world.actors[i].file)
            close_controller(&world.actors[i]);
    for (uint32_t i = 0; i < DEEDS; i++)
        end_deed(i);
    machine_stop();
    return 0;
}
