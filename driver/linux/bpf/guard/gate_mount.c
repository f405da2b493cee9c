/* Makes the gate's file system: a FUSE mount that stands in no folder, with one file whose pages nobody ever
 * gets. A read of page N waits until somebody answers it. Serves what the kernel asks until the file is open;
 * from then on only reads and their interruptions come, and the controller serves them. */
#include "guard.h"

#include "new_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef FOPEN_NOFLUSH
#define FOPEN_NOFLUSH (1 << 5)
#endif

#define FILE_NAME "gate"
#define CALLBACK_TYPE "bpf_task_work_schedule_resume"

enum { ROOT_NODE = 1, FILE_NODE = 2, FUSE_MINOR = 31, OPEN_LIMIT_MS = 5000, STEP_MS = 10 };
enum { KERNEL_MAJOR = 6, KERNEL_MINOR = 18, REQUEST_SIZE_MAX = 16384, FOREVER_S = 1 << 30 };

struct opening {
    int mount;
    int file;
    int error;
    bool is_done; /* atomic */
};

static void answer(int fuse, uint64_t request_id, int error, void *body, size_t size)
{
    struct fuse_out_header head = {
        .len = (uint32_t) (sizeof head + size), .error = error, .unique = request_id};
    struct iovec parts[] = {{&head, sizeof head}, {body, size}};
    (void) !writev(fuse, parts, size > 0 ? 2 : 1);
}

static struct fuse_attr attributes(uint64_t node)
{
    struct fuse_attr result = {.ino = node, .nlink = 1, .blksize = CBP_MACHINE_SLOT_SIZE};
    result.mode = node == ROOT_NODE ? S_IFDIR | 0700 : S_IFREG | 0400;
    result.size = node == ROOT_NODE ? 0 : (uint64_t) CBP_MACHINE_SLOT_COUNT * CBP_MACHINE_SLOT_SIZE;
    return result;
}

static void serve_init(int fuse, const struct fuse_in_header *head, const struct fuse_init_in *body)
{
    struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION,
                                .minor = body->minor < FUSE_MINOR ? body->minor : FUSE_MINOR,
                                .max_write = CBP_MACHINE_SLOT_SIZE,
                                .time_gran = 1};
    answer(fuse, head->unique, 0, &out, sizeof out);
}

static void serve_lookup(int fuse, const struct fuse_in_header *head, const char *name)
{
    struct fuse_entry_out out = {.nodeid = FILE_NODE,
                                 .generation = 1,
                                 .entry_valid = FOREVER_S,
                                 .attr_valid = FOREVER_S,
                                 .attr = attributes(FILE_NODE)};
    bool is_known = strcmp(name, FILE_NAME) == 0;
    answer(fuse, head->unique, is_known ? 0 : -ENOENT, &out, is_known ? sizeof out : 0);
}

static void serve(int fuse, const struct fuse_in_header *head)
{
    struct fuse_attr_out attribute = {.attr_valid = FOREVER_S, .attr = attributes(head->nodeid)};
    /* A close of a copy of the descriptor must ask nothing, because nobody would answer. */
    struct fuse_open_out open_out = {.open_flags = FOPEN_KEEP_CACHE | FOPEN_NOFLUSH};
    switch (head->opcode) {
    case FUSE_INIT:
        serve_init(fuse, head, (const void *) (head + 1));
        break;
    case FUSE_LOOKUP:
        serve_lookup(fuse, head, (const char *) (head + 1));
        break;
    case FUSE_GETATTR:
        answer(fuse, head->unique, 0, &attribute, sizeof attribute);
        break;
    case FUSE_OPEN:
        answer(fuse, head->unique, 0, &open_out, sizeof open_out);
        break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        break; /* these have no answer */
    default:
        answer(fuse, head->unique, -ENOSYS, NULL, 0);
    }
}

static void *open_file(void *argument)
{
    struct opening *opening = argument;
    opening->file = openat(opening->mount, FILE_NAME, O_RDONLY | O_CLOEXEC);
    opening->error = errno;
    __atomic_store_n(&opening->is_done, true, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Opens the file in another thread, because this one has to serve what that needs. If that takes too long,
 * the device is closed: the thread gets an error then. */
static int open_served(int *fuse, int mount)
{
    static union {
        struct fuse_in_header head;
        unsigned char room[REQUEST_SIZE_MAX];
    } request;
    struct opening opening = {.mount = mount, .file = -1};
    uint64_t until_ns = cbpd_guard_time_ns() + OPEN_LIMIT_MS * CBP_NS_PER_MS;
    pthread_t thread;
    errno = pthread_create(&thread, NULL, open_file, &opening);
    if (errno != 0)
        return -1;
    while (!__atomic_load_n(&opening.is_done, __ATOMIC_SEQ_CST)) {
        struct pollfd readable = {.fd = *fuse, .events = POLLIN};
        if (poll(&readable, 1, STEP_MS) > 0 &&
            read(*fuse, &request, sizeof request) >= (ssize_t) sizeof request.head) {
            serve(*fuse, &request.head);
        } else if (cbpd_guard_time_ns() > until_ns) {
            close(*fuse);
            *fuse = -1;
            break;
        }
    }
    (void) pthread_join(thread, NULL);
    errno = opening.error;
    return opening.file;
}

/* The mount's device number names its connection among the controls of FUSE. */
static int open_abort(int file)
{
    struct stat status;
    char name[64];
    int controls = fstat(file, &status) == 0 ? cbpd_mount_unseen("fusectl", NULL, 0) : -1;
    if (controls < 0)
        return -1;
    (void) snprintf(name, sizeof name, "%llu/abort",
                    (unsigned long long) (minor(status.st_dev) | (uint64_t) major(status.st_dev) << 20));
    int result = openat(controls, name, O_WRONLY | O_CLOEXEC);
    int error = errno;
    close(controls);
    errno = error;
    return result;
}

static bool mount_gate(struct gate *gate, int *fuse)
{
    char number[16];
    (void) snprintf(number, sizeof number, "%d", *fuse);
    const struct mount_option options[] = {
        {"fd", number}, {"rootmode", "40000"}, {"user_id", "0"}, {"group_id", "0"}};
    int mount = cbpd_mount_unseen("fuse", options, sizeof options / sizeof options[0]);
    int file = mount < 0 ? -1 : open_served(fuse, mount);
    int abort = file < 0 ? -1 : open_abort(file);
    int error = errno;
    if (mount >= 0)
        close(mount); /* the open file keeps the file system */
    if (abort < 0 && file >= 0)
        close(file);
    errno = error;
    if (abort < 0)
        return false;
    *gate = (struct gate){.fuse = *fuse, .file = file, .abort = abort};
    return true;
}

void cbpd_make_gate(struct guard *self)
{
    struct gate *gate = &self->holdings.gate;
    *gate = (struct gate){.fuse = -1, .file = -1, .abort = -1};
    if (!cbpd_kernel_is(KERNEL_MAJOR, KERNEL_MINOR) ||
        !(cbpd_kernel_has_type(CALLBACK_TYPE) || cbpd_kernel_has_type(CALLBACK_TYPE "_impl"))) {
        self->no_gate = "Linux 6.18 or later is needed";
        return;
    }
    if (sysconf(_SC_PAGESIZE) != CBP_MACHINE_SLOT_SIZE) {
        self->no_gate = "pages of 4 KiB are needed"; /* several slots would wait for one page */
        return;
    }
    int fuse = open("/dev/fuse", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fuse >= 0 && mount_gate(gate, &fuse))
        return;
    self->no_gate = strerror(errno);
    if (fuse >= 0)
        close(fuse);
}
