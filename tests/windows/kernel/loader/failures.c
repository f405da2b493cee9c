/* Lets the driver's allocations fail, one after the other: the Nth alone, for every N that there is, and the Nth
 * with all after it; and so each routine of the kernel that may fail for want of resources. The same short life
 * of a controller is played each time. Nothing may leak, hang or be half done: what failed once is done by the
 * next attempt. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "solo.h"

enum {
    ATTEMPTS = 2, /* a single failure lets the second one succeed */
    ORIGINATOR_PID = 0x7000,
    OPERATION_COUNT = 6,
    ALL_EVENTS = 0x3f,
    NUMBER_MAX = 100000,
    KEPT = 0x1000, /* no right of a process or a thread that a driver may take */
    ACCESS = 0x1001
};

enum kind { KIND_POOL_ONE, KIND_POOL_ALL, KIND_ROUTINE, KIND_COUNT };

static struct {
    enum kind kind;
    unsigned long number;
    uint32_t answers; /* atomic, of this life */
} trial;

static void arm_failure(void)
{
    pool_fail_at(trial.kind == KIND_ROUTINE ? 0 : trial.number, trial.kind == KIND_POOL_ALL);
    io_fail_at(trial.kind == KIND_ROUTINE ? trial.number : 0);
}

/* Says whether the life has come to the failure at all. */
static bool has_failed(void)
{
    return (trial.kind == KIND_ROUTINE ? io_failable_calls() : pool_allocation_count()) >= trial.number;
}

/* Makes an attempt until it succeeds, as often as it may fail. Gives the code of the last one. */
static uint32_t attempt(struct controller *controller, uint32_t (*request)(struct controller *),
                        const char *what)
{
    uint32_t code = 0;
    for (int i = 0; i < ATTEMPTS; i++) {
        code = request(controller);
        if (code == 0)
            return 0;
        if (code != CBP_ERROR_NOT_ENOUGH_MEMORY)
            wrong("%s ends with %u for want of memory", what, code);
    }
    if (trial.kind != KIND_POOL_ALL)
        wrong("%s fails twice, and only one thing has failed", what);
    return code;
}

/* ---- The controller ---- */

static uint32_t ask_session(struct controller *controller)
{
    return controller_session(controller, &(struct session_wish){.events = ALL_EVENTS, .timeout_ms = 600000});
}

static uint32_t ask_rules(struct controller *controller)
{
    return controller_ask_all(controller, SOLO_SESSION);
}

static uint32_t ask_arm(struct controller *controller)
{
    return controller_arm(controller, SOLO_SESSION, "385201", true);
}

static uint32_t ask_worker(struct controller *controller)
{
    struct cbp_kernel_worker worker = {.header = {sizeof worker, CBP_MESSAGE_KERNEL_WORKER, 7, 0},
                                       .session_id = SOLO_SESSION,
                                       .is_worker = 1};
    return controller_request(controller, &worker, sizeof worker, NULL);
}

/* Answers everything, until the session closes. */
static void answer_all(struct player *player)
{
    struct controller *controller = player->context;
    union solo_message message;
    NTSTATUS status;
    while ((status = solo_receive(controller, &message)) == STATUS_SUCCESS)
        if ((message.message.item0.flags & CBP_EVENT_FLAG_HELD) != 0 &&
            solo_answer(controller, &message, 0) == 0)
            __atomic_add_fetch(&trial.answers, 1, __ATOMIC_RELAXED);
    if (status != STATUS_CANCELLED)
        wrong("a receive ends with 0x%x", (unsigned) status);
}

/* ---- The operations ---- */

static void check_access(uint32_t left)
{
    if ((KEPT & ~left) != 0)
        wrong("a right is taken that is not to be taken: 0x%x of 0x%x", left, (unsigned) ACCESS);
}

/* A creation may be refused for want of memory, and for nothing else. */
static bool create(struct nt_process *process)
{
    UNICODE_STRING *name = text_make("\\??\\C:\\solo.exe");
    PS_CREATE_NOTIFY_INFO info = {.Size = sizeof info,
                                  .Flags = 1,
                                  .ParentProcessId = ORIGINATOR_PID,
                                  .CreatingProcess = ORIGINATOR_PID,
                                  .CreatingThread = ORIGINATOR_PID + 4,
                                  .ImageFileName = name,
                                  .CommandLine = name};
    NTSTATUS status = callback_process_created(process, &info);
    free(name);
    if (status != STATUS_SUCCESS && status != STATUS(0xC0070000u | CBP_ERROR_NOT_ENOUGH_MEMORY))
        wrong("a creation ends with 0x%x for want of memory", (unsigned) status);
    return NT_SUCCESS(status);
}

static void operate(struct player *player)
{
    struct nt_process *process =
        process_create(SOLO_PID, ORIGINATOR_PID, "\\Device\\HarddiskVolume2\\solo.exe");
    struct nt_thread *thread = thread_create(SOLO_PID + 4, process);
    struct nt_process *own = thread_process(player->self);
    if (create(process)) {
        callback_thread(process, SOLO_PID + 4, true);
        check_access(callback_handle(&(struct handle_operation){.object = process, .access = ACCESS}));
        check_access(callback_handle(
            &(struct handle_operation){.object = thread, .is_thread = true, .access = ACCESS}));
        check_access(callback_handle(&(struct handle_operation){
            .object = process, .is_duplication = true, .access = ACCESS, .source = own, .target = own}));
        actor_set(thread);
        callback_thread(process, SOLO_PID + 4, false);
    }
    process_end(process, STATUS_SUCCESS);
    callback_process_ended(process);
    actor_set(player->self);
    process_forget(process);
    thread_forget(thread);
}

static void run_operations(void)
{
    struct nt_process *process =
        process_create(ORIGINATOR_PID, 4, "\\Device\\HarddiskVolume2\\originator.exe");
    struct player player = {.self = thread_create(ORIGINATOR_PID + 4, process), .play = operate};
    players_start(&player, 1);
    players_join(&player, 1);
    process_end(process, STATUS_SUCCESS);
    process_forget(process);
    thread_forget(player.self);
}

/* ---- One life ---- */

static void live_with_session(struct controller *controller)
{
    struct player answerer = {
        .self = thread_create(0x8000 + 8, controller->process), .play = answer_all, .context = controller};
    struct cbp_kernel_counts counts;
    if (attempt(controller, ask_rules, "RULES") == 0 &&
        attempt(controller, ask_worker, "KERNEL_WORKER") == 0 &&
        attempt(controller, ask_arm, "KERNEL_SESSION") == 0) {
        players_start(&answerer, 1);
        run_operations();
        if (controller_beat(controller, SOLO_SESSION, &counts) != 0)
            wrong("BEAT fails for want of memory");
        if (controller_close_session(controller, SOLO_SESSION) != 0)
            wrong("SESSION_CLOSE fails for want of memory");
        players_join(&answerer, 1);
    }
    thread_forget(answerer.self);
}

static bool load(struct image *image)
{
    NTSTATUS status;
    for (int i = 0; i < ATTEMPTS; i++) {
        status = io_load(image);
        if (NT_SUCCESS(status))
            return true;
        if (status != STATUS_INSUFFICIENT_RESOURCES)
            wrong("DriverEntry ends with 0x%x for want of memory", (unsigned) status);
    }
    if (trial.kind != KIND_POOL_ALL)
        wrong("DriverEntry fails twice, and only one thing has failed");
    return false;
}

static void live(struct image *image)
{
    struct controller controller;
    struct nt_thread *self = actor();
    trial.answers = 0;
    arm_failure();
    if (!load(image))
        return;
    for (int i = 0; i < ATTEMPTS; i++) {
        controller_open(&controller, 0x8000);
        if (controller.file)
            break;
        controller_forget(&controller);
        if (i + 1 == ATTEMPTS && trial.kind != KIND_POOL_ALL)
            wrong("the device cannot be opened twice, and only one thing has failed");
    }
    if (controller.file) {
        if (attempt(&controller, controller_hello, "HELLO") == 0 &&
            attempt(&controller, ask_session, "SESSION") == 0)
            live_with_session(&controller);
        controller_close_file(&controller);
        controller_forget(&controller);
    }
    actor_set(self);
    io_unload();
    objects_clear();
}

static unsigned long run_kind(struct image *image, enum kind kind)
{
    static const char *const names[KIND_COUNT] = {"allocation", "allocation and all later ones",
                                                  "kernel routine"};
    trial.kind = kind;
    for (trial.number = 1; trial.number < NUMBER_MAX; trial.number++) {
        verdicts_context("mode failures: %s, number %lu", names[kind], trial.number);
        live(image);
        if (!has_failed())
            break;
    }
    if (trial.answers != OPERATION_COUNT + 1)
        wrong("without a failure %u operations are answered", trial.answers);
    pool_fail_at(0, false);
    io_fail_at(0);
    return trial.number - 1;
}

/* Another driver has the altitude. A strict session fails by that; the other one takes a neighbour. */
static void check_altitude(struct image *image)
{
    struct controller controller;
    struct nt_thread *self = actor();
    verdicts_context("mode failures: the altitude is taken");
    solo_open(image, &controller);
    callback_take_altitude("385201");
    if (ask_session(&controller) != 0)
        wrong("SESSION fails");
    if (ask_arm(&controller) != CBP_ERROR_ALREADY_EXISTS)
        wrong("a strict session takes an altitude that another driver has");
    for (enum callback_kind kind = 0; kind < CALLBACK_KINDS; kind++)
        if (callback_has(kind))
            wrong("a callback is left of what failed");
    if (controller_arm(&controller, SOLO_SESSION, "385201", false) != 0 || !callback_altitude()[0])
        wrong("a session that is not strict finds no neighbour of the altitude");
    callback_take_altitude(NULL);
    solo_close(&controller, self);
}

void failures_run(struct image *image, const struct options *options)
{
    unsigned long counts[KIND_COUNT];
    (void) options;
    check_altitude(image);
    for (enum kind kind = 0; kind < KIND_COUNT; kind++)
        counts[kind] = run_kind(image, kind);
    printf("failures: %lu allocations failed alone, %lu with all later ones, and %lu calls of the kernel's "
           "routines\n",
           counts[KIND_POOL_ONE], counts[KIND_POOL_ALL], counts[KIND_ROUTINE]);
}
