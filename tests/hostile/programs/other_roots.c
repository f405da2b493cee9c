/* Executes a path that means another file in another root, or in other mounts, than it means to the helper.
 *
 * other_roots HOW ROOT FOLDER NAME. ROOT has FOLDER, too, with a file NAME. HOW the task gets there: chroot,
 * chroot-by-thread, chroot-by-sharer, chroot-i386, chroot-x32, pivot_root, unshare, unshare-empty, clone, setns.
 * Then it executes FOLDER/NAME. It prints "errno N", or what the executed program prints; "impossible" if this
 * machine or this user has no such way. A user's namespaces are made if root's rights are needed.
 *
 * other_roots: prints "ran". */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Linux 7.1 has this flag of unshare: the caller's root is an empty folder in mounts of its own. */
enum { NEW_EMPTY_MOUNTS = 0x00100000, COPY_TREE = 1, MOUNT_AT_DESCRIPTOR = 4 };

static const char *root, *folder, *name;

static void demand(bool done)
{
    if (done)
        return;
    puts("impossible");
    exit(0);
}

static void execute(void)
{
    char path[4096], *arguments[] = {(char *) name, NULL}, *nothing[] = {NULL};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    execve(path, arguments, nothing);
    printf("errno %d\n", errno);
    exit(0);
}

/* In the caller's mounts, FOLDER is ROOT's from now on. */
static void mount_over(void)
{
    char inner[4096];
    snprintf(inner, sizeof inner, "%s%s", root, folder);
    demand(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    demand(mount(inner, folder, NULL, MS_BIND, NULL) == 0);
}

static void *change_in_thread(void *unused)
{
    demand(chroot(root) == 0);
    return unused;
}

static int change_in_sharer(void *unused)
{
    (void) unused;
    _exit(chroot(root) == 0 ? 0 : 1);
}

static int change_and_execute(void *unused)
{
    (void) unused;
    mount_over();
    execute();
    return 0;
}

static long call_i386(long number, unsigned long argument)
{
#if defined(__x86_64__)
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(argument), "c"(0L), "d"(0L), "S"(0L), "D"(0L)
                     : "memory", "r8", "r9", "r10", "r11");
    return result;
#else
    (void) number, (void) argument;
    return -ENOSYS;
#endif
}

static void change_by_i386(void)
{
    char *low = mmap((void *) 0x10000000, 4096, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    demand(low != MAP_FAILED);
    snprintf(low, 4096, "%s", root);
    demand(call_i386(61, (unsigned long) low) == 0);
}

static void pivot(void)
{
    demand(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    demand(mount(root, root, NULL, MS_BIND, NULL) == 0 && chdir(root) == 0);
    demand(syscall(SYS_pivot_root, ".", ".") == 0 && umount2(".", MNT_DETACH) == 0 && chdir("/") == 0);
}

/* ROOT is mounted over the empty root, and "/.." leads there. */
static void leave_everything(void)
{
    static char above[4096];
    int tree = (int) syscall(SYS_open_tree, AT_FDCWD, root, COPY_TREE | AT_RECURSIVE | O_CLOEXEC);
    demand(tree >= 0 && unshare(NEW_EMPTY_MOUNTS) == 0);
    demand(syscall(SYS_move_mount, tree, "", AT_FDCWD, "/", MOUNT_AT_DESCRIPTOR) == 0);
    snprintf(above, sizeof above, "/..%s", folder);
    folder = above;
}

static void enter_namespace(void)
{
    char path[64];
    int ready[2], done[2];
    char byte;
    demand(pipe(ready) == 0 && pipe(done) == 0);
    pid_t child = fork();
    if (child == 0) {
        bool is_there = unshare(CLONE_NEWNS) == 0;
        if (is_there)
            mount_over();
        (void) !write(ready[1], "", is_there);
        close(ready[1]);
        close(done[1]);
        _exit((int) read(done[0], &byte, 1));
    }
    close(ready[1]);
    demand(read(ready[0], &byte, 1) == 1);
    snprintf(path, sizeof path, "/proc/%d/ns/mnt", (int) child);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    demand(fd >= 0 && setns(fd, CLONE_NEWNS) == 0);
    close(done[1]);
    demand(waitpid(child, NULL, 0) == child);
}

int main(int argc, char **argv)
{
    static char stack[65536] __attribute__((aligned(16)));
    int status = 1;
    pthread_t thread;
    if (argc < 5) {
        puts("ran");
        return 0;
    }
    const char *how = argv[1];
    root = argv[2], folder = argv[3], name = argv[4];
    setvbuf(stdout, NULL, _IOLBF, 0);
    demand(geteuid() == 0 || unshare(CLONE_NEWUSER) == 0);
    if (strcmp(how, "chroot") == 0) {
        demand(chroot(root) == 0);
    } else if (strcmp(how, "chroot-by-thread") == 0) {
        demand(pthread_create(&thread, NULL, change_in_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
    } else if (strcmp(how, "chroot-by-sharer") == 0) {
        pid_t child = clone(change_in_sharer, stack + sizeof stack, CLONE_FS | SIGCHLD, NULL);
        demand(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    } else if (strcmp(how, "chroot-i386") == 0) {
        change_by_i386();
    } else if (strcmp(how, "chroot-x32") == 0) {
        demand(syscall(0x40000000 + SYS_chroot, root) == 0);
    } else if (strcmp(how, "pivot_root") == 0) {
        pivot();
    } else if (strcmp(how, "unshare") == 0) {
        demand(unshare(CLONE_NEWNS) == 0);
        mount_over();
    } else if (strcmp(how, "unshare-empty") == 0) {
        leave_everything();
    } else if (strcmp(how, "clone") == 0) {
        pid_t child = clone(change_and_execute, stack + sizeof stack, CLONE_NEWNS | SIGCHLD, NULL);
        demand(child > 0 && waitpid(child, &status, 0) == child);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    } else if (strcmp(how, "setns") == 0) {
        enter_namespace();
    }
    execute();
}
