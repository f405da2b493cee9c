/* See ptrace_link.h. */
#define _GNU_SOURCE
#include "ptrace_link.h"

#include "cbp_atomic.h"
#include "cbp_message_check.h"
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

#define REQUEST_LIMIT_MS 10000u
#define NS_PER_MS 1000000u
#define DESCRIPTORS_MAX 2u

/* Every link; new sessions join the one whose supervisor lives. Those whose supervisor has died stay until
 * their sessions have let go. The mutex also guards the links' counts. */
static struct cbpi_mutex links_mutex;
static struct cbpi_link *links;

void cbpi_link_load(void)
{
    cbpi_mutex_init(&links_mutex);
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

void cbpi_link_forget_after_fork(void)
{
    /* The channel was never mapped here (MADV_DONTFORK). */
    for (const struct cbpi_link *link = links; link; link = link->next) {
        close_if_open(link->control_fd);
        close_if_open(link->process_fd);
    }
    links = NULL;
    cbpi_mutex_init(&links_mutex);
}

uint32_t cbpi_link_is_dead(struct cbpi_link *link)
{
    if (cbp_load_u32(&link->is_dead))
        return 1;
    struct pollfd fds[] = {{.fd = link->control_fd, .events = POLLRDHUP},
                           {.fd = link->process_fd, .events = POLLIN}};
    if (poll(fds, 2, 0) > 0 && ((fds[0].revents & (POLLHUP | POLLRDHUP | POLLERR)) || fds[1].revents))
        cbp_store_u32(&link->is_dead, 1);
    return cbp_load_u32(&link->is_dead);
}

static uint32_t fail_dead(struct cbpi_link *link)
{
    cbp_store_u32(&link->is_dead, 1);
    return cbpi_fail(CBP_ERROR_BROKEN_PIPE, "the supervisor has gone");
}

static uint32_t send_request(struct cbpi_link *link, const struct cbp_message_header *request, const int *fds,
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
        sent = sendmsg(link->control_fd, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent == (ssize_t) request->size)
        return 0;
    if (errno == EPIPE || errno == ECONNRESET)
        return fail_dead(link);
    return cbpi_fail(CBP_ERROR_GEN_FAILURE, "cannot send a request to the supervisor: %s", strerror(errno));
}

/* Waits until the control socket has something to read. */
static uint32_t wait_for_reply(struct cbpi_link *link, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now_ns = cbpi_now_ns();
        if (now_ns >= deadline_ns)
            return cbpi_fail(CBP_ERROR_TIMEOUT, "the supervisor did not answer in %u s",
                             REQUEST_LIMIT_MS / 1000);
        struct pollfd fds[] = {{.fd = link->control_fd, .events = POLLIN},
                               {.fd = link->process_fd, .events = POLLIN}};
        int ready = poll(fds, 2, (int) ((deadline_ns - now_ns) / NS_PER_MS) + 1);
        if (ready > 0 && fds[0].revents)
            return 0;
        if (ready > 0)
            return fail_dead(link);
    }
}

/* Receives the reply with the request's id; older ones are to requests that were given up. */
static uint32_t receive_reply(struct cbpi_link *link, uint64_t id, struct cbp_reply *reply)
{
    uint64_t deadline_ns = cbpi_now_ns() + (uint64_t) REQUEST_LIMIT_MS * NS_PER_MS;
    for (;;) {
        uint32_t error = wait_for_reply(link, deadline_ns);
        if (error != 0)
            return error;
        ssize_t got = recv(link->control_fd, reply, sizeof *reply, MSG_DONTWAIT | MSG_TRUNC);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            continue;
        if (got <= 0)
            return fail_dead(link);
        if ((size_t) got != sizeof *reply || cbp_message_check(reply, sizeof *reply, CBP_MESSAGE_REPLY) != 0)
            return cbpi_fail(CBP_ERROR_INVALID_DATA, "the supervisor's reply is malformed");
        if (reply->header.id == id)
            return 0;
    }
}

uint32_t cbpi_link_request_with(struct cbpi_link *link, struct cbp_message_header *request, const int *fds,
                                uint32_t fd_count, struct cbp_reply *reply)
{
    cbpi_mutex_lock(&link->request_mutex);
    request->id = ++link->last_request_id;
    uint32_t error =
        cbp_load_u32(&link->is_dead) ? fail_dead(link) : send_request(link, request, fds, fd_count);
    if (error == 0)
        error = receive_reply(link, request->id, reply);
    cbpi_mutex_unlock(&link->request_mutex);
    if (error == 0 && reply->status != 0)
        error = cbpi_fail(reply->status, "the supervisor refused: %s", cbp_error_message(reply->status));
    return error;
}

uint32_t cbpi_link_request(struct cbpi_link *link, struct cbp_message_header *request,
                           struct cbp_reply *reply)
{
    return cbpi_link_request_with(link, request, NULL, 0, reply);
}

const uint32_t *cbpi_link_death(const struct cbpi_link *link)
{
    return &link->is_dead;
}

struct cbp_channel *cbpi_link_channel(const struct cbpi_link *link)
{
    return link->channel;
}

/* Makes the shared memory; the descriptor goes to the supervisor and is closed here afterwards. */
static uint32_t make_channel(struct cbp_channel **channel, int *fd)
{
    int made = memfd_create("cbprocess", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    void *memory = MAP_FAILED;
    if (made >= 0 && ftruncate(made, CBP_CHANNEL_SIZE) == 0 &&
        fcntl(made, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
        memory = mmap(NULL, CBP_CHANNEL_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, made, 0);
    if (memory == MAP_FAILED) {
        uint32_t error = cbpi_fail_os(errno, "cannot make the channel's memory");
        close_if_open(made);
        return error;
    }
    madvise(memory, CBP_CHANNEL_SIZE, MADV_DONTFORK); /* a fork's child has no business in it */
    *channel = memory;
    (*channel)->magic = CBP_PROTOCOL_MAGIC;
    (*channel)->version = CBP_PROTOCOL_VERSION;
    (*channel)->size = CBP_CHANNEL_SIZE;
    *fd = made;
    return 0;
}

static uint32_t start_process(struct cbpi_link *link, int channel_fd)
{
    int pair[2] = {-1, -1};
    uint32_t error;
    int controller_fd = (int) syscall(SYS_pidfd_open, getpid(), 0);
    if (controller_fd < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        error = cbpi_fail_os(errno, "cannot make the supervisor's descriptors");
        goto cleanup;
    }
    error = cbpi_supervisor_start(channel_fd, pair[1], controller_fd, &link->process_id);
    if (error != 0)
        goto cleanup;
    link->control_fd = pair[0];
    link->process_fd = (int) syscall(SYS_pidfd_open, link->process_id, 0);
    pair[0] = -1;
cleanup:
    close_if_open(controller_fd);
    close_if_open(pair[0]);
    close_if_open(pair[1]);
    return error;
}

static uint32_t shake_hands(struct cbpi_link *link)
{
    struct cbp_hello hello = {.header = {.size = sizeof hello, .type = CBP_MESSAGE_HELLO},
                              .magic = CBP_PROTOCOL_MAGIC,
                              .version = CBP_PROTOCOL_VERSION,
                              .clock_ns = cbpi_now_ns(),
                              .process_id = (uint32_t) getpid()};
    struct cbp_reply reply;
    uint32_t error = cbpi_link_request(link, &hello.header, &reply);
    if (error == CBP_ERROR_INVALID_KERNEL_INFO_VERSION)
        return error;
    if (error == CBP_ERROR_NO_SYSTEM_RESOURCES) /* its process is there, but it needs more */
        return cbpi_fail_os(EAGAIN, "the supervisor cannot start its thread");
    if (error == CBP_ERROR_TOO_MANY_OPEN_FILES)
        return cbpi_fail_os(EMFILE, "the supervisor cannot start");
    if (error != 0) {
        char detail[256];
        snprintf(detail, sizeof detail, "%s", cbp_error_detail());
        return cbpi_fail(CBP_ERROR_APP_INIT_FAILURE, "the supervisor's handshake failed: %s", detail);
    }
    if (reply.version != CBP_PROTOCOL_VERSION)
        return cbpi_fail(CBP_ERROR_INVALID_KERNEL_INFO_VERSION, "the supervisor is of another version");
    return 0;
}

static void destroy_link(struct cbpi_link *link)
{
    if (link->control_fd >= 0)
        shutdown(link->control_fd, SHUT_RDWR); /* a child between fork and exec may hold a copy */
    close_if_open(link->control_fd);
    close_if_open(link->process_fd);
    if (link->channel)
        munmap(link->channel, CBP_CHANNEL_SIZE);
    cbpi_mutex_destroy(&link->request_mutex);
    free(link);
}

static uint32_t make_link(struct cbpi_link **made)
{
    int channel_fd = -1;
    struct cbpi_link *link = calloc(1, sizeof *link);
    if (!link)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a supervisor's link");
    link->control_fd = -1;
    link->process_fd = -1;
    cbpi_mutex_init(&link->request_mutex);
    uint32_t error = make_channel(&link->channel, &channel_fd);
    if (error == 0)
        error = start_process(link, channel_fd);
    if (error == 0)
        error = shake_hands(link);
    close_if_open(channel_fd);
    if (error == 0)
        *made = link;
    else
        destroy_link(link);
    return error;
}

static uint32_t take_session_id(struct cbpi_link *link, uint32_t *session_id)
{
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if ((link->session_bits & 1u << id) == 0) {
            link->session_bits |= 1u << id;
            *session_id = id;
            return 0;
        }
    return cbpi_fail(CBP_ERROR_NO_SYSTEM_RESOURCES, "%u sessions are active already",
                     (unsigned) CBP_SESSION_MAX);
}

static struct cbpi_link *find_living(void)
{
    struct cbpi_link *link = links;
    while (link && cbpi_link_is_dead(link))
        link = link->next;
    return link;
}

uint32_t cbpi_link_acquire(struct cbpi_link **link, uint32_t *session_id)
{
    uint32_t error = 0;
    cbpi_mutex_lock(&links_mutex);
    struct cbpi_link *joined = find_living();
    if (!joined) {
        error = make_link(&joined);
        if (error == 0) {
            joined->next = links;
            links = joined;
        }
    }
    if (error == 0)
        error = take_session_id(joined, session_id);
    if (error == 0) {
        joined->reference_count++;
        *link = joined;
    }
    cbpi_mutex_unlock(&links_mutex);
    return error;
}

void cbpi_link_release(struct cbpi_link *link, uint32_t session_id, uint32_t keeps_id)
{
    cbpi_mutex_lock(&links_mutex);
    if (!keeps_id)
        link->session_bits &= ~(1u << session_id);
    uint32_t is_last = --link->reference_count == 0;
    if (is_last) {
        struct cbpi_link **at = &links;
        while (*at != link)
            at = &(*at)->next;
        *at = link->next;
    }
    cbpi_mutex_unlock(&links_mutex);
    if (is_last)
        destroy_link(link);
}
