/* Starts cbprocess-guard and speaks with it: see guard_process.h. */
#define _GNU_SOURCE
#include "guard_process.h"

#include "cbp_atomic.h"
#include "cbprocess.h"
#include "errors.h"
#include "new_syscalls.h"
#include "os_error.h"
#include "platform.h"
#include "unseen_process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define GUARD_NAME "cbprocess-guard"
#define TEST_ROOT "CBPROCESS_TEST_ROOT"
#define DECIDED_SIZE (CBP_MACHINE_DECIDED_COUNT * sizeof(struct cbp_machine_decided))

enum {
    REPLY_LIMIT_MS = 5000,
    LOAD_LIMIT_MS = 60000, /* the kernel verifies programs, and emulated machines are slow */
    END_LIMIT_MS = 5000,
    SENTENCE_SIZE = 8192
};

_Static_assert(CBP_GUARD_SOCKET == CBPI_UNSEEN_FD_FIRST && CBP_GUARD_CONTROLLER == CBP_GUARD_SOCKET + 1,
               "the guard finds its descriptors where it looks for them");

static void close_descriptor(int *descriptor)
{
    if (*descriptor >= 0)
        close(*descriptor);
    *descriptor = -1;
}

static void unmap(void *memory, size_t size)
{
    if (memory)
        (void) munmap(memory, size);
}

void cbpi_guard_forget(struct cbpi_guard *guard)
{
    close_descriptor(&guard->socket);
    close_descriptor(&guard->process);
    for (int i = 0; i < CBP_GUARD_FD_COUNT; i++)
        close_descriptor(&guard->descriptors[i]);
    unmap(guard->shared, sizeof *guard->shared);
    unmap(guard->settings, sizeof *guard->settings);
    unmap(guard->slots, (size_t) CBP_MACHINE_SLOT_COUNT * CBP_MACHINE_SLOT_SIZE);
    unmap(guard->decided, DECIDED_SIZE);
    guard->shared = NULL;
    guard->settings = NULL;
    guard->slots = NULL;
    guard->decided = NULL;
}

static struct cbpi_guard no_guard(void)
{
    struct cbpi_guard guard = {.socket = -1, .process = -1};
    for (int i = 0; i < CBP_GUARD_FD_COUNT; i++)
        guard.descriptors[i] = -1;
    return guard;
}

/* Passes the one setting on that a test needs; nothing else of the environment reaches the guard. */
static uint32_t spawn(const char *path, int socket, uint32_t *process_id)
{
    char root[PATH_MAX];
    const char *value = getuid() == geteuid() ? getenv(TEST_ROOT) : NULL;
    int length = value ? snprintf(root, sizeof root, TEST_ROOT "=%s", value) : 0;
    bool has_root = length > 0 && (size_t) length < sizeof root;
    char *const environment[] = {has_root ? root : NULL, NULL};
    int controller = (int) syscall(SYS_pidfd_open, getpid(), 0);
    if (controller < 0)
        return cbpi_fail_os(errno, "cannot open this process for the guard");
    const struct cbpi_unseen_program program = {
        .path = path, .environment = environment, .fds = {socket, controller}, .fd_count = 2};
    uint32_t result = cbpi_start_unseen(&program, process_id);
    close(controller);
    return result;
}

static uint32_t start_process(const char *folder, struct cbpi_guard *guard)
{
    char path[PATH_MAX];
    int sockets[2];
    int length = snprintf(path, sizeof path, "%s/" GUARD_NAME, folder);
    if (length < 0 || (size_t) length >= sizeof path)
        return cbpi_fail(CBP_ERROR_PATH_NOT_FOUND, "the path of the driver's folder is too long");
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
        return cbpi_fail_os(errno, "cannot make the guard's socket");
    guard->socket = sockets[0];
    uint32_t result = spawn(path, sockets[1], &guard->process_id);
    close(sockets[1]);
    if (result != 0)
        return result;
    guard->process = (int) syscall(SYS_pidfd_open, guard->process_id, 0);
    return guard->process < 0 ? cbpi_fail_os(errno, "cannot watch the guard") : 0;
}

/* Gives the guard's descriptors in order; /dev/null stands for one that is missing. */
static void take_descriptors(struct msghdr *message, int *descriptors, size_t count)
{
    size_t taken = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; at + CMSG_LEN(sizeof(int)) <= part->cmsg_len; at += sizeof(int)) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(part) + at, sizeof descriptor);
            if (taken < count)
                descriptors[taken++] = descriptor;
            else
                close(descriptor);
        }
    }
}

static uint32_t fail_gone(void)
{
    return cbpi_fail(CBP_ERROR_BROKEN_PIPE, "the guard has ended");
}

static uint32_t send_request(const struct cbpi_guard *guard, const struct cbp_guard_request *request,
                             const char *text)
{
    struct iovec parts[] = {{(void *) (uintptr_t) request, sizeof *request},
                            {(void *) (uintptr_t) text, request->text_size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = request->text_size > 0 ? 2 : 1};
    ssize_t sent;
    do {
        sent = sendmsg(guard->socket, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return 0;
    return errno == EPIPE || errno == ECONNRESET ? fail_gone() : cbpi_fail_os(errno, "cannot ask the guard");
}

/* Waits for the reply, also if signals come in between. */
static uint32_t wait_for_reply(const struct cbpi_guard *guard, int limit_ms)
{
    uint64_t until_ns = cbpi_now_ns() + (uint64_t) limit_ms * CBP_NS_PER_MS;
    for (;;) {
        struct pollfd readable = {.fd = guard->socket, .events = POLLIN};
        uint64_t now_ns = cbpi_now_ns();
        if (now_ns >= until_ns)
            return cbpi_fail(CBP_ERROR_SERVICE_REQUEST_TIMEOUT, "the guard does not reply");
        if (poll(&readable, 1, (int) ((until_ns - now_ns) / CBP_NS_PER_MS + 1)) > 0)
            return 0;
    }
}

static uint32_t receive_reply(struct cbpi_guard *guard, int *descriptors, size_t count)
{
    struct cbp_guard_reply reply;
    char sentence[SENTENCE_SIZE];
    struct iovec parts[] = {{&reply, sizeof reply}, {sentence, sizeof sentence - 1}};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(CBP_GUARD_FD_COUNT * sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = parts, .msg_iovlen = 2, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t size;
    do {
        size = recvmsg(guard->socket, &message, MSG_CMSG_CLOEXEC);
    } while (size < 0 && errno == EINTR);
    if (size < (ssize_t) sizeof reply)
        return fail_gone();
    take_descriptors(&message, descriptors, count);
    sentence[(size_t) size - sizeof reply] = 0;
    guard->abilities = reply.abilities;
    if (reply.status != 0)
        return cbpi_fail(reply.status, "%s", sentence);
    if (reply.descriptor_count != count || (message.msg_flags & MSG_CTRUNC))
        return cbpi_fail(CBP_ERROR_TOO_MANY_OPEN_FILES, "the guard's descriptors could not be taken over");
    return 0;
}

/* A request that got no reply in time leaves the socket out of step, so it is the last one. */
static uint32_t ask(struct cbpi_guard *guard, const struct cbp_guard_request *request, const char *text,
                    int *descriptors, size_t count, int limit_ms)
{
    if (guard->socket < 0)
        return fail_gone();
    uint32_t result = send_request(guard, request, text);
    if (result == 0)
        result = wait_for_reply(guard, limit_ms);
    if (result == CBP_ERROR_SERVICE_REQUEST_TIMEOUT)
        close_descriptor(&guard->socket);
    return result != 0 ? result : receive_reply(guard, descriptors, count);
}

uint32_t cbpi_guard_request(struct cbpi_guard *guard, uint32_t type, uint64_t value, const char *text,
                            uint32_t text_size)
{
    const struct cbp_guard_request request = {
        .type = type, .version = CBP_MACHINE_VERSION, .value = value, .text_size = text_size};
    if (text_size > CBP_GUARD_TEXT_MAX)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "there are too many paths for the guard");
    return ask(guard, &request, text, NULL, 0, type == CBP_GUARD_PROGRAMS ? LOAD_LIMIT_MS : REPLY_LIMIT_MS);
}

static bool is_null_device(int descriptor)
{
    char name[64], target[64];
    (void) snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(name, target, sizeof target);
    return size == (ssize_t) strlen("/dev/null") && memcmp(target, "/dev/null", (size_t) size) == 0;
}

static void drop_missing(int *descriptors, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (descriptors[i] >= 0 && is_null_device(descriptors[i]))
            close_descriptor(&descriptors[i]);
}

static void *map(int descriptor, size_t size)
{
    void *memory =
        descriptor < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static uint32_t map_memory(struct cbpi_guard *guard)
{
    const int *descriptors = guard->descriptors;
    guard->shared = map(descriptors[CBP_GUARD_FD_SHARED], sizeof *guard->shared);
    guard->settings = map(descriptors[CBP_GUARD_FD_SETTINGS], sizeof *guard->settings);
    guard->decided = map(descriptors[CBP_GUARD_FD_DECIDED], DECIDED_SIZE);
    if (!guard->shared || !guard->settings || !guard->decided)
        return cbpi_fail_os(errno, "cannot map the guard's memory");
    guard->slots =
        map(descriptors[CBP_GUARD_FD_SLOTS], (size_t) CBP_MACHINE_SLOT_COUNT * CBP_MACHINE_SLOT_SIZE);
    if (guard->shared->magic != CBP_MACHINE_MAGIC || guard->shared->version != CBP_MACHINE_VERSION)
        return cbpi_fail(CBP_ERROR_INVALID_KERNEL_INFO_VERSION, "the guard is of another version");
    return 0;
}

uint32_t cbpi_guard_start(const char *folder, struct cbpi_guard *guard)
{
    struct cbpi_guard started = no_guard();
    uint32_t result = start_process(folder, &started);
    if (result == 0) {
        const struct cbp_guard_request hello = {
            .type = CBP_GUARD_HELLO, .version = CBP_MACHINE_VERSION, .value = (uint64_t) started.socket};
        result = ask(&started, &hello, NULL, started.descriptors, CBP_GUARD_FD_COUNT, LOAD_LIMIT_MS);
    }
    if (result == 0) {
        drop_missing(started.descriptors, CBP_GUARD_FD_COUNT);
        result = map_memory(&started);
    }
    if (result != 0) {
        cbpi_guard_stop(&started);
        return result;
    }
    *guard = started;
    return 0;
}

static void wait_for_end(int process)
{
    uint64_t until_ns = cbpi_now_ns() + END_LIMIT_MS * CBP_NS_PER_MS;
    for (uint64_t now_ns; process >= 0 && (now_ns = cbpi_now_ns()) < until_ns;) {
        struct pollfd end = {.fd = process, .events = POLLIN};
        if (poll(&end, 1, (int) ((until_ns - now_ns) / CBP_NS_PER_MS + 1)) > 0)
            break;
    }
    if (process >= 0)
        (void) cbpi_is_running_child(process); /* it is a child of ours if orphans come to us */
}

/* Ends the guard without losing the sentence of an earlier failure. */
void cbpi_guard_stop(struct cbpi_guard *guard)
{
    const struct cbp_guard_request close_request = {.type = CBP_GUARD_CLOSE, .version = CBP_MACHINE_VERSION};
    if (guard->socket >= 0)
        (void) send(guard->socket, &close_request, sizeof close_request, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (guard->socket >= 0)
        (void) shutdown(guard->socket, SHUT_WR);
    wait_for_end(guard->process);
    cbpi_guard_forget(guard);
}

bool cbpi_guard_beat(struct cbpi_guard *guard)
{
    struct pollfd end = {.fd = guard->process, .events = POLLIN};
    cbp_store_u64(&guard->shared->heartbeat_ns, cbpi_now_ns());
    return guard->process >= 0 && poll(&end, 1, 0) == 0;
}

uint32_t cbpi_guard_list_tasks(const char *folder, int links[2])
{
    struct cbpi_guard guard = no_guard();
    int received[CBP_GUARD_TASKS_FD_COUNT] = {-1, -1};
    const struct cbp_guard_request request = {.type = CBP_GUARD_TASKS, .version = CBP_MACHINE_VERSION};
    uint32_t result = start_process(folder, &guard);
    if (result == 0)
        result = ask(&guard, &request, NULL, received, CBP_GUARD_TASKS_FD_COUNT, LOAD_LIMIT_MS);
    cbpi_guard_stop(&guard);
    drop_missing(received, CBP_GUARD_TASKS_FD_COUNT);
    if (result == 0)
        memcpy(links, received, sizeof received);
    else
        for (int i = 0; i < CBP_GUARD_TASKS_FD_COUNT; i++)
            close_descriptor(&received[i]);
    return result;
}
