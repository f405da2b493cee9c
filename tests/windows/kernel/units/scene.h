/* Offers a scene for tests of what the driver makes of operations: one controller with one session, and other
 * programs that create processes and open handles. */
#ifndef UNITS_SCENE_H
#define UNITS_SCENE_H

#include "actor.h"
#include "test.h"

#define EVENTS_ALL 0x3fu
#define ALL_RIGHTS 0x1fffffu
#define PATH_TO(name) L"\\Device\\HarddiskVolume2\\tools\\" name

enum { CHILD_PID = 5000, CHILD_TID = 5004, GRANDCHILD_PID = 5100, OTHER_TID = 1008 };

extern struct actor scene_actor;

/* A session opens, and its rules come. */
void scene_watch(uint32_t flags, const struct cbpi_rule *rules, uint32_t count);
/* Starts the machine, and a session with these flags and rules. */
void scene_begin_with(uint32_t flags, const struct cbpi_rule *rules, uint32_t count);
void scene_begin(const struct cbpi_rule *rules, uint32_t count);
/* Ends both. */
void scene_end(void);
/* Let a thread create a process, and open a process or a thread: give the status, or the rights. */
NTSTATUS scene_create_as(uint32_t creator_pid, uint32_t creator_tid, uint32_t parent_pid, uint32_t pid,
                         const wchar_t *image);
uint32_t scene_open_as(uint32_t pid, uint32_t tid, uint32_t target_pid, uint32_t access);
uint32_t scene_open_thread_as(uint32_t pid, uint32_t tid, uint32_t target_tid, uint32_t access);
/* The next message tells of something for which nothing waits. */
struct cbp_event_message *scene_expect_told(uint32_t type, uint32_t pid);

#endif
