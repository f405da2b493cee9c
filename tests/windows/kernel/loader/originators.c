/* Plays the threads whose operations are watched: each tells the stories of its processes, one step after the
 * other, through the callbacks that the driver has registered. Writes down what it got, and judges nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stage.h"

enum { ACCESS_BITS = 0x1fff, SYSTEM_PID = 4 };

static struct step_record *begin(unsigned story, enum step step)
{
    struct step_record *record = oracle_step(story, step);
    record->began_ns = time_now_ns();
    return record;
}

static void end(struct step_record *record)
{
    record->ended_ns = time_now_ns();
    for (unsigned i = 0; i < SESSIONS_MAX; i++)
        record->is_over[i] = oracle_session_has_ended(i);
    record->is_done = true;
}

/* ---- Steps ---- */

static struct nt_process *make_process(unsigned story, uint32_t creator)
{
    char path[64];
    snprintf(path, sizeof path, "\\Device\\HarddiskVolume2\\stories\\p%u.exe", story);
    return process_create(story_pid(story), creator, path);
}

/* Gives whether the creation was allowed. */
static bool create(struct nt_process *process, unsigned story)
{
    char name[64], arguments[64];
    snprintf(name, sizeof name, "\\??\\C:\\stories\\p%u.exe", story);
    snprintf(arguments, sizeof arguments, "p%u --story", story);
    UNICODE_STRING *image_name = text_make(name), *command_line = text_make(arguments);
    uint32_t creator = process_id(thread_process(actor()));
    PS_CREATE_NOTIFY_INFO info = {.Size = sizeof info,
                                  .Flags = 1,
                                  .ParentProcessId = creator,
                                  .CreatingProcess = creator,
                                  .CreatingThread = thread_id(actor()),
                                  .ImageFileName = image_name,
                                  .CommandLine = command_line};
    struct step_record *record = begin(story, STEP_CREATION);
    record->status = callback_process_created(process, &info);
    end(record);
    free(image_name);
    free(command_line);
    return NT_SUCCESS(record->status);
}

/* The system may tell of threads at APC_LEVEL. */
static void tell_thread(struct nt_process *process, unsigned story, bool is_created)
{
    bool is_raised = story % 3 == 0;
    struct step_record *record = begin(story, is_created ? STEP_THREAD : STEP_THREAD_END);
    level_set(is_raised ? APC_LEVEL : PASSIVE_LEVEL);
    callback_thread(process, story_tid(story), is_created);
    level_set(PASSIVE_LEVEL);
    end(record);
}

static void open_handle(unsigned story, enum step step, const struct handle_operation *operation)
{
    struct step_record *record = begin(story, step);
    record->access = operation->access;
    record->left = callback_handle(operation);
    end(record);
}

/* What the kernel itself does fires nothing: the oracle would find a second message of the step. */
static void open_for_kernel(struct nt_process *process)
{
    callback_handle(
        &(struct handle_operation){.object = process, .is_kernel_handle = true, .access = 0x1f0fff});
}

static void open_handles(struct player *player, unsigned story, struct nt_process *process,
                         struct nt_thread *thread)
{
    struct originators *all = player->context;
    uint32_t accesses[3];
    for (unsigned i = 0; i < 3; i++) /* never all: that is what a creation gives */
        accesses[i] = 1u + random_below(&player->random, ACCESS_BITS - 1);
    struct nt_process *own = thread_process(player->self);
    struct nt_process *other = all->processes[random_below(&player->random, all->count)];
    open_handle(story, STEP_OPEN,
                &(struct handle_operation){.object = process, .access = accesses[0] & 0x17ffu});
    if (random_below(&player->random, 4) == 0)
        open_for_kernel(process);
    open_handle(
        story, STEP_OPEN_THREAD,
        &(struct handle_operation){.object = thread, .is_thread = true, .access = accesses[1] & 0x1fbeu});
    open_handle(story, STEP_DUPLICATE,
                &(struct handle_operation){.object = process,
                                           .is_duplication = true,
                                           .access = accesses[2] & 0x17ffu,
                                           .source = own,
                                           .target = other});
}

/* The last thread of the process ends, and with it the process: in that thread. */
static void end_story(struct player *player, unsigned story, struct nt_process *process,
                      struct nt_thread *thread)
{
    actor_set(thread);
    tell_thread(process, story, false);
    process_end(process, (NTSTATUS) (story % 200));
    struct step_record *record = begin(story, STEP_END);
    callback_process_ended(process);
    end(record);
    actor_set(player->self);
}

static void tell_story(struct player *player, unsigned story)
{
    struct nt_process *process = make_process(story, process_id(thread_process(player->self)));
    struct nt_thread *thread = thread_create(story_tid(story), process);
    if (create(process, story)) {
        tell_thread(process, story, true);
        open_handles(player, story, process, thread);
        end_story(player, story, process, thread);
    } else {
        /* The system tells of the end of a process that was refused, too; no session is to hear of that. */
        process_end(process, STATUS_ACCESS_DENIED);
        callback_process_ended(process);
    }
    process_forget(process);
    thread_forget(thread);
}

static void play(struct player *player)
{
    struct originators *all = player->context;
    unsigned stories = oracle_plan()->stories;
    for (unsigned i = 0; i < stories && !__atomic_load_n(&all->stops, __ATOMIC_SEQ_CST); i++)
        tell_story(player, player->index * stories + i);
}

/* ---- All of them ---- */

void originators_prepare(struct originators *originators, unsigned count)
{
    memset(originators, 0, sizeof *originators);
    originators->count = count;
    for (unsigned i = 0; i < count; i++) {
        struct player *player = &originators->players[i];
        originators->processes[i] =
            process_create(originator_pid(i), SYSTEM_PID, "\\Device\\HarddiskVolume2\\originator.exe");
        player->self = thread_create(originator_pid(i) + 4, originators->processes[i]);
        player->context = originators;
        player->play = play;
        random_open(&player->random, oracle_plan()->seed, 1000 + i);
    }
}

void originators_start(struct originators *originators)
{
    players_start(originators->players, originators->count);
}

void originators_join(struct originators *originators)
{
    players_join(originators->players, originators->count);
}

void originators_forget(struct originators *originators)
{
    for (unsigned i = 0; i < originators->count; i++) {
        process_end(originators->processes[i], STATUS_SUCCESS);
        process_forget(originators->processes[i]);
        thread_forget(originators->players[i].self);
    }
}
