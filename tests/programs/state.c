/* Usage: state FILE [ARGUMENT...]. Writes to FILE what a program finds when it begins, one line for each
 * thing: what its caller has given to it. What differs from one process to the next (ids, times, memory) is
 * left out. Ends with 3. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

enum { FD_MAX = 1024 };

extern char **environ;

/* Memory, so that no descriptor is opened before all have been looked at. */
static FILE *out;

static void print_bytes(const char *name, const char *bytes)
{
    fprintf(out, "%s ", name);
    for (; *bytes; bytes++)
        if (*bytes > ' ' && *bytes < 127 && *bytes != '\\')
            fputc(*bytes, out);
        else
            fprintf(out, "\\x%02x", (unsigned char) *bytes);
    fputc('\n', out);
}

static void print_descriptors(void)
{
    for (int fd = 0; fd < FD_MAX; fd++) {
        char path[64], target[4096], name[32];
        int flags = fcntl(fd, F_GETFD);
        if (flags < 0)
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t size = readlink(path, target, sizeof target - 1);
        target[size > 0 ? size : 0] = 0;
        snprintf(name, sizeof name, "descriptor %d", fd);
        fprintf(out, "flags %d %x %x\n", fd, (unsigned) flags, (unsigned) fcntl(fd, F_GETFL));
        print_bytes(name, target);
    }
}

/* As the kernel has them: a C library keeps some to itself. */
static void print_signals(void)
{
    unsigned char set[8];
    for (int number = 1; number <= 64; number++) {
        struct {
            unsigned long handler, rest[3];
        } action = {0};
        if (syscall(SYS_rt_sigaction, number, NULL, &action, 8) == 0 && action.handler != 0)
            fprintf(out, "signal %d %s\n", number, action.handler == 1 ? "ignored" : "handled");
    }
    if (syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, set, 8) == 0)
        for (int number = 1; number <= 64; number++)
            if (set[(number - 1) / 8] >> ((number - 1) % 8) & 1)
                fprintf(out, "blocked %d\n", number);
    if (syscall(SYS_rt_sigpending, set, 8) == 0)
        for (int number = 1; number <= 64; number++)
            if (set[(number - 1) / 8] >> ((number - 1) % 8) & 1)
                fprintf(out, "pending %d\n", number);
}

/* Lines of a file of /proc that begin with one of the words; all lines without words. */
static void print_file(const char *path, const char *const *words)
{
    char line[8192];
    FILE *file = fopen(path, "re");
    if (!file)
        return;
    while (fgets(line, sizeof line, file)) {
        int wanted = !words;
        for (const char *const *word = words; word && *word; word++)
            wanted |= strncmp(line, *word, strlen(*word)) == 0;
        if (wanted)
            fprintf(out, "%s %s", path, line);
    }
    fclose(file);
}

static void print_limits(void)
{
    for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
        struct rlimit limit;
        if (getrlimit((__rlimit_resource_t) resource, &limit) == 0)
            fprintf(out, "limit %d %llu %llu\n", resource, (unsigned long long) limit.rlim_cur,
                    (unsigned long long) limit.rlim_max);
    }
}

static void print_folders(void)
{
    char path[4096];
    const char *const links[] = {"/proc/self/cwd",    "/proc/self/root",   "/proc/self/exe",
                                 "/proc/self/ns/mnt", "/proc/self/ns/pid", "/proc/self/ns/user"};
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        ssize_t size = readlink(links[i], path, sizeof path - 1);
        path[size > 0 ? size : 0] = 0;
        print_bytes(links[i], path);
    }
    mode_t mask = umask(0);
    umask(mask);
    fprintf(out, "umask %o\n", (unsigned) mask);
}

static void print_terminal(void)
{
    fprintf(out, "session %d group %d\n", (int) getsid(0), (int) getpgrp());
    for (int fd = 0; fd < 3; fd++) {
        struct termios modes;
        if (tcgetattr(fd, &modes) == 0)
            fprintf(out, "terminal %d foreground %d modes %x %x %x %x\n", fd, (int) tcgetpgrp(fd),
                    (unsigned) modes.c_iflag, (unsigned) modes.c_oflag, (unsigned) modes.c_cflag,
                    (unsigned) modes.c_lflag);
    }
}

static void print_scheduling(void)
{
    int death_signal = 0, is_reaper = 0;
    errno = 0;
    fprintf(out, "nice %d\n", getpriority(PRIO_PROCESS, 0));
    fprintf(out, "policy %ld\n", syscall(SYS_sched_getscheduler, 0));
    fprintf(out, "io priority %ld\n", syscall(SYS_ioprio_get, 1, 0));
    fprintf(out, "personality %x\n", (unsigned) personality(0xffffffff));
    prctl(PR_GET_PDEATHSIG, &death_signal, 0, 0, 0);
    prctl(PR_GET_CHILD_SUBREAPER, &is_reaper, 0, 0, 0);
    fprintf(out, "death signal %d reaper %d dumpable %d slack %d no new rights %d\n", death_signal, is_reaper,
            prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0),
            prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

int main(int argument_count, char **arguments)
{
    static const char *const words[] = {
        "Umask:",  "Uid:",    "Gid:",        "Groups:",       "SigPnd:", "ShdPnd:",
        "SigBlk:", "SigIgn:", "SigCgt:",     "CapInh:",       "CapPrm:", "CapEff:",
        "CapBnd:", "CapAmb:", "NoNewPrivs:", "Cpus_allowed:", "Seccomp", NULL};
    char *text = NULL;
    size_t size = 0;
    out = open_memstream(&text, &size);
    if (!out || argument_count < 2)
        return 1;
    print_descriptors();
    for (int i = 0; i < argument_count; i++)
        print_bytes("argument", arguments[i]);
    for (char **entry = environ; *entry; entry++)
        print_bytes("environment", *entry);
    print_signals();
    print_file("/proc/self/status", words);
    print_file("/proc/self/oom_score_adj", NULL);
    print_file("/proc/self/coredump_filter", NULL);
    print_file("/proc/self/timerslack_ns", NULL);
    print_file("/proc/self/cgroup", NULL);
    print_limits();
    print_folders();
    print_terminal();
    print_scheduling();
    fclose(out);
    int fd = open(arguments[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd >= 0 && write(fd, text, size) == (ssize_t) size ? 3 : 1;
}
