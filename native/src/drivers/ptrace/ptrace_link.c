/* The link of helper_link.h to the ptrace driver's helper: a socket pair, a pidfd and the channel's memory.
 */
#define _GNU_SOURCE
#include "ptrace_link.h"

#include "cbp_atomic.h"
#include "cbp_message_check.h"
#include "channel_memory.h"
#include "errors.h"
#include "new_syscalls.h"
#include "os_error.h"
#include "platform.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_MS 1000000u
#define DESCRIPTORS_MAX 2u
#define LOOK_MS 250
#define STOPPED_LOOKS 3u

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

uint32_t cbpi_link_look(struct cbpi_link *link)
{
    struct pollfd fds[] = {{.fd = link->ends.control_fd, .events = POLLRDHUP},
                           {.fd = link->ends.process_fd, .events = POLLIN}};
    return poll(fds, 2, 0) > 0 && ((fds[0].revents & (POLLHUP | POLLRDHUP | POLLERR)) || fds[1].revents);
}

uint32_t cbpi_link_send(struct cbpi_link *link, const struct cbp_message_header *request, const int *fds,
                        uint32_t fd_count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
    } ancillary = {0};
    struct iovec vector = {(void *) (uintptr_t) request, request->size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (fd_count > 0) {
        message.msg_control = &ancillary;
        message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        ancillary.header.cmsg_level = SOL_SOCKET;
        ancillary.header.cmsg_type = SCM_RIGHTS;
        ancillary.header.cmsg_len = CMSG_LEN(fd_count * sizeof(int));
        memcpy(CMSG_DATA(&ancillary.header), fds, fd_count * sizeof(int));
    }
    ssize_t sent;
    do {
        sent = sendmsg(link->ends.control_fd, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent == (ssize_t) request->size)
        return 0;
    if (errno == EPIPE || errno == ECONNRESET)
        return cbpi_link_fail_dead(link);
    return cbpi_fail(CBP_ERROR_GEN_FAILURE, "cannot send a request to the helper: %s", strerror(errno));
}

/* A memory file with these bytes. The helper reads it from its start, so the offset does not matter. */
static uint32_t make_memory_file(const void *bytes, size_t size, int *fd)
{
    static const char what[] = "cannot make the rules' memory";
    const char *at = bytes, *end = at + size;
    uint32_t error = cbpi_check_file_limit(size, what);
    if (error != 0)
        return error;
    int made = memfd_create("cbprocess-rules", MFD_CLOEXEC);
    while (made >= 0 && at < end) {
        ssize_t written = write(made, at, (size_t) (end - at));
        if (written < 0 && errno != EINTR)
            break;
        at += written > 0 ? written : 0;
    }
    if (made < 0 || at < end) {
        error = cbpi_fail_os(errno, what);
        close_if_open(made);
        return error;
    }
    *fd = made;
    return 0;
}

uint32_t cbpi_link_request_rules(struct cbpi_link *link, struct cbp_rules *request, const void *block,
                                 struct cbp_reply *reply)
{
    int fd;
    uint32_t error = make_memory_file(block, (size_t) request->block_size, &fd);
    if (error != 0)
        return error;
    error = cbpi_link_request_with(link, &request->header, &fd, 1, reply);
    close(fd);
    return error;
}

uint32_t cbpi_link_is_stopped(const struct cbpi_link *link)
{
    char text[512];
    ssize_t size = pread(link->ends.state_fd, text, sizeof text - 1, 0);
    text[size > 0 ? size : 0] = 0;
    const char *state = strrchr(text, ')'); /* the name before it may hold anything */
    return state && state[1] == ' ' && (state[2] == 'T' || state[2] == 't');
}

/* Waits until the control socket has something to read. A helper that stands for STOPPED_LOOKS looks in a
 * row is not waited for. */
static uint32_t wait_for_reply(struct cbpi_link *link, uint64_t deadline_ns)
{
    uint32_t stopped_looks = 0;
    for (;;) {
        uint64_t now_ns = cbpi_now_ns();
        if (now_ns >= deadline_ns || stopped_looks >= STOPPED_LOOKS)
            return CBP_ERROR_TIMEOUT;
        struct pollfd fds[] = {{.fd = link->ends.control_fd, .events = POLLIN},
                               {.fd = link->ends.process_fd, .events = POLLIN}};
        uint64_t wait_ms = (deadline_ns - now_ns) / NS_PER_MS + 1;
        int ready = poll(fds, 2, wait_ms < LOOK_MS ? (int) wait_ms : LOOK_MS);
        stopped_looks = ready == 0 && cbpi_link_is_stopped(link) ? stopped_looks + 1 : 0;
        if (ready > 0 && fds[0].revents)
            return 0;
        if (ready > 0)
            return cbpi_link_fail_dead(link);
    }
}

uint32_t cbpi_link_receive(struct cbpi_link *link, uint64_t deadline_ns, struct cbp_reply *reply)
{
    for (;;) {
        uint32_t error = wait_for_reply(link, deadline_ns);
        if (error != 0)
            return error;
        ssize_t got = recv(link->ends.control_fd, reply, sizeof *reply, MSG_DONTWAIT | MSG_TRUNC);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got <= 0)
            return cbpi_link_fail_dead(link);
        if ((size_t) got != sizeof *reply)
            return cbpi_fail(CBP_ERROR_INVALID_DATA, "the helper's reply is malformed");
        return 0;
    }
}

static void open_process(struct cbpi_link *link)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%u/stat", (unsigned) link->process_id);
    link->ends.process_fd = (int) syscall(SYS_pidfd_open, link->process_id, 0);
    link->ends.state_fd = open(path, O_RDONLY | O_CLOEXEC);
}

static uint32_t start_process(struct cbpi_link *link, const struct cbpi_channel_memory *memory)
{
    int pair[2] = {-1, -1};
    uint32_t error;
    int controller_fd = (int) syscall(SYS_pidfd_open, getpid(), 0);
    if (controller_fd < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        error = cbpi_fail_os(errno, "cannot make the helper's descriptors");
        goto cleanup;
    }
    error = cbpi_channel_memory_send(memory, pair[0]);
    if (error == 0)
        error = cbpi_ptrace_helper_start(memory->fds[0], pair[1], controller_fd, &link->process_id);
    if (error != 0)
        goto cleanup;
    link->ends.control_fd = pair[0];
    open_process(link);
    pair[0] = -1;
cleanup:
    close_if_open(controller_fd);
    close_if_open(pair[0]);
    close_if_open(pair[1]);
    return error;
}

uint32_t cbpi_link_open(struct cbpi_link *link)
{
    struct cbpi_channel_memory memory;
    link->ends.control_fd = -1;
    link->ends.process_fd = -1;
    link->ends.state_fd = -1;
    uint32_t error = cbpi_channel_memory_make(&memory);
    if (error != 0)
        return error;
    link->channel = memory.address;
    link->channel->magic = CBP_PROTOCOL_MAGIC;
    link->channel->version = CBP_PROTOCOL_VERSION;
    link->channel->size = CBP_CHANNEL_SIZE;
    error = start_process(link, &memory);
    cbpi_channel_memory_close(&memory);
    return error;
}

void cbpi_link_abandon(struct cbpi_link *link)
{
    /* The channel was never mapped here (MADV_DONTFORK). */
    close_if_open(link->ends.control_fd);
    close_if_open(link->ends.process_fd);
    close_if_open(link->ends.state_fd);
}

void cbpi_link_shut(struct cbpi_link *link)
{
    if (link->ends.control_fd >= 0)
        shutdown(link->ends.control_fd, SHUT_RDWR); /* a child between fork and exec may hold a copy */
    close_if_open(link->ends.control_fd);
    close_if_open(link->ends.state_fd);
    if (link->channel)
        munmap(link->channel, CBP_CHANNEL_SIZE);
    cbpi_ptrace_helper_leave(link->ends.process_fd);
}
