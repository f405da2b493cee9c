/* Implements channel_memory.h. */
#define _GNU_SOURCE
#include "channel_memory.h"

#include "errors.h"
#include "os_error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static uint64_t file_limit(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

static uint32_t fail_limit(const char *what)
{
    return cbpi_fail(
        CBP_ERROR_NO_SYSTEM_RESOURCES,
        "%s: a limit on the size of files is reached: RLIMIT_FSIZE (%llu bytes), which counts for "
        "shared memory, too",
        what, (unsigned long long) file_limit());
}

uint32_t cbpi_check_file_limit(uint64_t size, const char *what)
{
    return size > file_limit() ? fail_limit(what) : 0;
}

/* Makes one part and maps it over what is reserved for it. */
static int make_part(void *at, uint64_t size, int *fd)
{
    *fd = memfd_create("cbprocess", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (*fd < 0 || ftruncate(*fd, (off_t) size) != 0 ||
        fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0 ||
        mmap(at, (size_t) size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, *fd, 0) == MAP_FAILED)
        return errno;
    return 0;
}

uint32_t cbpi_channel_memory_make(struct cbpi_channel_memory *memory)
{
    static const char what[] = "cannot make the channel's memory";
    uint64_t page = (uint64_t) sysconf(_SC_PAGESIZE), part = file_limit();
    part = part < CBP_CHANNEL_SIZE ? part / page * page : CBP_CHANNEL_SIZE;
    memory->part_count = 0;
    if (part == 0 || (CBP_CHANNEL_SIZE + part - 1) / part > CBP_CHANNEL_PARTS_MAX)
        return fail_limit(what);
    memory->address = mmap(NULL, CBP_CHANNEL_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory->address == MAP_FAILED)
        return cbpi_fail_os(errno, what);
    for (uint64_t at = 0; at < CBP_CHANNEL_SIZE; at += part) {
        uint64_t rest = CBP_CHANNEL_SIZE - at;
        int os_error = make_part((char *) memory->address + at, rest < part ? rest : part,
                                 &memory->fds[memory->part_count++]);
        if (os_error != 0) {
            uint32_t error = cbpi_fail_os(os_error, what);
            cbpi_channel_memory_close(memory);
            munmap(memory->address, CBP_CHANNEL_SIZE);
            return error;
        }
    }
    madvise(memory->address, CBP_CHANNEL_SIZE, MADV_DONTFORK); /* a fork's child has no business in it */
    return 0;
}

void cbpi_channel_memory_close(struct cbpi_channel_memory *memory)
{
    while (memory->part_count > 0)
        if (memory->fds[--memory->part_count] >= 0)
            close(memory->fds[memory->part_count]);
}

bool cbpi_send_descriptors(int socket, const void *bytes, size_t size, const int *fds, uint32_t count)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(CBP_CHANNEL_PARTS_MAX * sizeof(int))];
    } ancillary = {0};
    struct iovec vector = {(void *) (uintptr_t) bytes, size};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = &ancillary;
        message.msg_controllen = CMSG_SPACE(count * sizeof *fds);
        ancillary.header.cmsg_level = SOL_SOCKET;
        ancillary.header.cmsg_type = SCM_RIGHTS;
        ancillary.header.cmsg_len = CMSG_LEN(count * sizeof *fds);
        memcpy(CMSG_DATA(&ancillary.header), fds, count * sizeof *fds);
    }
    ssize_t sent;
    do {
        sent = sendmsg(socket, &message, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == (ssize_t) size;
}

uint32_t cbpi_channel_memory_send(const struct cbpi_channel_memory *memory, int socket)
{
    const char byte = 0;
    uint32_t count = memory->part_count - 1;
    bool is_sent = count == 0 || cbpi_send_descriptors(socket, &byte, 1, memory->fds + 1, count);
    return is_sent ? 0 : cbpi_fail_os(errno, "cannot pass on the channel");
}
