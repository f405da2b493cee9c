/* Asks shutdown(8), which every init system brings, to shut the machine down. */
#include "errors.h"
#include "platform.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS_PER_MINUTE 60u

/* PATH does not count: this runs with the rights to shut machines down. */
static const char *const programs[] = {"/usr/sbin/shutdown", "/sbin/shutdown", "/usr/bin/shutdown"};

static uint32_t run(const char *const arguments[], uint32_t *exit_status)
{
    static char *const environment[] = {NULL};
    pid_t child, waited;
    int status;
    int error =
        posix_spawn(&child, arguments[0], NULL, NULL, (char *const *) (uintptr_t) arguments, environment);
    if (error != 0)
        return cbpi_fail(CBP_ERROR_FILE_NOT_FOUND, "%s: %s", arguments[0], strerror(error));
    while ((waited = waitpid(child, &status, 0)) < 0 && errno == EINTR)
        continue;
    if (waited < 0)
        status = 0; /* the controller ignores SIGCHLD, so nobody can know; but it has run */
    *exit_status = WIFEXITED(status) ? (uint32_t) WEXITSTATUS(status) : 128u + (uint32_t) WTERMSIG(status);
    return 0;
}

uint32_t (*cbpi_shutdown_run)(const char *const arguments[], uint32_t *exit_status) = run;

static const char *find_program(void)
{
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++)
        if (access(programs[i], X_OK) == 0)
            return programs[i];
    return programs[0];
}

uint32_t cbpi_shutdown_ask(const struct cbpi_shutdown *request)
{
    char when[16] = "now";
    uint32_t exit_status, minutes = request->timeout_s / SECONDS_PER_MINUTE;
    minutes += request->timeout_s % SECONDS_PER_MINUTE != 0;
    if (minutes != 0)
        snprintf(when, sizeof when, "+%u", (unsigned) minutes);
    /* A prompt that looks like an option is still the prompt: options end before the time. */
    const char *const arguments[] = {
        find_program(), request->reboot ? "-r" : "-h", "--", when, *request->prompt ? request->prompt : NULL,
        NULL,
    };
    uint32_t error = cbpi_shutdown_run(arguments, &exit_status);
    if (error != 0)
        return error;
    if (exit_status != 0)
        return cbpi_fail(CBP_ERROR_PRIVILEGE_NOT_HELD, "%s ended with status %u", arguments[0],
                         (unsigned) exit_status);
    return 0;
}
