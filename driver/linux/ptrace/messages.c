/* Receives one message of a socket: its bytes, and the descriptors and credentials with it. Does not know
 * what messages mean.
 *
 * The kernel installs every descriptor for which the ancillary buffer has room, wanted or not. So the buffer
 * has room for all that a message can carry, and unwanted descriptors are closed here. */
#include "messages.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* A message carries at most the kernel's SCM_MAX_FD. */
enum { DESCRIPTORS_MAX = 253 };

void cbpd_close_descriptors(struct received *received)
{
    for (int i = 0; i < RECEIVED_DESCRIPTORS_MAX; i++) {
        if (received->descriptors[i] >= 0)
            close(received->descriptors[i]);
        received->descriptors[i] = -1;
    }
}

/* Keeps the first descriptors and closes the rest. */
static void take_descriptors(const struct cmsghdr *part, struct received *received)
{
    size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
        if (received->descriptor_count < RECEIVED_DESCRIPTORS_MAX)
            received->descriptors[received->descriptor_count] = fd;
        else
            close(fd);
        received->descriptor_count++;
    }
}

/* An empty message looks like the end of the stream. */
static bool has_ended(int socket)
{
    struct pollfd peer = {.fd = socket, .events = POLLRDHUP};
    return poll(&peer, 1, 0) > 0 && (peer.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

enum reception cbpd_receive_message(int socket, struct received *received)
{
    static union {
        uint64_t alignment;
        unsigned char bytes[MESSAGE_SIZE_MAX];
    } buffer;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
    } ancillary;
    struct iovec vector = {buffer.bytes, sizeof buffer.bytes};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary};
    memset(received, 0, sizeof *received);
    received->message = buffer.bytes;
    for (int i = 0; i < RECEIVED_DESCRIPTORS_MAX; i++)
        received->descriptors[i] = -1;
    ssize_t size = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0)
        return errno == EAGAIN || errno == EINTR ? RECEIVED_NOTHING : RECEIVED_END;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS)
            take_descriptors(part, received);
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_CREDENTIALS &&
            part->cmsg_len >= CMSG_LEN(sizeof received->sender))
            memcpy(&received->sender, CMSG_DATA(part), sizeof received->sender);
    }
    received->size = (size_t) size;
    received->is_whole = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0 &&
                         received->descriptor_count <= RECEIVED_DESCRIPTORS_MAX;
    if (size == 0 && received->descriptor_count == 0 && has_ended(socket))
        return RECEIVED_END;
    return RECEIVED_MESSAGE;
}

void cbpd_send_message(int socket, const void *message, size_t size)
{
    (void) !send(socket, message, size, MSG_NOSIGNAL | MSG_DONTWAIT);
}
