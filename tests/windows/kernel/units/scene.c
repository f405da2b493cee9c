/* Implements scene.h. */
#include "scene.h"

struct actor scene_actor;

/* A session opens, and its rules come. */
void scene_watch(uint32_t flags, const struct cbpi_rule *rules, uint32_t count)
{
    struct cbp_session_settings settings = {.events = EVENTS_ALL, .altitude = 385000, .flags = flags};
    actor_open(&scene_actor, CONTROLLER_PID, CONTROLLER_TID);
    CHECK_EQ(actor_settings(&scene_actor, &settings), 0);
    CHECK_EQ(actor_altitude(&scene_actor, 0, "385201.5", false), 0);
    CHECK_EQ(actor_rules(&scene_actor, 0, rules, count), 0);
    shim_become(SHELL_PID, SHELL_TID);
}

void scene_begin_with(uint32_t flags, const struct cbpi_rule *rules, uint32_t count)
{
    machine_start();
    scene_watch(flags, rules, count);
}

void scene_begin(const struct cbpi_rule *rules, uint32_t count)
{
    scene_begin_with(0, rules, count);
}

void scene_end(void)
{
    actor_close(&scene_actor);
    machine_stop();
}

NTSTATUS scene_create_as(uint32_t creator_pid, uint32_t creator_tid, uint32_t parent_pid, uint32_t pid,
                         const wchar_t *image)
{
    struct shim_creation creation = {.process = {pid, parent_pid, image, SHIM_USER},
                                     .creator_pid = creator_pid,
                                     .creator_tid = creator_tid,
                                     .command_line = L"program",
                                     .open_name_is_known = true};
    shim_become(creator_pid, creator_tid);
    return shim_create_process(&creation);
}

uint32_t scene_open_as(uint32_t pid, uint32_t tid, uint32_t target_pid, uint32_t access)
{
    struct shim_opening opening = {.id = target_pid, .access = access};
    shim_become(pid, tid);
    return shim_open_object(&opening);
}

uint32_t scene_open_thread_as(uint32_t pid, uint32_t tid, uint32_t target_tid, uint32_t access)
{
    struct shim_opening opening = {.is_thread = true, .id = target_tid, .access = access};
    shim_become(pid, tid);
    return shim_open_object(&opening);
}

/* The next message tells of something for which nothing waits. */
struct cbp_event_message *scene_expect_told(uint32_t type, uint32_t pid)
{
    struct cbp_event_message *message = actor_expect(&scene_actor, 0, type, pid);
    CHECK_EQ(message->item0.flags & CBP_EVENT_FLAG_HELD, 0);
    return message;
}
