/* Fuzzes what the helper does with the ancillary data of a message: the first bytes say how many
 * descriptors travel with it, in how many parts, and whether credentials do. Whatever came must be closed
 * again. */
#include "../../driver/linux/ptrace/messages.c"

#include <fcntl.h>
#include <stdlib.h>

static int pair[2] = {-1, -1};

/* Descriptors are given out from the lowest number on: so the next one tells whether any is left behind. */
static int next_descriptor(void)
{
    int fd = dup(pair[0]);
    close(fd);
    return fd;
}

static size_t add_part(unsigned char *control, size_t at, int type, const void *bytes, size_t size)
{
    struct cmsghdr *part = (void *) (control + at);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = type;
    part->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(part), bytes, size);
    return at + CMSG_SPACE(size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static union {
        struct cmsghdr header;
        unsigned char bytes[CMSG_SPACE(sizeof(int[256])) * 2 + CMSG_SPACE(sizeof(struct ucred))];
    } control;
    int on = 1, fds[256];
    struct ucred credentials = {getpid(), getuid(), getgid()};
    if (size < 4)
        return 0;
    if (pair[0] < 0 && (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0 ||
                        setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0))
        abort();
    for (size_t i = 0; i < 256; i++)
        fds[i] = pair[0];
    size_t used = 0, first = data[0], second = data[1];
    memset(&control, 0, sizeof control);
    if (first > 0)
        used = add_part(control.bytes, used, SCM_RIGHTS, fds, first * sizeof(int));
    if (data[2] & 1)
        used = add_part(control.bytes, used, SCM_CREDENTIALS, &credentials, sizeof credentials);
    if (second > 0)
        used = add_part(control.bytes, used, SCM_RIGHTS, fds, second * sizeof(int));
    struct iovec vector = {(void *) (uintptr_t) (data + 3), size - 3};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (used > 0) {
        message.msg_control = &control;
        message.msg_controllen = used;
    }
    int before = next_descriptor();
    ssize_t sent = sendmsg(pair[0], &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    struct received received;
    enum reception reception = cbpd_receive_message(pair[1], &received);
    if (reception != (sent < 0 ? RECEIVED_NOTHING : RECEIVED_MESSAGE))
        abort();
    if (sent >= 0 && (received.size != (size_t) sent || received.descriptor_count != first + second ||
                      received.is_whole != (first + second <= RECEIVED_DESCRIPTORS_MAX) ||
                      received.sender.pid != getpid()))
        abort();
    cbpd_close_descriptors(&received);
    if (next_descriptor() != before)
        abort();
    return 0;
}
