/* Lets every call of the system fail once that installing and uninstalling make, one after the other:
 *
 *     fault_steps CAB CAB_OF_A_NEWER_VERSION
 *
 * What fails must leave the machine as it was, and say so with a code; what succeeds nevertheless must have done
 * all of it. Runs under Wine, in a prefix of its own. Prints a line for each call. */
#include "faults.h"
#include "state.h"

#include "driver_service.h"
#include "errors.h"
#include "installation_kernel.h"

#include <stdio.h>
#include <string.h>

#define GUID_A "{0F5D9C5B-6B8F-4B9C-9E59-0B8C8A3B6B10}"
#define GUID_A_IN_SMALL "{0f5d9c5b-6b8f-4b9c-9e59-0b8c8a3b6b10}"
#define GUID_B "{713CC6CE-B3E2-4fd9-838D-E28F558F6866}"
#define CALLS_MAX 500

static int calls, failing_call;
static const char *failed_name;
static int failures;

bool package_fault(const char *name, DWORD os_error)
{
    if (++calls != failing_call)
        return false;
    failed_name = name;
    SetLastError(os_error);
    return true;
}

static void check(bool is_right, const char *what)
{
    if (is_right)
        return;
    failures++;
    printf("  FAILED: %s\n", what);
}

/* An attempt is one call of the library, and the state that it has to leave if it succeeds. */
struct attempt {
    const char *name;
    void (*prepare)(void);
    bool is_removal;
    struct cbpi_installation_request request;
};

static const char *first_cab, *newer_cab;

static uint32_t run(const struct attempt *attempt, bool *must_reboot)
{
    const struct cbpi_installation_ops *ops = &cbpi_kernel_installation_ops;
    return (attempt->is_removal ? ops->uninstall : ops->install)(&attempt->request, must_reboot);
}

static void must(uint32_t error, const char *what)
{
    if (error == 0)
        return;
    printf("%s: error %u: %s\n", what, (unsigned) error, cbp_error_detail());
    fflush(stdout);
    ExitProcess(2);
}

static void install_for(const char *guid, const char *cab)
{
    struct cbpi_installation_request request = {guid, cab, "", 0};
    bool must_reboot;
    must(cbpi_kernel_installation_ops.install(&request, &must_reboot), "preparing");
}

/* A driver that was uninstalled while it ran goes when it stops. */
static void stop_driver(void)
{
    SERVICE_STATUS status;
    SC_HANDLE manager = OpenSCManagerW(NULL, NULL, SC_MANAGER_CONNECT);
    SC_HANDLE service = OpenServiceW(manager, CBPI_DRIVER_SERVICE, SERVICE_STOP);
    if (service) {
        ControlService(service, SERVICE_CONTROL_STOP, &status);
        CloseServiceHandle(service);
    }
    CloseServiceHandle(manager);
}

static void remove_all(void)
{
    static const char *const guids[] = {GUID_A, GUID_B};
    bool must_reboot;
    failing_call = 0;
    stop_driver();
    for (unsigned i = 0; i < 2; i++) {
        struct cbpi_installation_request request = {guids[i], "", "", CBP_UNINSTALL_VERSION_ALL};
        cbpi_kernel_installation_ops.uninstall(&request, &must_reboot);
    }
}

static void nothing(void)
{
}

static void first(void)
{
    install_for(GUID_A, first_cab);
}

static void two_products(void)
{
    install_for(GUID_A, first_cab);
    install_for(GUID_B, first_cab);
}

/* Says whether the state has every line of the wanted one. What it has beside them are old files, which the
 * next start of the system removes, or the next upgrade. */
static bool has_all(const char *state, const char *wanted)
{
    char line[4096];
    for (size_t size; *wanted; wanted += size) {
        size = strcspn(wanted, "\n") + 1;
        snprintf(line, sizeof line, "%.*s", (int) size, wanted);
        if (!strstr(state, line))
            return false;
    }
    return true;
}

/* Checks what a call has left that succeeded although something failed in it. */
static void check_success(const struct attempt *attempt, const char *after, const char *wanted,
                          bool must_reboot)
{
    if (attempt->is_removal)
        check(!strstr(after, GUID_A), "the product is still there");
    else if (must_reboot)
        check(strstr(after, "AwaitsRestart"), "nothing says that a restart is needed");
    else
        check(has_all(after, wanted), "it is not all done");
}

/* Lets one call fail, and says whether there was one with that number. */
static bool try_failure(const struct attempt *attempt, const char *wanted)
{
    bool must_reboot = false;
    failed_name = NULL;
    char *before = state_read();
    calls = 0;
    uint32_t error = run(attempt, &must_reboot);
    int number = failing_call, known = failures;
    failing_call = 0;
    char *after = state_read();
    if (failed_name) {
        printf("%s: %d %s -> %u%s\n", attempt->name, number, failed_name, (unsigned) error,
               must_reboot ? ", restart" : "");
        if (error == 0) {
            check_success(attempt, after, wanted, must_reboot);
        } else {
            check(strcmp(after, before) == 0, "the machine is not as it was");
            check(*cbp_error_detail(), "the error has no sentence");
        }
        if (failures > known)
            printf("--- before\n%s--- wanted\n%s--- after\n%s", before, wanted, after);
    }
    free(before);
    free(after);
    return failed_name;
}

static void try_all(const struct attempt *attempt)
{
    bool must_reboot;
    remove_all();
    attempt->prepare();
    must(run(attempt, &must_reboot), attempt->name);
    char *wanted = state_read();
    for (int number = 1; number < CALLS_MAX; number++) {
        remove_all();
        attempt->prepare();
        failing_call = number;
        if (!try_failure(attempt, wanted))
            break;
    }
    printf("%s: each of %d calls has failed once\n", attempt->name, calls);
    check(calls > 5 && calls < CALLS_MAX - 1, "the number of calls");
    free(wanted);
    remove_all();
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    setvbuf(stdout, NULL, _IONBF, 0);
    first_cab = arguments[1];
    newer_cab = arguments[2];
    const struct attempt attempts[] = {
        {"install", nothing, false, {GUID_A, first_cab, "", 0}},
        {"install once more", first, false, {GUID_A_IN_SMALL, first_cab, "", 0}},
        {"second product", first, false, {GUID_B, first_cab, "", CBP_INSTALL_KEEP_START_TYPE}},
        {"upgrade", first, false, {GUID_B, newer_cab, "", CBP_INSTALL_REMOVE_OLD_VERSIONS}},
        {"remove one of two", two_products, true, {GUID_A, "", "", CBP_UNINSTALL_VERSION_CURRENT}},
        {"remove the last", first, true, {GUID_A, "", "", CBP_UNINSTALL_VERSION_ALL}},
    };
    for (unsigned i = 0; i < sizeof attempts / sizeof attempts[0]; i++)
        try_all(&attempts[i]);
    printf("%d failures\n", failures);
    return failures != 0;
}
