/* What concerns the machine: a driver's status and installation, shutdown (through the hook: nothing here
 * shuts anything down), the log, and the altitude setting. */
#include "platform.h"
#include "support.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static uint64_t event_count;
static uint32_t codes_in_handler[8];

static void on_event(struct cbp_event *event)
{
    (void) event;
    cbp_add_u64(&event_count, 1);
}

static void test_driver_status_and_version(void)
{
    unsigned major, minor, patch;
    uint32_t status = 99;
    uint64_t version = 99;
    CHECK(sscanf(cbp_version(), "%u.%u.%u", &major, &minor, &patch) == 3);
    uint64_t own = (uint64_t) major << 48 | (uint64_t) minor << 32 | (uint64_t) patch << 16;
    CHECK_OK(cbp_driver_status(GUID, "auto", &status));
    CHECK(status == CBP_MODULE_STATUS_RUNNING);
    CHECK_OK(cbp_driver_version(GUID, "ptrace", &version));
    CHECK(version == own);
    CHECK_OK(cbp_driver_status(GUID, "kernel", &status));
    CHECK(status == CBP_MODULE_STATUS_NOT_PRESENT);
    CHECK_OK(cbp_driver_version(GUID, "kernel", &version));
    CHECK(version == 0);
    status = 99;
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_driver_status("{}", "auto", &status));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_driver_status(NULL, "auto", &status));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_driver_status(GUID, "nosuch", &status));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_driver_status(GUID, NULL, &status));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_driver_version(GUID, "auto", NULL));
    CHECK(status == 99);
}

static void test_installation(void)
{
    uint32_t must_reboot = 99;
    CHECK_OK(cbp_driver_install(GUID, "ptrace", "driver.cab", NULL, 3, &must_reboot));
    CHECK(must_reboot == 0);
    must_reboot = 99;
    CHECK_OK(cbp_driver_install(GUID, "auto", NULL, "", 0x70007, &must_reboot));
    CHECK(must_reboot == 0);
    must_reboot = 99;
    CHECK_OK(cbp_driver_uninstall(GUID, "auto", NULL, NULL, CBP_UNINSTALL_VERSION_ALL, &must_reboot));
    CHECK(must_reboot == 0);
    must_reboot = 99;
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_driver_install(GUID, "auto", "", "", 8, &must_reboot));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_driver_uninstall(GUID, "auto", "", "", 4, &must_reboot));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_driver_install("x", "auto", "", "", 0, &must_reboot));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_driver_install(GUID, "auto", "", "", 0, NULL));
    CHECK_CODE(CBP_ERROR_NOT_SUPPORTED, cbp_driver_install(GUID, "kernel", "", "", 0, &must_reboot));
    CHECK_CODE(CBP_ERROR_NOT_SUPPORTED, cbp_driver_uninstall(GUID, "kernel", "", "", 1, &must_reboot));
    CHECK(must_reboot == 99);
}

static char seen_arguments[256];
static uint32_t run_count, run_code, run_status;

static uint32_t record_run(const char *const arguments[], uint32_t *exit_status)
{
    run_count++;
    seen_arguments[0] = '\0';
    for (; *arguments; arguments++) {
        strcat(seen_arguments, *arguments);
        strcat(seen_arguments, "|");
    }
    *exit_status = run_status;
    return run_code;
}

/* What the system was asked, without the path of the program. */
static void expect_shutdown(const char *wanted, const char *prompt, uint32_t timeout_s, uint32_t force,
                            uint32_t reboot)
{
    uint32_t initiated = 99, count = run_count;
    CHECK_OK(cbp_system_shutdown(prompt, timeout_s, force, reboot, &initiated));
    CHECK(initiated == 1 && run_count == count + 1);
    CHECK(seen_arguments[0] == '/');
    CHECK(strcmp(strchr(seen_arguments, '|'), wanted) == 0);
}

static void test_shutdown(void)
{
    uint32_t initiated = 99;
    expect_shutdown("|-h|--|now|", NULL, 0, 0, 0);
    expect_shutdown("|-r|--|now|", "", 600, 1, 1); /* nobody is told, so nobody is waited for */
    expect_shutdown("|-h|--|now|-x bye|", "-x bye", 0, 0, 0);
    expect_shutdown("|-r|--|+1|bye|", "bye", 1, 0, 1);
    expect_shutdown("|-h|--|+2|bye|", "bye", 120, 0, 0);
    expect_shutdown("|-h|--|+71582789|bye|", "bye", UINT32_MAX, 0, 0);

    run_status = 1;
    CHECK_OK(cbp_system_shutdown("", 0, 0, 0, &initiated));
    CHECK(initiated == 0);
    run_status = 0;
    run_code = CBP_ERROR_FILE_NOT_FOUND;
    CHECK_OK(cbp_system_shutdown("", 0, 0, 0, &initiated));
    CHECK(initiated == 0);
    run_code = 0;

    uint32_t count = run_count;
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_system_shutdown("", 0, 2, 0, &initiated));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_system_shutdown("", 0, 0, 2, &initiated));
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_system_shutdown("", 0, 0, 0, NULL));
    CHECK(run_count == count);
}

static void on_event_calls(struct cbp_event *event)
{
    struct cbp_session *idle = *(struct cbp_session **) (uintptr_t) event->context;
    uint32_t number;
    uint64_t version;
    uint32_t codes[] = {
        cbp_driver_status(GUID, "auto", &number),
        cbp_driver_version(GUID, "auto", &version),
        cbp_driver_install(GUID, "auto", "", "", 0, &number),
        cbp_driver_uninstall(GUID, "auto", "", "", 1, &number),
        cbp_system_shutdown("", 0, 0, 0, &number),
        cbp_session_set_config(idle, "SerializeEvents", "1"),
        cbp_session_set_config(idle, "WorkerInitialStackSize", "0"),
        cbp_session_set_config(idle, "Driver", "auto"),
    };
    for (int i = 0; i < 8; i++)
        cbp_store_u32(&codes_in_handler[i], codes[i]);
    cbp_add_u64(&event_count, 1);
}

static void test_what_a_handler_must_not_do(void)
{
    struct cbp_session *idle =
        test_session(on_event, NULL, NULL); /* inactive: it is the handler that forbids */
    struct cbp_session *session = test_session(on_event_calls, NULL, &idle);
    uint32_t count = run_count;
    CHECK_OK(cbp_session_start(session, 0));
    cbp_store_u64(&event_count, 0);
    test_command(session, "!post 1 1 0 0");
    WAIT_FOR(cbp_load_u64(&event_count) == 1);
    for (int i = 0; i < 8; i++)
        CHECK(cbp_load_u32(&codes_in_handler[i]) == CBP_ERROR_POSSIBLE_DEADLOCK);
    CHECK(run_count == count);
    CHECK_OK(cbp_session_destroy(session));
    CHECK_OK(cbp_session_destroy(idle));
}

static void expect_config(struct cbp_session *session, const char *name, const char *wanted)
{
    char text[64];
    CHECK_OK(cbp_session_get_config(session, name, text, sizeof text, NULL));
    CHECK(strcmp(text, wanted) == 0);
}

static void test_altitude(void)
{
    static const char *const values[][2] = {{"1", "1"},
                                            {"0400055.10", "400055.1"},
                                            {"4294967295.999999999", "4294967295.999999999"},
                                            {"0.000000001", "0.000000001"},
                                            {"200000.0", "200000"}};
    static const char *const wrong[] = {"",
                                        "0",
                                        "0.0",
                                        "-1",
                                        "+1",
                                        "1.",
                                        ".5",
                                        "1.0000000000",
                                        "4294967296",
                                        "1e3",
                                        " 1",
                                        "1 ",
                                        "18446744073709551617",
                                        "x",
                                        "1.2.3"};
    struct cbp_session *session = test_session(on_event, NULL, NULL);
    expect_config(session, "Altitude", "400055");
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        CHECK_OK(cbp_session_set_config(session, "altitude", values[i][0]));
        expect_config(session, "Altitude", values[i][1]);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_set_config(session, "Altitude", wrong[i]));
    expect_config(session, "Altitude", "200000");
    expect_config(session, "StrictAltitude", "False");
    CHECK_OK(cbp_session_set_config(session, "StrictAltitude", "yes"));
    expect_config(session, "StrictAltitude", "True");
    CHECK_OK(cbp_session_destroy(session));
}

static void expect_line(int fd, const char *part)
{
    char line[2048];
    ssize_t size =
        recv(fd, line, sizeof line - 1, 0); /* a line that is missing hangs until the test's limit */
    CHECK(size > 0);
    line[size] = '\0';
    CHECK(strncmp(line, "<14>cbprocess[", 14) == 0);
    if (!strstr(line, part))
        fprintf(stderr, "not in it: %s: %s\n", part, line);
    CHECK(strstr(line, part));
}

static int bind_log(const char *folder)
{
    static struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s/log", folder);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *) &address, sizeof address) == 0);
    cbpi_log_address = address.sun_path;
    return fd;
}

static void test_logging(void)
{
    char folder[] = "/tmp/cbprocess-test.XXXXXX", settings[64], path[96], line[8];
    CHECK(mkdtemp(folder));
    snprintf(settings, sizeof settings, "%s/made", folder);
    snprintf(path, sizeof path, "%s/logging", settings);
    CHECK(setenv("CBPROCESS_CONFIG_DIR", settings, 1) == 0);
    int fd = bind_log(folder);
    struct cbp_session *session = test_session(on_event, NULL, NULL);
    expect_config(session, "LoggingEnabled", "False");
    CHECK_OK(cbp_session_start(session, 0)); /* not logged */
    CHECK_OK(cbp_session_stop(session, 0));

    CHECK_OK(cbp_session_set_config(session, "loggingenabled", "Yes"));
    expect_config(session, "LoggingEnabled", "True");
    FILE *file = fopen(path, "r"); /* it is kept */
    CHECK(file && fgets(line, sizeof line, file) && strcmp(line, "1\n") == 0);
    fclose(file);
    CHECK_OK(cbp_session_start(session, 3000));
    CHECK_OK(cbp_session_stop(session, 0));
    expect_line(fd, GUID " the filter is active: driver ptrace, timeout 3000 ms, events 0x3f");
    expect_line(fd, GUID " the filter has stopped: 0 delivered, 0 lost, 0 timed out, 0 refused");
    CHECK_CODE(CBP_ERROR_INVALID_PARAMETER, cbp_session_set_config(session, "LoggingEnabled", "maybe"));

    CHECK_OK(cbp_session_set_config(session, "LoggingEnabled", "0"));
    expect_config(session, "LoggingEnabled", "False");
    CHECK_OK(cbp_session_start(session, 0));
    CHECK_OK(cbp_session_destroy(session));
    CHECK(recv(fd, line, sizeof line, MSG_DONTWAIT) < 0 && errno == EAGAIN);
    close(fd);
    CHECK(unlink(path) == 0 && rmdir(settings) == 0);
    CHECK(unlink(cbpi_log_address) == 0 && rmdir(folder) == 0);
}

static void test_logging_without_the_right_to_it(void)
{
    struct cbp_session *session = test_session(on_event, NULL, NULL);
    CHECK(setenv("CBPROCESS_CONFIG_DIR", "/proc/cbprocess-test", 1) == 0); /* not even root can make it */
    uint32_t code = cbp_session_set_config(session, "LoggingEnabled", "True");
    CHECK(code == CBP_ERROR_PRIVILEGE_NOT_HELD || code == CBP_ERROR_GEN_FAILURE);
    if (geteuid() != 0) {
        CHECK(setenv("CBPROCESS_CONFIG_DIR", "/etc", 1) == 0);
        CHECK_CODE(CBP_ERROR_PRIVILEGE_NOT_HELD, cbp_session_set_config(session, "LoggingEnabled", "True"));
    }
    expect_config(session, "LoggingEnabled", "False");
    CHECK(unsetenv("CBPROCESS_CONFIG_DIR") == 0);
    CHECK_OK(cbp_session_destroy(session));
}

int main(void)
{
    cbpi_shutdown_run = record_run; /* first of all: nothing may shut down */
    test_use_fake_helper();
    test_driver_status_and_version();
    test_installation();
    test_shutdown();
    test_what_a_handler_must_not_do();
    test_altitude();
    test_logging();
    test_logging_without_the_right_to_it();
    return 0;
}
