/* Executes a program in its own place, or a child's, in one of many ways: `executing WAY PROGRAM ARGUMENT...`. The
 * program gets all ARGUMENTs, the first one included. Its status is that of the program, or the errno of the
 * failure. Knows nothing of who watches it. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FD = 77, EMPTY_PATH = 0x1000 };

static char *program, **arguments;
static char **volatile no_arguments = NULL;
extern char **environ;

static void fail(void)
{
    _exit(errno);
}

static void execute_descriptor(const char *path)
{
    syscall(SYS_execveat, FD, path, arguments, environ, path[0] == 0 ? EMPTY_PATH : 0);
}

static void open_as(const char *path, int flags)
{
    int fd = open(path, flags);
    if (fd < 0 || dup2(fd, FD) != FD)
        fail();
    close(fd);
}

static void by_path(void)
{
    execve(program, arguments, environ);
}

static void by_name(void)
{
    if (chdir(dirname(strdup(program))) != 0)
        fail();
    char name[256];
    snprintf(name, sizeof name, "./%s", basename(strdup(program)));
    execve(name, arguments, environ);
}

static void by_descriptor(void)
{
    open_as(program, O_PATH);
    execute_descriptor("");
}

static void by_folder(void)
{
    open_as(dirname(strdup(program)), O_PATH | O_DIRECTORY);
    execute_descriptor(basename(strdup(program)));
}

static void by_proc(void)
{
    open_as(program, O_RDONLY);
    execve("/proc/self/fd/77", arguments, environ);
}

static void deleted(void)
{
    open_as(program, O_RDONLY);
    if (unlink(program) != 0)
        fail();
    execute_descriptor("");
}

static void in_memory(void)
{
    static char bytes[1 << 20];
    ssize_t size = read(open(program, O_RDONLY), bytes, sizeof bytes);
    int fd = memfd_create("in memory", 0);
    if (size <= 0 || write(fd, bytes, (size_t) size) != size || dup2(fd, FD) != FD)
        fail();
    close(fd);
    execute_descriptor("");
}

static void *execute_here(void *unused)
{
    by_path();
    fail();
    return unused;
}

static void by_thread(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, execute_here, NULL) == 0)
        pthread_join(thread, NULL);
}

static void by_vfork(void)
{
    int status = 0;
    pid_t child = vfork();
    if (child == 0) {
        execve(program, arguments, environ);
        _exit(errno);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        fail();
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128);
}

static void without_arguments(void)
{
    execve(program, no_arguments, environ);
}

/* Is busy the first time, and not the second. */
static void busy_first(void)
{
    int fd = open(program, O_RDWR);
    execve(program, arguments, environ);
    if (errno != ETXTBSY)
        fail();
    close(fd);
    execve(program, arguments, environ);
}

/* Another thread changes the last argument once the file `go` is beside the program, and makes `gone`. */
static void *change(void *unused)
{
    char go[4096], gone[4096];
    const char *folder = dirname(strdup(program));
    snprintf(go, sizeof go, "%s/go", folder);
    snprintf(gone, sizeof gone, "%s/gone", folder);
    while (access(go, F_OK) != 0)
        usleep(1000);
    char **last = arguments;
    while (last[1])
        last++;
    memset(*last, 'X', strlen(*last));
    close(open(gone, O_CREAT | O_WRONLY, 0600));
    return unused;
}

static void changing(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, change, NULL) == 0)
        by_path();
}

static const struct {
    const char *name;
    void (*execute)(void);
} ways[] = {{"path", by_path},           {"name", by_name},     {"descriptor", by_descriptor},
            {"folder", by_folder},       {"proc", by_proc},     {"deleted", deleted},
            {"memory", in_memory},       {"thread", by_thread}, {"vfork", by_vfork},
            {"none", without_arguments}, {"busy", busy_first},  {"changing", changing}};

int main(int count, char **words)
{
    if (count < 3)
        return 2;
    program = words[2];
    arguments = words + 3;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        if (strcmp(ways[i].name, words[1]) == 0) {
            ways[i].execute();
            fail();
        }
    return 2;
}
