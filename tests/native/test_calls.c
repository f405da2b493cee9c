/* The calls that need no running filter, and the launch conversation against a scripted helper. */
#include "support.h"

#include "cbp_message_check.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

static void on_event(struct cbp_event *event)
{
    (void) event;
}

static const char *config_of(struct cbp_session *session, const char *name)
{
    static char text[512];
    CHECK_OK(cbp_session_get_config(session, name, text, sizeof text, NULL));
    return text;
}

/* A value that is accepted, and what is read back. */
static void accept_value(struct cbp_session *session, const char *name, const char *value, const char *shown)
{
    CHECK_OK(cbp_session_set_config(session, name, value));
    CHECK(strcmp(config_of(session, name), shown) == 0);
}

static void test_config_values(void)
{
    struct cbp_session *session = test_session(on_event, NULL, NULL);
    CHECK(strcmp(config_of(session, "EventsToFire"), "-1") == 0);
    accept_value(session, "EVENTSTOFIRE", "0x3F", "63");
    accept_value(session, "EventsToFire", "0", "0");
    accept_value(session, "EventsToFire", "4294967295", "-1");
    accept_value(session, "FilterOwnRequests", "YES", "True");
    accept_value(session, "FilterOwnRequests", "0", "False");
    accept_value(session, "ForkIsCreation", "true", "True");
    accept_value(session, "MinWorkerThreadCount", "1024", "1024");
    accept_value(session, "MaxWorkerThreadCount", "0x10", "16");
    accept_value(session, "WorkerInitialStackSize", "1073741824", "1073741824");
    accept_value(session, "SerializeEvents", "1", "1");
    accept_value(session, "Driver", "PTrace", "ptrace");
    accept_value(session, "Driver", "auto", "auto");
    accept_value(session, "TimeoutAction", "Deny", "deny");
    accept_value(session, "RefuseWith", "kill", "kill");
    CHECK(strstr(config_of(session, "BuildInfo"), CBP_VERSION) != NULL);
    CHECK(strstr(config_of(session, "buildinfo"), " ptrace") != NULL);

    static const char *const bad[][2] = {
        {"NoSuchSetting", "1"},
        {"BuildInfo", "1"},
        {"EventsToFire", "64"},
        {"EventsToFire", "-2"},
        {"EventsToFire", ""},
        {"EventsToFire", "0x"},
        {"EventsToFire", " 1"},
        {"EventsToFire", "4294967296"},
        {"FilterOwnRequests", "maybe"},
        {"FilterOwnRequests", ""},
        {"MinWorkerThreadCount", "-1"},
        {"MinWorkerThreadCount", "1025"},
        {"MaxWorkerThreadCount", "1a"},
        {"WorkerInitialStackSize", "1073741825"},
        {"SerializeEvents", "2"},
        {"Driver", "quick"},
        {"TimeoutAction", "2"},
        {"ReplaySpeed", "1"},
        {"Driver", "1"},
        {"RefuseWith", "signal"},
        {"MinWorkerThreadCount", "99999999999999999999999999999999"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_set_config(session, bad[i][0], bad[i][1]));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_set_config(session, NULL, "1"));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_set_config(session, "Driver", NULL));
    CHECK_CODE(CBP_ERROR_NOT_SUPPORTED, cbp_session_set_config(session, "Driver", "kernel"));
    CHECK(strcmp(config_of(session, "EventsToFire"), "-1") == 0); /* nothing half done */

    char small[4] = "xyz";
    uint64_t needed = 0;
    CHECK_CODE(CBP_ERROR_INSUFFICIENT_BUFFER,
               cbp_session_get_config(session, "Driver", small, sizeof small, &needed));
    CHECK(needed == 5 && strcmp(small, "xyz") == 0);
    CHECK_CODE(CBP_ERROR_INSUFFICIENT_BUFFER, cbp_session_get_config(session, "Driver", NULL, 0, &needed));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_get_config(session, "Nothing", small, 4, &needed));
    CHECK_OK(cbp_session_destroy(session));
}

static void test_texts(void)
{
    CHECK(strcmp(cbp_version(), CBP_VERSION) == 0);
    CHECK(strcmp(cbp_error_message(5), "Access is denied.") == 0);
    CHECK(strcmp(cbp_error_message(12345), "unknown error") == 0);
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_stop(NULL, 0));
    CHECK(strlen(cbp_error_detail()) > 0);
}

static void test_abi_rows(void)
{
    uint32_t count = 0, fields = 0, end = 0;
    const struct cbp_abi_row *rows = cbp_abi_rows(&count);
    const struct cbp_abi_row *structure = NULL;
    CHECK(count > 200);
    for (uint32_t i = 0; i < count; i++) {
        if (strcmp(rows[i].kind, "struct") == 0) {
            CHECK(!structure || end == structure->size); /* no padding at a structure's end */
            structure = &rows[i];
            end = 0;
        } else if (strcmp(rows[i].kind, "field") == 0) {
            CHECK(structure && strcmp(rows[i].owner, structure->name) == 0);
            CHECK(rows[i].offset == end); /* nor between fields */
            end += rows[i].size;
            fields++;
        } else {
            CHECK(strcmp(rows[i].kind, "const") == 0 && rows[i].text[0] != '\0');
            if (strcmp(rows[i].name, "PROC_EVT_ALL") == 0)
                CHECK(rows[i].offset == UINT32_MAX && strcmp(rows[i].owner, "event") == 0);
        }
    }
    CHECK(structure && end == structure->size && fields > 100);
}

static void test_patterns_and_messages(void)
{
    static _Alignas(8) struct cbp_hello hello = {.header = {.size = sizeof hello, .type = CBP_MESSAGE_HELLO}};
    unsigned char shifted[sizeof hello + 1];
    uint32_t matches = 7;
    CHECK_OK(cbp_pattern_match("p*", 2, "/bin/ps", 7, &matches));
    CHECK(matches == 1);
    CHECK_OK(cbp_pattern_match("/p*", 3, "/bin/ps", 7, &matches));
    CHECK(matches == 0);
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_pattern_match("", 0, "a", 1, &matches));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER,
               cbp_pattern_match("a", CBP_PATTERN_SIZE_MAX + 1, "a", 1, &matches));
    CHECK_OK(cbp_message_validate(&hello, sizeof hello, CBP_MESSAGE_HELLO));
    CHECK_CODE(CBP_ERROR_INVALID_DATA, cbp_message_validate(&hello, sizeof hello - 1, CBP_MESSAGE_HELLO));
    CHECK_CODE(CBP_ERROR_INVALID_DATA, cbp_message_validate(&hello, sizeof hello, CBP_MESSAGE_REPLY));
    CHECK_CODE(CBP_ERROR_INVALID_DATA, cbp_message_validate(&hello, sizeof hello, 9999));
    CHECK_CODE(CBP_ERROR_INVALID_DATA, cbp_message_validate(NULL, 0, CBP_MESSAGE_HELLO));
    memcpy(shifted + 1, &hello, sizeof hello);
    CHECK_OK(cbp_message_validate(shifted + 1, sizeof hello, CBP_MESSAGE_HELLO));
}

static void test_process_names(void)
{
    char name[PATH_MAX], own[PATH_MAX + 64];
    uint64_t needed;
    strcpy(own, test_program("test_calls"));
    CHECK_OK(cbp_process_name((uint32_t) getpid(), name, sizeof name, &needed));
    CHECK(strcmp(name, own) == 0 && needed == strlen(own) + 1);
    CHECK_OK(cbp_process_name(0x7fffffff, name, sizeof name, &needed));
    CHECK(name[0] == '\0' && needed == 1);
    CHECK_CODE(CBP_ERROR_INSUFFICIENT_BUFFER, cbp_process_name((uint32_t) getpid(), name, 2, &needed));
}

static void test_probe(void)
{
    char reason[200] = "x";
    uint32_t capabilities = 1;
    CHECK_OK(cbp_driver_probe("kernel", &capabilities, reason, sizeof reason));
    CHECK(capabilities == 0 && strstr(reason, "not part of this build"));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_driver_probe("best", &capabilities, reason, sizeof reason));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_driver_probe(NULL, &capabilities, reason, sizeof reason));
    CHECK_OK(cbp_driver_probe("auto", &capabilities, reason, 0));
    CHECK_OK(cbp_driver_probe("ptrace", &capabilities, reason, 8)); /* cut if need be */
    CHECK(strlen(reason) < 8);
}

/* ---- Launches ---- */

static int32_t begin_launch(struct cbp_session *session, uint32_t ask, struct cbp_launch_handle **launch)
{
    int32_t fd = -1;
    CHECK_OK(cbp_launch_begin(session, "prog", "/bin/prog\0/usr/bin/prog", 24, ask, &fd, launch));
    CHECK(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    return fd;
}

/* What the launcher program does, without executing anything. */
static void play_launcher(int fd, uint32_t helper_process_id)
{
    static _Alignas(8) unsigned char bytes[4096];
    struct cbp_launch_target *target = (struct cbp_launch_target *) (void *) bytes;
    struct cbp_launch_ready ready = {.header = {.size = sizeof ready, .type = CBP_MESSAGE_LAUNCH_READY}};
    struct cbp_launch_go go;
    ssize_t size = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    CHECK(size > 0 && cbpd_message_check(bytes, (size_t) size, CBP_MESSAGE_LAUNCH_TARGET) == 0);
    CHECK(target->argument_size == 5 && strcmp((char *) bytes + target->argument_offset, "prog") == 0);
    CHECK(target->paths_size == 24);
    CHECK(memcmp(bytes + target->paths_offset, "/bin/prog\0/usr/bin/prog", 24) == 0);
    CHECK(target->helper_process_id == helper_process_id);
    CHECK(send(fd, &ready, sizeof ready, 0) == sizeof ready);
    CHECK(recv(fd, &go, sizeof go, 0) == sizeof go);
    CHECK(cbpd_message_check(&go, sizeof go, CBP_MESSAGE_LAUNCH_GO) == 0);
}

static uint32_t helper_process_id;

static void on_settings(struct cbp_event *event)
{
    cbp_store_u32(&helper_process_id, event->user_id);
}

static void test_launch(void)
{
    uint32_t os_error = 99;
    int32_t fd;
    struct cbp_launch_handle *launch;
    struct cbp_session *session = test_session(on_settings, NULL, NULL);
    CHECK_CODE(CBP_ERROR_NOT_READY, cbp_launch_begin(session, "a", "a", 2, 1, &fd, &launch));
    CHECK_OK(cbp_session_start(session, 0));
    unsigned fds = test_count_entries("/proc/self/fd");
    test_command(session, "!settings");
    WAIT_FOR(cbp_load_u32(&helper_process_id) != 0);

    fd = begin_launch(session, 1, &launch);
    int inherited = dup(fd); /* as a launcher would have it */
    play_launcher(inherited, cbp_load_u32(&helper_process_id));
    CHECK_OK(cbp_launch_finish(launch, 1, 0, &os_error));
    CHECK(os_error == 0);
    close(inherited);

    test_command(session, "!launch 0 13");
    fd = begin_launch(session, 0, &launch);
    inherited = dup(fd);
    play_launcher(inherited, cbp_load_u32(&helper_process_id));
    CHECK_OK(cbp_launch_finish(launch, 1, 5000, &os_error));
    CHECK(os_error == 13);
    close(inherited);

    test_command(session, "!launch 170 0");
    fd = begin_launch(session, 0, &launch);
    inherited = dup(fd);
    play_launcher(inherited, cbp_load_u32(&helper_process_id));
    CHECK_CODE(CBP_ERROR_BUSY, cbp_launch_finish(launch, 1, 0, &os_error));
    CHECK(os_error == 13); /* written on success only */
    close(inherited);
    CHECK(test_count_entries("/proc/self/fd") == fds);
    CHECK_OK(cbp_session_destroy(session));
}

static void test_launches_that_fail(void)
{
    uint32_t os_error = 99;
    int32_t fd;
    struct cbp_launch_handle *launch;
    struct cbp_session *session = test_session(on_event, NULL, NULL);
    CHECK_OK(cbp_session_start(session, 0));
    unsigned fds = test_count_entries("/proc/self/fd");
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_launch_begin(session, NULL, "a", 2, 1, &fd, &launch));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_launch_begin(session, "a", "a", 1, 1, &fd, &launch));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_launch_begin(session, "a", "a", 2, 2, &fd, &launch));
    char *huge = calloc(1, 8u << 20);
    CHECK(huge);
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_launch_begin(session, "a", huge, 8u << 20, 1, &fd, &launch));
    free(huge);

    begin_launch(session, 1, &launch); /* never started */
    CHECK_OK(cbp_launch_finish(launch, 0, 0, NULL));
    begin_launch(session, 1, &launch); /* the launcher died: nobody holds its end any more */
    CHECK_CODE(CBP_ERROR_BROKEN_PIPE, cbp_launch_finish(launch, 1, 0, &os_error));

    fd = begin_launch(session, 1, &launch); /* a launcher that takes its time */
    int inherited = dup(fd);
    uint64_t begin_ms = test_now_ms();
    CHECK_CODE(CBP_ERROR_TIMEOUT, cbp_launch_finish(launch, 1, 30, &os_error));
    CHECK(test_now_ms() - begin_ms >= 25);
    close(inherited);
    CHECK_CODE(CBP_ERROR_BROKEN_PIPE, cbp_launch_finish(launch, 1, 5000, &os_error));

    test_command(session, "!launch 21 0"); /* the helper closes without a word */
    fd = begin_launch(session, 1, &launch);
    inherited = dup(fd);
    struct cbp_launch_ready ready = {.header = {.size = sizeof ready, .type = CBP_MESSAGE_LAUNCH_READY}};
    CHECK(send(inherited, &ready, sizeof ready, 0) == sizeof ready);
    CHECK_CODE(CBP_ERROR_BROKEN_PIPE, cbp_launch_finish(launch, 1, 0, &os_error));
    close(inherited);
    CHECK(os_error == 99 && test_count_entries("/proc/self/fd") == fds);

    fd = begin_launch(session, 1, &launch);
    pid_t child = test_fork(session);
    if (child == 0) {
        CHECK_CODE(CBP_ERROR_NOT_READY, cbp_launch_finish(launch, 1, 0, &os_error));
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK_OK(cbp_launch_finish(launch, 0, 0, NULL));
    CHECK_OK(cbp_session_destroy(session));
}

/* ---- Limits ---- */

/* Lets this process have no descriptor more than it has; gives what it could have before. */
static rlim_t forbid_descriptors(void)
{
    struct rlimit limit;
    int lowest_free = dup(0); /* whatever is above it is in use below a limit that it equals */
    CHECK(lowest_free >= 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0);
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = (rlim_t) lowest_free;
    close(lowest_free);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    return before;
}

static void allow_descriptors(rlim_t count)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = count;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static void test_no_descriptors_left(void)
{
    int32_t fd = -7;
    struct cbp_launch_handle *launch = NULL;
    struct cbp_session *session = test_session(on_event, NULL, NULL);
    unsigned fds = test_count_entries("/proc/self/fd"), threads = test_count_entries("/proc/self/task");
    rlim_t before = forbid_descriptors();
    uint32_t code = cbp_session_start(session, 0);
    allow_descriptors(before);
    CHECK(code == CBP_ERROR_TOO_MANY_OPEN_FILES && strstr(cbp_error_detail(), "RLIMIT_NOFILE"));
    CHECK(test_count_entries("/proc/self/fd") == fds && test_count_entries("/proc/self/task") == threads);

    CHECK_OK(cbp_session_start(session, 0));
    fds = test_count_entries("/proc/self/fd");
    before = forbid_descriptors();
    code = cbp_launch_begin(session, "a", "a", 2, 1, &fd, &launch);
    allow_descriptors(before);
    CHECK(code == CBP_ERROR_TOO_MANY_OPEN_FILES && strstr(cbp_error_detail(), "RLIMIT_NOFILE"));
    CHECK(fd == -7 && !launch && test_count_entries("/proc/self/fd") == fds);
    begin_launch(session, 1, &launch);
    CHECK_OK(cbp_launch_finish(launch, 0, 0, NULL));
    CHECK_OK(cbp_session_destroy(session));
}

int main(void)
{
    alarm(60);
    test_use_fake_helper();
    test_texts();
    test_config_values();
    test_abi_rows();
    test_patterns_and_messages();
    test_process_names();
    test_probe();
    test_launch();
    test_launches_that_fail();
    test_no_descriptors_left();
    return 0;
}
