/* Tries to act upon a protected server by calls whose target cannot be read from outside.
 *
 *     unknown WAY SERVER
 *
 * WAY is one of the table below; SERVER is the path of a copy of this program under a protected name. */
#include <grp.h>
#include <pthread.h>
#include <sys/file.h>

#include "guarded.h"

static void hide(void)
{
    CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
}

static int outcome(long result)
{
    return result < 0 ? errno : 0;
}

/* ---- A caller that is not dumpable: its descriptors are not shown ---- */

static void hidden_signal(const char *program)
{
    start_server(program, "");
    int fd = pidfd_open_of(server.process);
    hide();
    tell(outcome(syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0)), false);
}

static void hidden_folder(const char *program)
{
    char path[64];
    start_server(program, "");
    snprintf(path, sizeof path, "/proc/%d", server.process);
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    hide();
    tell(outcome(syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0)), false);
}

static void hidden_getfd(const char *program)
{
    start_server(program, "");
    int fd = pidfd_open_of(server.process);
    hide();
    long found = syscall(SYS_pidfd_getfd, fd, SERVER_DESCRIPTOR, 0);
    tell(outcome(found), is_secret((int) found));
}

/* ---- In a PID namespace: which one it is cannot be read ---- */

static void play_first(const char *program, const char *how, bool hides)
{
    CHECK(getpid() == 1);
    start_server(program, how);
    if (hides)
        hide();
    tell(outcome(syscall(SYS_kill, server.process, SIGKILL)), false);
}

static void in_namespace(const char *program, const char *how, bool hides)
{
    int status;
    enter_namespaces(CLONE_NEWPID);
    pid_t first = fork();
    CHECK(first >= 0);
    if (first == 0) {
        play_first(program, how, hides);
        exit(0);
    }
    CHECK(waitpid(first, &status, 0) == first && status == 0);
}

static void namespace_of_caller(const char *program)
{
    in_namespace(program, "", true);
}

static void namespace_of_server(const char *program)
{
    in_namespace(program, "hidden", false);
}

/* ---- More text than is looked for ---- */

/* A descriptor's locks are listed before what it stands for. */
static void locked_pidfd(const char *program)
{
    start_server(program, "");
    int fd = pidfd_open_of(server.process);
    for (int i = 0; i < 100; i++) {
        struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 2 * i, .l_len = 1};
        if (fcntl(fd, F_OFD_SETLK, &lock) != 0)
            exit(UNSUPPORTED);
    }
    long found = syscall(SYS_pidfd_getfd, fd, SERVER_DESCRIPTOR, 0);
    tell(outcome(found), is_secret((int) found));
}

static void take_groups(void)
{
    enum { COUNT = 3000 };
    static gid_t groups[COUNT];
    for (unsigned i = 0; i < COUNT; i++)
        groups[i] = 1000000 + i;
    if (setgroups(COUNT, groups) != 0)
        exit(UNSUPPORTED);
}

static void groups_of_server(const char *program)
{
    take_groups();
    start_server(program, "");
    tell(outcome(kill(-server.process, SIGKILL)), false);
}

static void groups_in_namespace(const char *program)
{
    take_groups();
    in_namespace(program, "", false);
}

/* ---- Descriptors that another thread exchanges ---- */

static int harmless_fd, server_fd, exchanged_fd;

static void *exchange(void *unused)
{
    for (;;) {
        dup2(server_fd, exchanged_fd);
        dup2(harmless_fd, exchanged_fd);
    }
    return unused;
}

static void exchanged_getfd(const char *program)
{
    pthread_t thread;
    long found = -1;
    start_server(program, "");
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(SERVER_DESCRIPTOR);
        CHECK(dup2(STDIN_FILENO, SERVER_DESCRIPTOR) >= 0);
        for (;;)
            pause();
    }
    usleep(50000);
    server_fd = pidfd_open_of(server.process);
    harmless_fd = pidfd_open_of(child);
    exchanged_fd = dup(harmless_fd);
    CHECK(pthread_create(&thread, NULL, exchange, NULL) == 0);
    for (int i = 0, refused = 0; i < 50000 && refused < 2000 && !is_secret((int) found); i++) {
        if (found >= 0)
            close((int) found);
        refused += found < 0 && errno == EPERM;
        found = syscall(SYS_pidfd_getfd, exchanged_fd, SERVER_DESCRIPTOR, 0);
    }
    int error = outcome(found);
    kill(child, SIGKILL);
    tell(error, is_secret((int) found));
}

/* ---- What has to work ---- */

/* An honest program that is not dumpable signals a child of its own, by a descriptor and by its id. */
static void honest(const char *program)
{
    int status;
    start_server(program, "");
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        for (;;)
            pause();
    int fd = pidfd_open_of(child);
    hide();
    CHECK(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == 0);
    int error = outcome(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0));
    CHECK(kill(child, SIGTERM) == 0);
    CHECK(waitpid(child, &status, 0) == child);
    tell(error, WTERMSIG(status) == SIGTERM);
}

/* Waits for a line before it acts, so that the test can do something to the helper. */
static void signal_of_a_group(const char *program)
{
    char line[8];
    start_server(program, "");
    printf("ready\n");
    fflush(stdout);
    CHECK(fgets(line, sizeof line, stdin) != NULL);
    int error = outcome(kill(-server.process, SIGKILL));
    if (error == EPERM)
        error = outcome(kill(server.process, SIGKILL));
    tell(error, false);
}

static const struct {
    const char *name;
    void (*act)(const char *program);
} ways[] = {
    {"hidden-signal", hidden_signal},
    {"hidden-folder", hidden_folder},
    {"hidden-getfd", hidden_getfd},
    {"namespace-of-caller", namespace_of_caller},
    {"namespace-of-server", namespace_of_server},
    {"locked-pidfd", locked_pidfd},
    {"groups-of-server", groups_of_server},
    {"groups-in-namespace", groups_in_namespace},
    {"exchanged-getfd", exchanged_getfd},
    {"honest", honest},
    {"signal-of-a-group", signal_of_a_group},
};

int main(int count, char **arguments)
{
    CHECK(count == 3);
    if (strcmp(arguments[1], "serve") == 0)
        serve(arguments[2]);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        if (strcmp(ways[i].name, arguments[1]) == 0) {
            ways[i].act(arguments[2]);
            return 0;
        }
    return FAILED;
}
