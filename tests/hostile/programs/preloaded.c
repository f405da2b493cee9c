/* Tries to run, and to leave a child behind, before anybody traces the process that it is loaded into: a
 * library for LD_PRELOAD or LD_AUDIT whose constructor forks. Each process says in the file ATTACK_LOG which
 * program it is in and who traces it; the child once more when it has had time to be forgotten. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

unsigned la_version(unsigned version);

unsigned la_version(unsigned version)
{
    return version; /* without it a library is no auditor, and is unloaded */
}

static int tracer(void)
{
    char line[256];
    int process = -1;
    FILE *status = fopen("/proc/self/status", "r");
    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, "TracerPid:", 10) == 0)
            process = atoi(line + 10);
    if (status != NULL)
        fclose(status);
    return process;
}

static void tell(const char *who)
{
    char program[4096], line[5000];
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    program[size > 0 ? size : 0] = 0;
    int length = snprintf(line, sizeof line, "%s %d %s\n", who, tracer(), program);
    int log = open(getenv("ATTACK_LOG"), O_WRONLY | O_APPEND | O_CREAT, 0666);
    if (log < 0 || write(log, line, (size_t) length) != length)
        _exit(99);
    close(log);
}

__attribute__((constructor)) static void begin(void)
{
    const struct timespec pause = {0, 200 * 1000 * 1000};
    tell("loaded");
    if (fork() == 0) {
        nanosleep(&pause, NULL);
        tell("child");
        _exit(0);
    }
}
