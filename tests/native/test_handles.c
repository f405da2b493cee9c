/* What concerns other processes, against a scripted supervisor: the rights of a handle operation from the
 * driver to the answer, the originator's token, rules that attach, what holds for one process. */
#include "recorder.h"

#include "platform.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>

/* ---- Rights ---- */

static uint32_t shown[CBP_BATCH_MAX]; /* desired_access of each item, as the handler found it */
static uint32_t answer;               /* what it leaves there */
static struct cbp_session *handled;   /* the session, for handlers; set before it starts */

static void record_access(struct cbp_event *event)
{
    uint32_t item = (uint32_t) (event->sequence - 1) % CBP_BATCH_MAX;
    CHECK(event->original_desired_access == ACCESS);
    cbp_store_u32(&shown[item], event->desired_access);
    if (cbp_load_u32(&answer) != UINT32_MAX)
        event->desired_access = cbp_load_u32(&answer);
    if (seen.act)
        seen.act(event);
    cbp_add_u64(&seen.count, 1);
}

static struct cbp_session *start_recording(void (*act)(struct cbp_event *event), uint32_t leaves)
{
    memset(&seen, 0, sizeof seen);
    seen.act = act;
    cbp_store_u32(&answer, leaves);
    struct cbp_session *session = handled = test_session(record_access, on_error, &seen);
    CHECK_OK(cbp_session_start(session, 0));
    test_command(session, "!take 0 0");
    test_command(session, "!take 1 3");
    test_command(session, "!take 2 31");
    test_command(session, "!take 3 4294967295");
    return session;
}

static void check_shown(void)
{
    CHECK(cbp_load_u32(&shown[0]) == ACCESS && cbp_load_u32(&shown[1]) == (ACCESS & ~3u));
    CHECK(cbp_load_u32(&shown[2]) == 0 && cbp_load_u32(&shown[3]) == 0);
}

/* Each item begins with what rules have left of it, and an answer that says nothing leaves it so. */
static void test_access_begins_as_rules_left_it(void)
{
    struct cbp_session *session = start_recording(NULL, UINT32_MAX);
    post(session, 1, 4, HELD_REFUSABLE, 0);
    WAIT_FOR(test_statistics(session).decided_by_rule == 4);
    check_shown();
    CHECK(test_statistics(session).failed_after == 0); /* the fake's count of changed access */
    CHECK_OK(cbp_session_destroy(session));
}

/* What a rule took the handler cannot give back: the fake ends when it is answered with more. */
static void test_access_cannot_be_given_back(void)
{
    struct cbp_session *session = start_recording(NULL, 0x7fffffff);
    post(session, 1, 4, HELD_REFUSABLE, 0);
    WAIT_FOR(test_statistics(session).decided_by_rule == 4);
    CHECK(test_statistics(session).failed_after == 0 && cbp_load_u32(&seen.error_count) == 0);
    CHECK_OK(cbp_session_destroy(session));

    session = start_recording(NULL, 1);
    post(session, 1, 4, HELD_REFUSABLE, 0);
    WAIT_FOR(test_statistics(session).decided_by_rule == 4);
    CHECK(test_statistics(session).failed_after == 2); /* the two that had anything else */
    CHECK_OK(cbp_session_destroy(session));
}

static void defer(struct cbp_event *event)
{
    uint64_t ticket;
    (void) event;
    CHECK_OK(cbp_event_defer(&ticket));
    keep_ticket(ticket);
}

static void test_deferred_access(void)
{
    struct cbp_session *session = start_recording(defer, UINT32_MAX);
    post(session, 1, 4, HELD_REFUSABLE, 0);
    WAIT_FOR(cbp_load_u32(&seen.ticket_count) == 4);
    check_shown();
    CHECK_OK(cbp_event_complete(seen.tickets[0], 0, 0x10));
    CHECK_OK(cbp_event_complete(seen.tickets[1], 0, UINT32_MAX));
    CHECK_OK(cbp_event_complete(seen.tickets[2], 0, UINT32_MAX));
    CHECK_OK(cbp_event_complete(seen.tickets[3], 0, UINT32_MAX));
    WAIT_FOR(test_statistics(session).decided_by_rule == 4);
    CHECK(test_statistics(session).failed_after == 1);
    CHECK_OK(cbp_session_destroy(session));
}

static void stop_it(struct cbp_event *event)
{
    (void) event;
    CHECK_OK(cbp_session_stop(handled, 0));
}

/* Items that the handler never saw go on with what rules have left of them. */
static void test_access_of_unseen_items(void)
{
    struct cbp_session *session = start_recording(stop_it, UINT32_MAX);
    post(session, 1, 4, HELD_REFUSABLE, 0);
    WAIT_FOR(cbp_load_u64(&seen.count) == 1);
    CHECK_OK(cbp_session_stop(session, 0));
    CHECK(cbp_load_u64(&seen.count) == 1 && cbp_load_u32(&seen.error_count) == 0);
    CHECK_OK(cbp_session_destroy(session));
}

/* ---- The originator's token ---- */

static uint64_t tokens[CBP_BATCH_MAX]; /* as the handlers got them */

static int64_t token_of(int item)
{
    return (int64_t) cbp_load_u64(&tokens[item]);
}

static void take_token(struct cbp_event *event)
{
    int64_t token = -7;
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_event_originator_token(NULL));
    CHECK_OK(cbp_event_originator_token(&token));
    cbp_store_u64(&tokens[(event->sequence - 1) % CBP_BATCH_MAX], (uint64_t) token);
    cbp_add_u64(&seen.count, 1);
}

static void say_about(struct cbp_session *session, uint32_t process_id, uint64_t start_time,
                      uint32_t originator_id)
{
    char command[96];
    snprintf(command, sizeof command, "!about %u %llu %u", process_id, (unsigned long long) start_time,
             originator_id);
    test_command(session, command);
}

/* Whether the descriptor is a pidfd of this process, as the system shows it; closes it. */
static int is_token_of(int64_t token, pid_t process_id)
{
    char path[64], text[1024];
    long found = 0;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%lld", (long long) token);
    FILE *file = token >= 0 ? fopen(path, "r") : NULL;
    while (file && fgets(text, sizeof text, file))
        sscanf(text, "Pid: %ld", &found);
    if (file)
        fclose(file);
    CHECK(token < 0 || (fcntl((int) token, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(token < 0 || close((int) token) == 0);
    return file && found == process_id;
}

static void take_four_tokens(struct cbp_session *session)
{
    uint64_t before = cbp_load_u64(&seen.count);
    post(session, 1, 4, CBP_EVENT_FLAG_HELD, 0);
    WAIT_FOR(cbp_load_u64(&seen.count) == before + 4);
}

static pid_t start_child(void)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        pause();
        _exit(0);
    }
    return child;
}

static void end_child(pid_t child)
{
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
}

static void test_originator_token(void)
{
    int64_t token = -7;
    uint64_t start_time;
    pid_t subject = start_child(), caller = start_child();
    CHECK_OK(cbpi_process_start_time((uint32_t) subject, &start_time));
    memset(&seen, 0, sizeof seen);
    struct cbp_session *session = test_session(take_token, on_error, &seen);
    CHECK_OK(cbp_session_start(session, 0));
    CHECK_CODE(CBP_ERROR_NO_CALLBACK_ACTIVE, cbp_event_originator_token(&token));
    CHECK(token == -7);

    say_about(session, (uint32_t) subject, start_time, (uint32_t) caller);
    take_four_tokens(session);
    /* The second is a termination, whose originator is the process that ends. */
    for (int i = 0; i < CBP_BATCH_MAX; i++)
        CHECK(is_token_of(token_of(i), i == 1 ? subject : caller));

    say_about(session, (uint32_t) subject, start_time + 1,
              (uint32_t) subject); /* the number's former owner */
    take_four_tokens(session);
    say_about(session, (uint32_t) subject, start_time, 0); /* a caller that this process cannot see */
    for (int i = 0; i < CBP_BATCH_MAX; i++)
        CHECK(token_of(i) == -1);
    take_four_tokens(session);
    CHECK(token_of(0) == -1 && is_token_of(token_of(1), subject) && token_of(2) == -1 && token_of(3) == -1);

    end_child(caller);
    say_about(session, (uint32_t) subject, start_time, (uint32_t) caller);
    take_four_tokens(session);
    CHECK(token_of(0) == -1 && is_token_of(token_of(1), subject));
    CHECK_OK(cbp_session_destroy(session));
    end_child(subject);
}

/* ---- Rules that attach ---- */

static void nothing(struct cbp_event *event)
{
    (void) event;
}

static void refuse_attaching(struct cbp_session *session, uint32_t code)
{
    char command[32];
    snprintf(command, sizeof command, "!refuse %u", code);
    test_command(session, command);
}

static void test_refused_attaching(void)
{
    const uint32_t flags = CBP_RULE_FLAG_CHILDREN | CBP_RULE_FLAG_ATTACH;
    char number[32];
    pid_t child = start_child();
    struct cbp_session *session = test_session(nothing, on_error, &seen);
    snprintf(number, sizeof number, "process %d ", child);
    CHECK_OK(cbp_session_start(session, 0));
    refuse_attaching(session, CBP_ERROR_BUSY);
    CHECK_CODE(CBP_ERROR_BUSY, cbp_rule_add_process(session, (uint32_t) child, flags, CBP_ACTION_ASK, 0));
    CHECK(strstr(cbp_error_detail(), number) && strstr(cbp_error_detail(), "another tracer"));
    refuse_attaching(session, CBP_ERROR_ACCESS_DENIED);
    CHECK_CODE(CBP_ERROR_ACCESS_DENIED,
               cbp_rule_add_process(session, (uint32_t) child, flags, CBP_ACTION_ASK, 0));
    CHECK(strstr(cbp_error_detail(), number) && strstr(cbp_error_detail(), "CAP_SYS_PTRACE"));
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_rule_remove_process(session, (uint32_t) child, CBP_ACTION_ASK));
    CHECK(test_statistics(session).supervised == 0);
    CHECK_OK(cbp_rule_add_process(session, (uint32_t) child, CBP_RULE_FLAG_CHILDREN, CBP_ACTION_ASK, 0));
    CHECK_OK(cbp_session_destroy(session));
    end_child(child);
}

/* A rule from before the start that cannot be fulfilled fails the start; another session keeps the supervisor
 * that refuses. */
static void test_attaching_that_fails_the_start(void)
{
    uint32_t active = 2;
    pid_t child = start_child();
    struct cbp_session *keeper = test_session(nothing, on_error, &seen);
    struct cbp_session *session = test_session(nothing, on_error, &seen);
    CHECK_OK(cbp_session_set_config(keeper, "SerializeEvents", "1")); /* a known number of threads */
    CHECK_OK(cbp_session_start(keeper, 0));
    unsigned fds = test_count_entries("/proc/self/fd"), threads = test_count_entries("/proc/self/task");
    CHECK_OK(cbp_rule_add_name(session, "kept", 4, 0, CBP_ACTION_ASK, 0));
    CHECK_OK(cbp_rule_add_process(session, (uint32_t) child, CBP_RULE_FLAG_ATTACH, CBP_ACTION_DENY, 5));
    refuse_attaching(keeper, CBP_ERROR_BUSY);
    CHECK_CODE(CBP_ERROR_BUSY, cbp_session_start(session, 0));
    CHECK(strstr(cbp_error_detail(), "another tracer"));
    CHECK_OK(cbp_session_is_active(session, &active));
    CHECK(active == 0 && test_count_entries("/proc/self/fd") == fds);
    CHECK(test_count_entries("/proc/self/task") == threads);
    refuse_attaching(keeper, CBP_ERROR_INVALID_PARAMETER); /* means: there is no such process */
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_start(session, 0));
    end_child(child);
    CHECK_OK(cbp_session_start(session, 0)); /* what has ended is not attached to */
    CHECK_OK(cbp_session_destroy(session));
    CHECK_OK(cbp_session_destroy(keeper));
}

/* ---- What holds for one process ---- */

static uint32_t asked_in_handler;

static void ask_in_handler(struct cbp_event *event)
{
    uint32_t capabilities = 0;
    (void) event;
    CHECK_OK(cbp_session_process_capabilities(handled, 5, &capabilities));
    cbp_store_u32(&asked_in_handler, capabilities);
}

static void test_process_capabilities(void)
{
    uint32_t capabilities = 77;
    memset(&seen, 0, sizeof seen);
    struct cbp_session *session = handled = test_session(ask_in_handler, on_error, &seen);
    CHECK_CODE(CBP_ERROR_NOT_READY, cbp_session_process_capabilities(session, 3, &capabilities));
    CHECK_OK(cbp_session_start(session, 0));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_process_capabilities(session, 3, NULL));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_process_capabilities(NULL, 3, &capabilities));
    CHECK_CODE(CBP_ERROR_NOT_FOUND, cbp_session_process_capabilities(session, 1234, &capabilities));
    CHECK(strstr(cbp_error_detail(), "1234") && capabilities == 77);
    CHECK_OK(cbp_session_process_capabilities(session, 3, &capabilities));
    CHECK(capabilities == 48);
    post(session, 1, 1, CBP_EVENT_FLAG_HELD, 0);
    WAIT_FOR(cbp_load_u32(&asked_in_handler) == 80);
    pid_t child = test_fork(session);
    if (child == 0) {
        CHECK_CODE(CBP_ERROR_NOT_READY, cbp_session_process_capabilities(session, 3, &capabilities));
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK_OK(cbp_session_stop(session, 0));
    CHECK_CODE(CBP_ERROR_NOT_READY, cbp_session_process_capabilities(session, 3, &capabilities));
    CHECK_OK(cbp_session_destroy(session));
}

int main(void)
{
    alarm(60);
    test_use_fake_supervisor();
    test_access_begins_as_rules_left_it();
    test_access_cannot_be_given_back();
    test_deferred_access();
    test_access_of_unseen_items();
    test_originator_token();
    test_refused_attaching();
    test_attaching_that_fails_the_start();
    test_process_capabilities();
    return 0;
}
