/* Is cbprocess-launch, which becomes the target of a launch once the helper traces it. The caller starts it
 * with the target's descriptors, folder, environment and signals, which it keeps. The environment has no
 * effect on it: it is a static program without a C library (bare_system.h).
 *
 * argv[0] is "cbprocess-launch N", where N is the descriptor of the launch channel, and then maybe the words
 * of launch_steps.h; the other arguments are the target's. The channel says what to execute. If nothing can
 * be executed, the launcher gives the errno that CPython's subprocess would report: the first that is neither
 * ENOENT nor ENOTDIR, else the last. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "bare_system.h"
#include "cbp_message_check.h"
#include "launch_steps.h"

enum { EXIT_NOT_LAUNCHED = 127, TARGET_SIZE_MAX = 1024 * 1024, STANDARD_ERROR = 2 };

/* The message says what to execute. The caller keeps no copy. */
static union {
    struct cbp_launch_target message;
    char bytes[TARGET_SIZE_MAX];
} target;

static bool receive_target(int channel)
{
    long size = receive_from(channel, &target, sizeof target, MSG_TRUNC);
    if (size < (long) sizeof target.message || size > TARGET_SIZE_MAX ||
        cbpd_message_check(&target, (size_t) size, CBP_MESSAGE_LAUNCH_TARGET) != 0 ||
        target.message.argument_size == 0 || target.message.paths_size == 0)
        return false;
    return target.bytes[target.message.argument_offset + target.message.argument_size - 1] == 0 &&
           target.bytes[target.message.paths_offset + target.message.paths_size - 1] == 0;
}

/* The kernel adds the launcher's credentials, because the helper's end asks for them. */
static bool report_ready(int channel)
{
    struct cbp_launch_ready ready = {.header = {.size = sizeof ready, .type = CBP_MESSAGE_LAUNCH_READY}};
    return send_to(channel, &ready, sizeof ready, MSG_NOSIGNAL) == (long) sizeof ready;
}

/* Waits to be traced, and reads the go-ahead. */
static bool await_go(int channel, struct cbp_launch_go *go)
{
    long size;
    do
        size = receive_from(channel, go, sizeof *go, 0);
    while (size == -EINTR);
    return size == (long) sizeof *go && cbpd_message_check(go, sizeof *go, CBP_MESSAGE_LAUNCH_GO) == 0 &&
           go->status == 0;
}

static int execute(char **arguments, char **environment)
{
    const char *paths = target.bytes + target.message.paths_offset;
    int first_error = 0, error = ENOENT;
    arguments[0] = target.bytes + target.message.argument_offset;
    for (uint32_t at = 0; at < target.message.paths_size; at += (uint32_t) length_of(paths + at) + 1) {
        error = (int) -call_system(SYS_execve, address_of(paths + at), address_of(arguments),
                                   address_of(environment), 0, 0, 0);
        if (error != ENOENT && error != ENOTDIR && first_error == 0)
            first_error = error;
    }
    return first_error != 0 ? first_error : error;
}

static void report_failure(int channel, int os_error)
{
    struct cbp_launch_result result = {
        .header = {.size = sizeof result, .type = CBP_MESSAGE_LAUNCH_RESULT},
        .os_error = (uint32_t) os_error,
    };
    (void) send_to(channel, &result, sizeof result, MSG_NOSIGNAL);
}

/* Gives the number after the first space, or -1. *words becomes the text after it. */
static int channel_number(const char *argument0, const char **words)
{
    while (*argument0 != 0 && *argument0 != ' ')
        argument0++;
    int number = -1;
    if (*argument0 == ' ')
        for (argument0++; *argument0 >= '0' && *argument0 <= '9' && number < INT_MAX / 10 - 1; argument0++)
            number = (number < 0 ? 0 : number) * 10 + (*argument0 - '0');
    *words = argument0;
    return number;
}

static int refuse_to_run(void)
{
    static const char text[] = "cbprocess-launch is started by cbprocess, not by hand\n";
    (void) call_system(SYS_write, STANDARD_ERROR, address_of(text), sizeof text - 1, 0, 0, 0);
    return EXIT_NOT_LAUNCHED;
}

int cbpd_bare_main(int argument_count, char **arguments, char **environment)
{
    struct cbp_launch_go go;
    const char *words = "";
    int channel = argument_count > 0 ? channel_number(arguments[0], &words) : -1;
    if (channel < 0 || call_system(SYS_fcntl, channel, F_SETFD, FD_CLOEXEC, 0, 0, 0) < 0)
        return refuse_to_run();
    if (!receive_target(channel))
        return EXIT_NOT_LAUNCHED;
    /* Yama 1 lets only a named tracer in. Without Yama this changes nothing. */
    (void) call_system(SYS_prctl, PR_SET_PTRACER, (long) target.message.helper_process_id, 0, 0, 0, 0);
    if (!report_ready(channel) || !await_go(channel, &go))
        return EXIT_NOT_LAUNCHED;
    int error = (go.flags & CBP_LAUNCH_FLAG_SCOPES) != 0 ? cbpd_enter_scope(go.flags) : 0;
    if (error == 0 && (go.flags & CBP_LAUNCH_FLAG_FILTER) != 0)
        error = cbpd_install_launch_filter(&go);
    if (error == 0) {
        cbpd_take_callers_place(words, environment);
        error = execute(arguments, environment);
    }
    report_failure(channel, error);
    return EXIT_NOT_LAUNCHED;
}
