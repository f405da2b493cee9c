/* Implements link.h to the ptrace driver's helper: a socket pair, a pidfd, the channel's memory, and futexes
 * in it. */
#define _GNU_SOURCE
#include "ptrace_link.h"

#include "cbp_atomic.h"
#include "cbp_channel.h"
#include "cbp_message.h"
#include "channel_memory.h"
#include "errors.h"
#include "new_syscalls.h"
#include "os_error.h"
#include "proc_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 250
#define STOPPED_LOOKS 3u

struct ptrace_link {
    struct cbpi_link base;
    int control_fd;
    int process_fd; /* a pidfd of the helper, -1 where there is none */
    int state_fd;   /* its /proc/PID/stat, kept open for repeated looks; -1 where there is none */
};

static struct ptrace_link *own(struct cbpi_link *link)
{
    return (struct ptrace_link *) link;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* ---- Requests ---- */

static bool is_stopped(const struct ptrace_link *link)
{
    char line[STAT_SIZE_MAX];
    struct stat_facts facts;
    ssize_t size = pread(link->state_fd, line, sizeof line - 1, 0);
    line[size > 0 ? size : 0] = 0;
    return cbpd_parse_stat(line, &facts) && (facts.state == 'T' || facts.state == 't');
}

static enum cbpi_link_state look(struct cbpi_link *base)
{
    const struct ptrace_link *link = own(base);
    struct pollfd fds[] = {{.fd = link->control_fd, .events = POLLRDHUP},
                           {.fd = link->process_fd, .events = POLLIN}};
    if (poll(fds, 2, 0) > 0 && ((fds[0].revents & (POLLHUP | POLLRDHUP | POLLERR)) || fds[1].revents))
        return CBPI_LINK_GONE;
    return is_stopped(link) ? CBPI_LINK_STOPPED : CBPI_LINK_RUNS;
}

static uint32_t send_request(struct cbpi_link *link, const struct cbp_message_header *request,
                             const struct cbpi_link_parcel *parcel)
{
    if (cbpi_send_descriptors(own(link)->control_fd, request, request->size, parcel ? parcel->fds : NULL,
                              parcel ? parcel->count : 0))
        return 0;
    if (errno == EPIPE || errno == ECONNRESET)
        return CBP_ERROR_BROKEN_PIPE;
    return cbpi_fail(CBP_ERROR_GEN_FAILURE, "cannot send a request to the helper: %s", strerror(errno));
}

/* Makes a memory file with these bytes. The helper reads it from its start, so the offset does not matter. */
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

static uint32_t send_rules(struct cbpi_link *link, struct cbp_rules *request, const void *block)
{
    struct cbpi_link_parcel parcel = {.count = 1};
    uint32_t error = make_memory_file(block, (size_t) request->block_size, &parcel.fds[0]);
    if (error != 0)
        return error;
    error = send_request(link, &request->header, &parcel);
    close(parcel.fds[0]);
    return error;
}

/* Waits until the control socket has something to read. A helper that stands for STOPPED_LOOKS looks in a row
 * is not waited for. */
static uint32_t wait_for_reply(const struct ptrace_link *link, uint64_t deadline_ns)
{
    uint32_t stopped_looks = 0;
    for (;;) {
        uint64_t now_ns = cbpi_now_ns();
        if (now_ns >= deadline_ns || stopped_looks >= STOPPED_LOOKS)
            return CBP_ERROR_TIMEOUT;
        struct pollfd fds[] = {{.fd = link->control_fd, .events = POLLIN},
                               {.fd = link->process_fd, .events = POLLIN}};
        uint64_t wait_ms = (deadline_ns - now_ns) / CBP_NS_PER_MS + 1;
        int ready = poll(fds, 2, wait_ms < LOOK_MS ? (int) wait_ms : LOOK_MS);
        stopped_looks = ready == 0 && is_stopped(link) ? stopped_looks + 1 : 0;
        if (ready > 0 && fds[0].revents)
            return 0;
        if (ready > 0)
            return CBP_ERROR_BROKEN_PIPE;
    }
}

static uint32_t receive(struct cbpi_link *link, uint64_t deadline_ns, struct cbp_reply *reply)
{
    for (;;) {
        uint32_t error = wait_for_reply(own(link), deadline_ns);
        if (error != 0)
            return error;
        ssize_t got = recv(own(link)->control_fd, reply, sizeof *reply, MSG_DONTWAIT | MSG_TRUNC);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got <= 0)
            return CBP_ERROR_BROKEN_PIPE;
        if ((size_t) got != sizeof *reply)
            return cbpi_fail(CBP_ERROR_INVALID_DATA, "the helper's reply is malformed");
        return 0;
    }
}

/* ---- The helper's process ---- */

static void open_process(struct ptrace_link *link)
{
    link->process_fd = (int) syscall(SYS_pidfd_open, link->base.process_id, 0);
    link->state_fd = cbpd_open_proc(link->base.process_id, "stat", O_RDONLY);
}

static uint32_t start_process(struct ptrace_link *link, const struct cbpi_channel_memory *memory)
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
        error = cbpi_ptrace_helper_start(memory->fds[0], pair[1], controller_fd, &link->base.process_id);
    if (error != 0)
        goto cleanup;
    link->control_fd = pair[0];
    open_process(link);
    pair[0] = -1;
cleanup:
    close_if_open(controller_fd);
    close_if_open(pair[0]);
    close_if_open(pair[1]);
    return error;
}

static void abandon(struct cbpi_link *base)
{
    /* The channel was never mapped here (MADV_DONTFORK). */
    const struct ptrace_link *link = own(base);
    close_if_open(link->control_fd);
    close_if_open(link->process_fd);
    close_if_open(link->state_fd);
}

static void shut(struct cbpi_link *base)
{
    struct ptrace_link *link = own(base);
    if (link->control_fd >= 0)
        shutdown(link->control_fd, SHUT_RDWR); /* a child between fork and exec may hold a copy */
    close_if_open(link->control_fd);
    close_if_open(link->state_fd);
    if (base->channel)
        munmap(base->channel, CBP_CHANNEL_SIZE);
    cbpi_ptrace_helper_leave(link->process_fd);
    free(link);
}

static uint32_t open_link(struct cbpi_link **opened)
{
    struct cbpi_channel_memory memory;
    struct ptrace_link *link = calloc(1, sizeof *link);
    if (!link)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a helper's link");
    link->control_fd = link->process_fd = link->state_fd = -1;
    uint32_t error = cbpi_channel_memory_make(&memory);
    if (error != 0)
        goto cleanup;
    link->base.channel = memory.address;
    link->base.channel->magic = CBP_PROTOCOL_MAGIC;
    link->base.channel->version = CBP_PROTOCOL_VERSION;
    link->base.channel->size = CBP_CHANNEL_SIZE;
    error = start_process(link, &memory);
    cbpi_channel_memory_close(&memory);
cleanup:
    if (error == 0)
        *opened = &link->base;
    else
        shut(&link->base);
    return error;
}

/* ---- Bells: futexes on the channel's own words, which two processes share and so are not private ---- */

static bool bell_wait(struct cbpi_link *link, uint32_t session_id, uint32_t value, uint64_t timeout_ns)
{
    struct timespec timeout = {.tv_sec = (time_t) (timeout_ns / CBP_NS_PER_S),
                               .tv_nsec = (long) (timeout_ns % CBP_NS_PER_S)};
    const uint32_t *word = &link->channel->sessions[session_id].bell;
    return syscall(SYS_futex, word, FUTEX_WAIT, value, timeout_ns == UINT64_MAX ? NULL : &timeout, NULL, 0) ==
           0;
}

static void bell_wake(struct cbpi_link *link, uint32_t session_id, uint32_t count)
{
    struct cbp_channel *channel = link->channel;
    const uint32_t *word =
        session_id == CBPI_BELL_OF_HELPER ? &channel->answer_bell : &channel->sessions[session_id].bell;
    syscall(SYS_futex, word, FUTEX_WAKE, count < INT_MAX ? (int) count : INT_MAX, NULL, NULL, 0);
}

const struct cbpi_link_ops cbpi_ptrace_link_ops = {
    .open = open_link,
    .shut = shut,
    .abandon = abandon,
    .look = look,
    .send = send_request,
    .send_rules = send_rules,
    .receive = receive,
    .bell_wait = bell_wait,
    .bell_wake = bell_wake,
};
