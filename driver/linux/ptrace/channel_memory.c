/* Maps the channel's memory, which the core has made, and finds out which process the core is. Checks both
 * before it trusts them. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tracer.h"

/* Says whether it is a memory file of at least this size that can no longer shrink. */
static bool is_sealed(int fd, uint64_t size)
{
    struct stat status;
    int seals = fcntl(fd, F_GET_SEALS);
    return fstat(fd, &status) == 0 && (uint64_t) status.st_size >= size && seals >= 0 &&
           (seals & F_SEAL_SHRINK) != 0;
}

/* Maps a part over the address range reserved for it. */
static bool map_part(char *at, uint64_t size, int fd)
{
    return is_sealed(fd, size) &&
           mmap(at, (size_t) size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != MAP_FAILED;
}

/* Receives the parts that wait in the control socket. Gives how many. */
static size_t receive_parts(int *fds)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(CBP_CHANNEL_PARTS_MAX * sizeof(int))];
    } ancillary;
    char byte;
    struct iovec vector = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary};
    if (recvmsg(CONTROL_FD, &message, MSG_CMSG_CLOEXEC) != 1)
        return 0;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (!header || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
        return 0;
    size_t size = header->cmsg_len - CMSG_LEN(0);
    memcpy(fds, CMSG_DATA(header), size);
    return size / sizeof(int);
}

static bool map_parts(char *memory, uint64_t part)
{
    int fds[CBP_CHANNEL_PARTS_MAX];
    size_t count = part < CBP_CHANNEL_SIZE ? receive_parts(fds) : 0;
    bool is_good = part > 0 && (count + 1) * part >= CBP_CHANNEL_SIZE && map_part(memory, part, CHANNEL_FD);
    for (size_t i = 0; i < count; i++) {
        uint64_t at = (i + 1) * part;
        uint64_t rest = at < CBP_CHANNEL_SIZE ? CBP_CHANNEL_SIZE - at : 0;
        is_good = is_good && rest > 0 && map_part(memory + at, rest < part ? rest : part, fds[i]);
        close(fds[i]);
    }
    return is_good;
}

bool cbpd_map_channel(struct tracer *self)
{
    struct stat status;
    void *memory = mmap(NULL, CBP_CHANNEL_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || fstat(CHANNEL_FD, &status) != 0 || status.st_size < 0)
        return false;
    uint64_t size = (uint64_t) status.st_size;
    if (!map_parts(memory, size < CBP_CHANNEL_SIZE ? size : CBP_CHANNEL_SIZE))
        return false;
    self->helper.channel = memory;
    return self->helper.channel->magic == CBP_PROTOCOL_MAGIC &&
           self->helper.channel->version == CBP_PROTOCOL_VERSION &&
           self->helper.channel->size == CBP_CHANNEL_SIZE;
}

uint32_t cbpd_own_user(bool effective)
{
    return (uint32_t) syscall(effective ? SYS_geteuid : SYS_getuid);
}

bool cbpd_peer_is_same_user(struct tracer *self)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(CONTROL_FD, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.uid != cbpd_own_user(true))
        return false;
    self->controller_pid = (uint32_t) peer.pid;
    return true;
}
