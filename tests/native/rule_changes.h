/* Changes of a session's rules and launches, made in the model of what the driver should have as well. */
#ifndef CBP_TEST_RULE_CHANGES_H
#define CBP_TEST_RULE_CHANGES_H

#include "support.h"

#include "cbp_message_check.h"
#include "rule_model.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define MAIN_MIN 1024u /* up to so many rules are in one part */
#define REST_MAX 128u

static inline void on_event(struct cbp_event *event)
{
    (void) event;
}

static inline void on_error(uint64_t context, uint32_t code, const char *description)
{
    (void) context;
    (void) description;
    CHECK(code == 0);
}

/* ---- Changes, of the session and of the model ---- */

static inline void add_name(struct cbp_session *session, const char *pattern, uint32_t flags)
{
    CHECK_OK(cbp_rule_add_name(session, pattern, strlen(pattern), flags, CBP_ACTION_ASK, 0));
    model_add(line_of(CBP_RULE_MATCH_NAME, flags, CBP_ACTION_ASK, 0, 0, pattern));
}

static inline void remove_name(struct cbp_session *session, const char *pattern, uint32_t flags)
{
    CHECK_OK(cbp_rule_remove_name(session, pattern, strlen(pattern), CBP_ACTION_ASK));
    model_remove(line_of(CBP_RULE_MATCH_NAME, flags, CBP_ACTION_ASK, 0, 0, pattern));
}

static inline void replace_name(struct cbp_session *session, const char *pattern, uint32_t old_flags,
                                uint32_t flags)
{
    model_remove(line_of(CBP_RULE_MATCH_NAME, old_flags, CBP_ACTION_ASK, 0, 0, pattern));
    add_name(session, pattern, flags);
}

static inline void all_in_main(void)
{
    model.main_count = model.count;
}

static inline const char *numbered(uint32_t number)
{
    static char pattern[32];
    snprintf(pattern, sizeof pattern, "program-%u", number);
    return pattern;
}

static inline void add_numbered(struct cbp_session *session, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++)
        add_name(session, numbered(i), 0);
}

/* A session whose first rule lets the fake show what it has. */
static inline struct cbp_session *dumping_session(void)
{
    char command[PATH_MAX + 80];
    struct cbp_session *session = test_session(on_event, on_error, NULL);
    memset(&model, 0, sizeof model);
    snprintf(command, sizeof command, "!dump %s", dump_path);
    add_name(session, command, 0);
    return session;
}

static inline pid_t start_child(void)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(100);
        pause();
        _exit(0);
    }
    return child;
}

static inline void end_child(pid_t child)
{
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
}

/* ---- Launches ---- */

static inline struct cbp_launch_handle *begin_launch(struct cbp_session *session)
{
    static _Alignas(8) unsigned char target[4096];
    struct cbp_launch_ready ready = {.header = {.size = sizeof ready, .type = CBP_MESSAGE_LAUNCH_READY}};
    struct cbp_launch_go go;
    struct cbp_launch_handle *launch;
    int32_t fd;
    CHECK_OK(cbp_launch_begin(session, "prog", "/bin/prog", 10, 1, &fd, &launch));
    CHECK(recv(fd, target, sizeof target, 0) > 0);
    CHECK(send(fd, &ready, sizeof ready, 0) == sizeof ready && recv(fd, &go, sizeof go, 0) == sizeof go);
    return launch;
}

static inline void launch(struct cbp_session *session)
{
    uint32_t os_error = 99;
    CHECK_OK(cbp_launch_finish(begin_launch(session), 1, 0, &os_error));
    CHECK(os_error == 0);
    model.launch_count++;
}

static inline const char *launch_line(uint32_t process_id)
{
    return line_of(CBP_RULE_MATCH_PROCESS, CBP_RULE_FLAG_CHILDREN, CBP_ACTION_ASK, 0, process_id, "");
}

/* Later launches are of a process that has this number, or of another that had it so much later. */
static inline void say_about_later(struct cbp_session *session, uint32_t process_id, uint32_t later)
{
    char command[80];
    snprintf(command, sizeof command, "!about %u %llu 0", process_id,
             (unsigned long long) start_time_of(process_id) + later);
    test_command(session, command);
}

static inline void say_about(struct cbp_session *session, uint32_t process_id)
{
    say_about_later(session, process_id, 0);
}

#endif
