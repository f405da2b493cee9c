/* Tries to make whoever looks at it wait for ever: mounts a file system that it serves itself, and that
 * answers nobody but the program that executes something from it.
 *
 * silent_files FOLDER CASE [HOME]   mounts onto FOLDER in a mount namespace of its own, says "server PID",
 * then "now", and executes, or waits to be looked at: see attack(). Statuses: 77 such a file system cannot be
 * mounted here (says why), 3 the execution was refused. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    STATUS_REFUSED = 3,
    STATUS_CANNOT = 77,
    REQUEST_SIZE = 256 * 1024,
    SERVING_LIMIT_S = 12,
    NAMES_VALID_S = 3600
};
enum { NODE_SCRIPT = 2, NODE_DATA, NODE_PROGRAM };

static const char *const names[] = {"script", "data", "program"};
static const char *contents[] = {"#!/bin/sh\necho ran\n", "an argument", NULL};
static size_t sizes[3];

static void give_up(const char *what)
{
    printf("%s: %s\n", what, strerror(errno));
    fflush(stdout);
    _exit(STATUS_CANNOT);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        give_up(path);
    close(fd);
}

/* ---- The file system ---- */

static void fill_attributes(uint64_t node, struct fuse_attr *attributes)
{
    attributes->ino = node;
    attributes->mode = node == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0755;
    attributes->nlink = 1;
    attributes->size = node == FUSE_ROOT_ID ? 0 : sizes[node - NODE_SCRIPT];
    attributes->blksize = 4096;
    attributes->uid = getuid();
    attributes->gid = getgid();
}

static void answer(int device, const struct fuse_in_header *request, int error, const void *bytes,
                   size_t size)
{
    struct fuse_out_header header = {
        .len = (uint32_t) (sizeof header + size), .error = -error, .unique = request->unique};
    const struct iovec parts[] = {{&header, sizeof header}, {(void *) (uintptr_t) bytes, size}};
    (void) !writev(device, parts, 2);
}

static void answer_read(int device, const struct fuse_in_header *request)
{
    const struct fuse_read_in *wanted = (const void *) (request + 1);
    size_t at = (size_t) (request->nodeid - NODE_SCRIPT), size = wanted->size;
    if (wanted->offset >= sizes[at])
        size = 0;
    else if (size > sizes[at] - wanted->offset)
        size = (size_t) (sizes[at] - wanted->offset);
    answer(device, request, 0, contents[at] + (size > 0 ? wanted->offset : 0), size);
}

static void answer_one(int device, const struct fuse_in_header *request)
{
    struct fuse_entry_out entry = {.nodeid = 0, .entry_valid = NAMES_VALID_S};
    struct fuse_attr_out attributes = {.attr_valid = 0};
    struct fuse_open_out opened = {.fh = 0};
    struct fuse_statfs_out system = {.st = {.bsize = 4096, .namelen = 255}};
    switch (request->opcode) {
    case FUSE_LOOKUP:
        if (strcmp((const char *) (request + 1), "silent") == 0)
            break; /* not even its own program */
        for (uint64_t i = 0; i < 3; i++)
            if (strcmp((const char *) (request + 1), names[i]) == 0)
                entry.nodeid = NODE_SCRIPT + i;
        fill_attributes(entry.nodeid != 0 ? entry.nodeid : FUSE_ROOT_ID, &entry.attr);
        answer(device, request, entry.nodeid != 0 ? 0 : ENOENT, &entry, entry.nodeid != 0 ? sizeof entry : 0);
        break;
    case FUSE_GETATTR:
        fill_attributes(request->nodeid, &attributes.attr);
        answer(device, request, 0, &attributes, sizeof attributes);
        break;
    case FUSE_OPEN:
    case FUSE_OPENDIR:
        answer(device, request, 0, &opened, sizeof opened);
        break;
    case FUSE_READ:
        answer_read(device, request);
        break;
    case FUSE_STATFS:
        answer(device, request, 0, &system, sizeof system);
        break;
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
        answer(device, request, 0, NULL, 0);
        break;
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
        break;
    default:
        answer(device, request, ENOSYS, NULL, 0);
        break;
    }
}

/* Answers those requests only that come from one process, and those of the kernel itself (process 0). */
static void serve(int device, uint32_t only)
{
    static char buffer[REQUEST_SIZE] __attribute__((aligned(8)));
    struct pollfd readable = {.fd = device, .events = POLLIN};
    time_t end = time(NULL) + SERVING_LIMIT_S;
    for (;;) {
        int count = poll(&readable, 1, 200);
        if (time(NULL) >= end) {
            close(device); /* a test that goes wrong must not leave anybody waiting */
            _exit(0);
        }
        if (count <= 0)
            continue;
        ssize_t size = read(device, buffer, sizeof buffer);
        const struct fuse_in_header *request = (const void *) buffer;
        if (size < 0 && (errno == EINTR || errno == ENOENT))
            continue;
        if (size < (ssize_t) sizeof *request)
            _exit(0);
        if (request->opcode == FUSE_INIT) {
            const struct fuse_init_in *wanted = (const void *) (request + 1);
            struct fuse_init_out init = {
                .major = FUSE_KERNEL_VERSION, .minor = wanted->minor, .max_write = 128 * 1024};
            answer(device, request, 0, &init, sizeof init);
        } else if (request->pid == only || request->pid == 0) {
            answer_one(device, request);
        }
    }
}

static void have_namespaces(void)
{
    char map[64];
    unsigned user = getuid(), group = getgid();
    if (unshare(user == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) != 0)
        give_up("no namespaces of one's own");
    if (user != 0) {
        write_file("/proc/self/setgroups", "deny");
        snprintf(map, sizeof map, "%u %u 1", user, user);
        write_file("/proc/self/uid_map", map);
        snprintf(map, sizeof map, "%u %u 1", group, group);
        write_file("/proc/self/gid_map", map);
    }
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        give_up("no private mounts");
}

static void start_serving(const char *folder)
{
    char options[128];
    have_namespaces();
    int device = open("/dev/fuse", O_RDWR);
    if (device < 0)
        give_up("/dev/fuse");
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u", device, getuid(),
             getgid());
    if (mount("silent", folder, "fuse", MS_NOSUID | MS_NODEV, options) != 0)
        give_up("mount");
    uint32_t only = (uint32_t) getpid();
    pid_t server = fork();
    if (server == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL) == 0)
        serve(device, only);
    if (server < 0)
        give_up("fork");
    close(device);
    printf("server %d\n", (int) server);
    fflush(stdout);
}

/* ---- Executions ---- */

static char *path_of(const char *folder, const char *name)
{
    char *path = NULL;
    if (asprintf(&path, "%s/%s", folder, name) < 0)
        abort();
    return path;
}

/* A script in an ordinary folder whose interpreter lies in the mounted one. */
static const char *make_script(const char *home, const char *interpreter)
{
    char *path = path_of(home, "ordinary"), *text = NULL;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    int size = asprintf(&text, "#!%s say\n", interpreter);
    if (fd < 0 || size < 0 || write(fd, text, (size_t) size) != size)
        give_up(path);
    close(fd);
    return path;
}

/* Memory that is a silent file: anywhere, or in the place of what is there. */
static char *map_silent(const char *folder, uintptr_t there)
{
    int fd = open(path_of(folder, "data"), O_RDONLY | O_CLOEXEC);
    char *silent = mmap((void *) there, 4096, PROT_READ | PROT_WRITE,
                        there != 0 ? MAP_PRIVATE | MAP_FIXED : MAP_PRIVATE, fd, 0);
    if (fd < 0 || silent == MAP_FAILED)
        give_up("data");
    return silent;
}

/* A child that waits until its gate is opened. What /proc says of its state is opened before: later nobody
 * may be able to. */
static pid_t fork_at_gate(int *gate, int *stat_fd)
{
    int ends[2];
    char byte, path[64];
    pid_t child = pipe(ends) == 0 ? fork() : -1;
    if (child < 0)
        give_up("fork");
    close(ends[child == 0 ? 1 : 0]);
    if (child == 0) {
        (void) !read(ends[0], &byte, 1);
        return 0;
    }
    snprintf(path, sizeof path, "/proc/%d/stat", (int) child);
    *gate = ends[1];
    *stat_fd = open(path, O_RDONLY | O_CLOEXEC);
    return child;
}

/* Others may have inherited the gate: that it is closed here would tell nobody. */
static void open_gate(int gate)
{
    if (write(gate, "", 1) != 1)
        give_up("gate");
    close(gate);
}

/* Lets it through, and waits until it ends, or waits itself for what nobody can interrupt. */
static bool gets_stuck(int gate, int stat_fd)
{
    char text[512], *state;
    int stuck_looks = 0;
    open_gate(gate);
    while (stuck_looks < 3) {
        ssize_t size = pread(stat_fd, text, sizeof text - 1, 0);
        text[size > 0 ? size : 0] = 0;
        state = strrchr(text, ')');
        if (state == NULL || state[2] == 'Z')
            break;
        stuck_looks = state[2] == 'D' ? stuck_looks + 1 : 0;
        usleep(5 * 1000);
    }
    close(stat_fd);
    return stuck_looks == 3;
}

/* Makes every look-up of a new name in a folder of /proc wait: one process lists it into memory that is a
 * silent file and holds its lock meanwhile, another one waits for that lock to write there. */
static void lock_folder(const char *listed, char *silent)
{
    enum { TRIES_MAX = 500 };
    char new[64];
    int gate, stat_fd, fd = open(listed, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    snprintf(new, sizeof new, "%s/new", listed);
    if (fork() == 0)
        _exit(syscall(SYS_getdents64, fd, silent, 4096L) > 0);
    for (int i = 0; i < TRIES_MAX; i++) { /* at once, and in vain, until there is a lock to wait for */
        if (fork_at_gate(&gate, &stat_fd) == 0)
            _exit(mkdir(new, 0700) == 0);
        if (gets_stuck(gate, stat_fd))
            return;
        usleep(10 * 1000);
    }
    give_up(new);
}

/* Executes in a child whose folder is locked. */
static void execute_behind_lock(const char *folder, char **arguments)
{
    char own[64], *silent = map_silent(folder, 0);
    int status = 0, gate, stat_fd;
    pid_t child = fork_at_gate(&gate, &stat_fd);
    if (child == 0) {
        execve("/bin/echo", arguments, (char *[]){NULL});
        _exit(STATUS_REFUSED);
    }
    snprintf(own, sizeof own, "/proc/%d", (int) child);
    lock_folder(own, silent);
    open_gate(gate);
    kill(child, SIGCONT); /* whoever wants to know whom this concerns looks into the folder, too */
    waitpid(child, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : STATUS_REFUSED);
}

static void wait_to_be_looked_at(void)
{
    printf("now\n");
    fflush(stdout);
    for (;;)
        pause();
}

/* Nobody can look into this process's own folder any more. */
static void wait_behind_lock(const char *folder)
{
    char own[64];
    snprintf(own, sizeof own, "/proc/%d", (int) getpid());
    lock_folder(own, map_silent(folder, 0));
    wait_to_be_looked_at();
}

/* The path that this program was started by is no longer to be read. It stands at the top of the stack, whose
 * first frames may lie in that page: the ones that go on lie far below. */
static void wait_without_name(const char *folder)
{
    volatile char room[16 * 4096];
    room[0] = *folder;
    if (room[0] != '/')
        give_up(folder);
    (void) map_silent(folder, getauxval(AT_EXECFN) & ~(uintptr_t) 4095);
    wait_to_be_looked_at();
}

/* Has the helper look into the locked folder of a child until it has no readers left for that. */
static void use_up_readers(const char *folder)
{
    enum { LOOK_COUNT = 40 };
    char own[64], *silent = map_silent(folder, 0);
    int gate, stat_fd;
    pid_t child = fork_at_gate(&gate, &stat_fd);
    if (child == 0)
        _exit(0);
    snprintf(own, sizeof own, "/proc/%d", (int) child);
    lock_folder(own, silent);
    for (int i = 0; i < LOOK_COUNT; i++)
        kill(child, SIGCONT);
    wait_to_be_looked_at();
}

static void attack(const char *folder, const char *name, const char *home)
{
    char *script = path_of(folder, "script"), *program = path_of(folder, "program");
    struct stat known; /* the kernel remembers the names, so that nobody who asks for one keeps us from it */
    int opened = open(script, O_RDONLY);
    /* ... and after the first one that nobody needs to be asked when a file is closed. */
    if (stat(program, &known) != 0 || opened < 0 || close(opened) != 0)
        give_up(folder);
    const char *path = program;
    char *arguments[] = {(char *) "program", (char *) "say", NULL};
    if (strcmp(name, "script") == 0) {
        path = script;
    } else if (strcmp(name, "interpreter") == 0) {
        path = make_script(home, program);
    } else if (strcmp(name, "locked") == 0) {
        arguments[1] = (char *) "ran";
        printf("now\n");
        fflush(stdout);
        execute_behind_lock(folder, arguments);
    } else if (strcmp(name, "listed") == 0) { /* nobody can list processes any more */
        lock_folder("/proc", map_silent(folder, 0));
        wait_to_be_looked_at();
    } else if (strcmp(name, "many") == 0) {
        use_up_readers(folder);
    } else if (strcmp(name, "own") == 0) {
        wait_behind_lock(folder);
    } else if (strcmp(name, "nameless") == 0) {
        wait_without_name(folder);
    } else if (strcmp(name, "stuck") == 0) {
        path = make_script(home, path_of(folder, "silent"));
    } else if (strcmp(name, "folder") == 0) {
        if (chdir(folder) != 0)
            give_up(folder);
        path = "program";
    } else if (strcmp(name, "argument") == 0) {
        int fd = open(path_of(folder, "data"), O_RDONLY | O_CLOEXEC);
        char *mapped = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
        if (fd < 0 || mapped == MAP_FAILED)
            give_up("data");
        arguments[1] = mapped;
        path = "/bin/echo";
    } else if (strcmp(name, "descriptor") == 0) {
        int fd = open(program, O_PATH);
        printf("now\n");
        fflush(stdout);
        fexecve(fd, arguments, (char *[]){NULL});
        _exit(STATUS_REFUSED);
    } else if (strcmp(name, "program") != 0) {
        abort();
    }
    printf("now\n");
    fflush(stdout);
    execve(path, arguments, (char *[]){(char *) "PATH=/usr/bin:/bin", NULL});
    _exit(STATUS_REFUSED);
}

/* What the program says that is executed: this one, read from the mounted folder. */
static void load_program(const char *own_path)
{
    static char bytes[1024 * 1024];
    int fd = open(own_path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, bytes, sizeof bytes) : -1;
    if (size <= 0)
        give_up(own_path);
    close(fd);
    contents[2] = bytes;
    for (size_t i = 0; i < 3; i++)
        sizes[i] = i == 2 ? (size_t) size : strlen(contents[i]);
}

int main(int argument_count, char **arguments)
{
    if (argument_count > 1 && strcmp(arguments[1], "say") == 0) {
        puts("ran");
        return 0;
    }
    if (argument_count < 3)
        return 2;
    load_program("/proc/self/exe");
    start_serving(arguments[1]);
    attack(arguments[1], arguments[2], argument_count > 3 ? arguments[3] : "/tmp");
}
