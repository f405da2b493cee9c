/* A server that others attack, for the programs beside this one: each starts it by executing a copy of
 * itself under a name that a rule protects, acts against it, and says what it achieved. The server holds a
 * descriptor with a text of its own, lives until its standard input ends, and then exits with 7. */
#ifndef GUARDED_H
#define GUARDED_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FAILED = 99, UNSUPPORTED = 98, END_OF_SERVER = 7, SERVER_DESCRIPTOR = 9 };

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno);                \
            exit(FAILED);                                                                                    \
        }                                                                                                    \
    } while (0)

static struct {
    pid_t process;
    int input;
} server;

static inline int pidfd_open_of(pid_t process)
{
    int fd = (int) syscall(SYS_pidfd_open, process, 0);
    CHECK(fd >= 0);
    return fd;
}

/* In the server: how it is prepared is told by the last argument. */
static inline _Noreturn void serve(const char *how)
{
    char byte;
    if (strcmp(how, "as it is") != 0)
        CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
    prctl(PR_SET_PTRACER, -1);
    if (strcmp(how, "hidden") == 0)
        CHECK(prctl(PR_SET_DUMPABLE, 0) == 0);
    CHECK(write(STDOUT_FILENO, "r", 1) == 1);
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    _exit(END_OF_SERVER);
}

/* Starts the program as the server, in a process group of its own. What is to be done in its process before
 * it executes the program, while no rule knows it, is a function. */
static inline void start_prepared_server(const char *program, const char *how, void (*prepare)(void))
{
    int input[2], output[2];
    char byte;
    CHECK(pipe2(input, O_CLOEXEC) == 0 && pipe2(output, O_CLOEXEC) == 0);
    server.process = fork();
    CHECK(server.process >= 0);
    if (server.process == 0) {
        CHECK(setpgid(0, 0) == 0);
        CHECK(dup2(input[0], STDIN_FILENO) == 0 && dup2(output[1], STDOUT_FILENO) == 1);
        int secret = memfd_create("secret", 0);
        CHECK(secret >= 0 && write(secret, "secret", 6) == 6);
        CHECK(dup2(secret, SERVER_DESCRIPTOR) == SERVER_DESCRIPTOR);
        if (prepare != NULL)
            prepare();
        execl(program, program, "serve", how, NULL);
        _exit(FAILED);
    }
    close(input[0]);
    close(output[1]);
    server.input = input[1];
    CHECK(read(output[0], &byte, 1) == 1);
    close(output[0]);
}

static inline void start_server(const char *program, const char *how)
{
    start_prepared_server(program, how, NULL);
}

/* Whether a descriptor is the server's secret. */
static inline bool is_secret(int fd)
{
    char text[8] = "";
    return fd >= 0 && pread(fd, text, sizeof text, 0) == 6 && memcmp(text, "secret", 6) == 0;
}

/* Prints what one attack has come to: its errno, what it got, and how the server ended. */
static inline void tell(int error, bool got)
{
    int status;
    usleep(20000);
    close(server.input);
    CHECK(waitpid(server.process, &status, 0) == server.process);
    bool lived = WIFEXITED(status) && WEXITSTATUS(status) == END_OF_SERVER;
    printf("{\"errno\": %d, \"got\": %s, \"lived\": %s}\n", error, got ? "true" : "false",
           lived ? "true" : "false");
    fflush(stdout);
}

/* Who traces us; 0: nobody does. */
static inline pid_t tracer(void)
{
    char line[256];
    int found = 0;
    FILE *file = fopen("/proc/self/status", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        sscanf(line, "TracerPid: %d", &found);
    CHECK(file != NULL && fclose(file) == 0);
    return found;
}

/* The one user that an ordinary user may map. */
static inline void enter_namespaces(int flags)
{
    char text[64];
    uid_t user = geteuid();
    if (unshare(flags | (user == 0 ? 0 : CLONE_NEWUSER)) != 0)
        exit(UNSUPPORTED);
    if (user == 0)
        return;
    CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
    int size = snprintf(text, sizeof text, "%u %u 1", user, user);
    int map = open("/proc/self/uid_map", O_WRONLY | O_CLOEXEC);
    CHECK(map >= 0 && write(map, text, (size_t) size) == size && close(map) == 0);
}

#endif
