/* A program that a list allows tries to execute what the list does not name: the file DENIED, in every way in
 * which a program can be named, called and passed off for another. It is in the list itself, by the path
 * ALLOWED.
 *
 *     unlisted FOLDER ALLOWED DENIED LOADER
 *
 * It works in FOLDER, and prints a line for each attempt: its name, and "ran", "refused", "killed", or
 * "impossible" with the reason. DENIED has run if it ends with status 42. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RAN = 42, REFUSED = 43, IMPOSSIBLE = 44 };

static const char *allowed, *denied, *loader;
extern char **environ;

static void execute(const char *path)
{
    char *arguments[] = {(char *) path, NULL};
    execve(path, arguments, environ);
}

/* A copy; 0 or an errno. */
static int copy(const char *from, int to)
{
    char buffer[65536];
    ssize_t size;
    int fd = open(from, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || to < 0)
        return errno;
    while ((size = read(fd, buffer, sizeof buffer)) > 0)
        if (write(to, buffer, (size_t) size) != size)
            return errno;
    close(fd);
    return 0;
}

static int copy_to(const char *path)
{
    int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    int error = copy(denied, to);
    close(to);
    return error;
}

static int itself(void)
{
    execute(denied);
    return 0;
}

static int a_copy(void)
{
    int error = copy_to("copy");
    execute("./copy");
    return error;
}

static int a_link(void)
{
    if (symlink(denied, "link") != 0)
        return errno;
    execute("./link");
    return 0;
}

static int a_hard_link(void)
{
    if (link(denied, "hard-link") != 0)
        return errno;
    execute("./hard-link");
    return 0;
}

static int by_descriptor(void)
{
    char path[64];
    int fd = open(denied, O_RDONLY);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    execute(path);
    return 0;
}

static int a_memory_file(void)
{
    char *arguments[] = {(char *) allowed, NULL};
    int fd = memfd_create("unlisted", MFD_CLOEXEC);
    int error = copy(denied, fd);
    syscall(SYS_execveat, fd, "", arguments, environ, AT_EMPTY_PATH);
    return error;
}

static int by_the_loader(void)
{
    char *arguments[] = {(char *) loader, "/bin/sh", "-c", "exit 42", NULL};
    execve(loader, arguments, environ);
    return 0;
}

static int a_script(void)
{
    int fd = open("script", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    dprintf(fd, "#!%s\n", denied);
    close(fd);
    execute("./script");
    return 0;
}

static int by_a_shell(void)
{
    char *arguments[] = {"sh", "-c", "exit 42", NULL};
    execve("/bin/sh", arguments, environ);
    return 0;
}

/* Its own user namespace, in which it is root. */
static int become_root(int more)
{
    char map[64];
    unsigned user = getuid();
    if (unshare(CLONE_NEWUSER | more) != 0)
        return errno;
    int fd = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
    int size = snprintf(map, sizeof map, "0 %u 1", user);
    if (fd < 0 || write(fd, map, (size_t) size) != size)
        return errno;
    close(fd);
    return 0;
}

static int a_bind_mount(void)
{
    int error = become_root(CLONE_NEWNS);
    if (error == 0 && mount(denied, allowed, NULL, MS_BIND, NULL) != 0)
        error = errno;
    if (error == 0)
        execute(allowed);
    return error;
}

/* A folder in which the allowed path leads to the denied file. */
static int make_root(void)
{
    char path[4096];
    snprintf(path, sizeof path, "root%s", allowed);
    for (char *at = path; (at = strchr(at, '/')) != NULL; *at++ = '/') {
        *at = 0;
        (void) mkdir(path, 0755);
    }
    return copy_to(path);
}

static int another_root(void)
{
    int error = make_root();
    if (error == 0)
        error = become_root(0);
    if (error == 0 && chroot("root") != 0)
        error = errno;
    if (error == 0)
        execute(allowed);
    return error;
}

static int a_mounted_root(void)
{
    int error = make_root();
    if (error == 0)
        error = become_root(CLONE_NEWNS);
    if (error == 0 && (mount("root", "root", NULL, MS_BIND | MS_REC, NULL) != 0 || chdir("root") != 0 ||
                       syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0))
        error = errno;
    if (error == 0)
        execute(allowed);
    return error;
}

static int a_removed_file(void)
{
    int error = copy_to("removed");
    int fd = open("removed", O_RDONLY);
    char *arguments[] = {(char *) allowed, NULL};
    unlink("removed");
    syscall(SYS_execveat, fd, "", arguments, environ, AT_EMPTY_PATH);
    return error;
}

static void attempt(const char *name, int (*act)(void))
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        int error = act();
        if (error != 0)
            fprintf(stderr, "%s: %s\n", name, strerror(error));
        _exit(error != 0 ? IMPOSSIBLE : REFUSED);
    }
    waitpid(pid, &status, 0);
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    printf("%s: %s\n", name,
           code == RAN                                          ? "ran"
           : code == REFUSED                                    ? "refused"
           : code == IMPOSSIBLE                                 ? "impossible"
           : WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? "killed"
                                                                : "broken");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return RAN; /* this is DENIED, or the allowed program in its ordinary place */
    allowed = argv[2];
    denied = argv[3];
    loader = argv[4];
    if (chdir(argv[1]) != 0)
        return 1;
    attempt("itself", itself);
    attempt("a copy", a_copy);
    attempt("a link", a_link);
    attempt("a hard link", a_hard_link);
    attempt("by descriptor", by_descriptor);
    attempt("a memory file", a_memory_file);
    attempt("by the loader", by_the_loader);
    attempt("a script", a_script);
    attempt("by a shell", by_a_shell);
    attempt("a bind mount", a_bind_mount);
    attempt("another root", another_root);
    attempt("a mounted root", a_mounted_root);
    attempt("a removed file", a_removed_file);
    return 0;
}
