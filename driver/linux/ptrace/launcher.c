/* cbprocess-launch: becomes the target of a launch once the supervisor traces it. The caller starts it with
 * whatever descriptors, folder, environment and signals the target shall have; it changes none of them.
 *
 * argv[0] is "cbprocess-launch N", N being the descriptor of the launch channel; the other arguments are the
 * target's own. What to execute comes through the channel. If nothing can be executed, the errno goes back
 * that CPython's subprocess would report: the first that is neither ENOENT nor ENOTDIR, else the last. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cbp_message_check.h"
#include "launch_filter.h"

enum { EXIT_NOT_LAUNCHED = 127, TARGET_SIZE_MAX = 1024 * 1024 };

extern char **environ;

/* The message, whatever its size; the caller has nothing else to keep memory for. */
static struct cbp_launch_target *receive_target(int channel)
{
    ssize_t size = recv(channel, NULL, 0, MSG_PEEK | MSG_TRUNC);
    if (size < (ssize_t) sizeof(struct cbp_launch_target) || size > TARGET_SIZE_MAX)
        return NULL;
    struct cbp_launch_target *target = malloc((size_t) size);
    if (target == NULL || recv(channel, target, (size_t) size, 0) != size ||
        cbp_message_check(target, (size_t) size, CBP_MESSAGE_LAUNCH_TARGET) != 0 ||
        target->argument_size == 0 || target->paths_size == 0)
        return NULL;
    const char *bytes = (const char *) target;
    bool terminated = bytes[target->argument_offset + target->argument_size - 1] == 0 &&
                      bytes[target->paths_offset + target->paths_size - 1] == 0;
    return terminated ? target : NULL;
}

static bool report_ready(int channel)
{
    struct cbp_launch_ready ready = {.header = {.size = sizeof ready, .type = CBP_MESSAGE_LAUNCH_READY}};
    struct ucred credentials = {getpid(), getuid(), getgid()};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof credentials)];
    } ancillary;
    memset(&ancillary, 0, sizeof ancillary);
    ancillary.header.cmsg_len = CMSG_LEN(sizeof credentials);
    ancillary.header.cmsg_level = SOL_SOCKET;
    ancillary.header.cmsg_type = SCM_CREDENTIALS;
    memcpy(CMSG_DATA(&ancillary.header), &credentials, sizeof credentials);
    struct iovec vector = {&ready, sizeof ready};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary};
    return sendmsg(channel, &message, MSG_NOSIGNAL) == (ssize_t) sizeof ready;
}

/* Waits to be traced. Gives the flags of the go-ahead, or -1. */
static int await_go(int channel)
{
    struct cbp_launch_go go;
    ssize_t size;
    do
        size = recv(channel, &go, sizeof go, 0);
    while (size < 0 && errno == EINTR);
    if (size != (ssize_t) sizeof go || cbp_message_check(&go, sizeof go, CBP_MESSAGE_LAUNCH_GO) != 0 ||
        go.status != 0)
        return -1;
    return (int) go.flags;
}

static int execute(const struct cbp_launch_target *target, char **arguments)
{
    const char *paths = (const char *) target + target->paths_offset;
    int first_error = 0;
    arguments[0] = (char *) target + target->argument_offset;
    for (uint32_t at = 0; at < target->paths_size; at += (uint32_t) strlen(paths + at) + 1) {
        execve(paths + at, arguments, environ);
        if (errno != ENOENT && errno != ENOTDIR && first_error == 0)
            first_error = errno;
    }
    return first_error != 0 ? first_error : errno;
}

static void report_failure(int channel, int os_error)
{
    struct cbp_launch_result result = {
        .header = {.size = sizeof result, .type = CBP_MESSAGE_LAUNCH_RESULT},
        .os_error = (uint32_t) os_error,
    };
    (void) !send(channel, &result, sizeof result, MSG_NOSIGNAL);
}

int main(int argument_count, char **arguments)
{
    const char *number = argument_count > 0 ? strchr(arguments[0], ' ') : NULL;
    int channel = number != NULL ? atoi(number + 1) : -1;
    if (channel < 0 || fcntl(channel, F_SETFD, FD_CLOEXEC) != 0) {
        fputs("cbprocess-launch is started by cbprocess, not by hand\n", stderr);
        return EXIT_NOT_LAUNCHED;
    }
    struct cbp_launch_target *target = receive_target(channel);
    if (target == NULL)
        return EXIT_NOT_LAUNCHED;
    /* Yama 1 lets only a chosen tracer in; without Yama there is nothing to choose. */
    (void) prctl(PR_SET_PTRACER, (unsigned long) target->supervisor_process_id, 0, 0, 0);
    if (!report_ready(channel))
        return EXIT_NOT_LAUNCHED;
    int flags = await_go(channel);
    if (flags < 0)
        return EXIT_NOT_LAUNCHED;
    if (flags != 0 && !install_launch_filter((uint32_t) flags)) {
        report_failure(channel, errno);
        return EXIT_NOT_LAUNCHED;
    }
    report_failure(channel, execute(target, arguments));
    return EXIT_NOT_LAUNCHED;
}
