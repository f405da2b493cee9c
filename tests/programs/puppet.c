/* A process that does what it is told, and so do its children: puppet FOLDER NUMBER [FD].
 * Reads commands from the FIFO FOLDER/NUMBER (already open as FD after an execution), a line each, and
 * reports to standard output, also a line each, beginning with its number:
 *
 *     fork N     makes a child with the number N; the child reports "N forked PID"
 *     exec PATH  executes PATH as a puppet; reports "executed" under the new image, else "failed ERRNO"
 *     resume PID sends SIGCONT to another puppet, which runs; reports "resumed ERRNO", 0 if it was sent
 *     exit       ends; reports nothing
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *folder;

static void report(int number, const char *what, long value)
{
    char line[100];
    int size = snprintf(line, sizeof line, "%d %s %ld\n", number, what, value);
    if (write(1, line, (size_t) size) != size)
        _exit(98);
}

/* Both ends, so that it neither waits for a writer nor ever reads an end of file. */
static int open_commands(int number)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%d", folder, number);
    int fd = open(path, O_RDWR);
    if (fd < 0)
        _exit(97);
    return fd;
}

/* Byte by byte: what follows is for whoever executes next. */
static void read_line(int fd, char *line, size_t size)
{
    size_t used = 0;
    while (read(fd, line + used, 1) == 1 && line[used] != '\n' && used + 1 < size)
        used++;
    line[used] = '\0';
}

static void execute(const char *path, int number, int fd)
{
    char number_text[20], fd_text[20];
    snprintf(number_text, sizeof number_text, "%d", number);
    snprintf(fd_text, sizeof fd_text, "%d", fd);
    execl(path, path, folder, number_text, fd_text, (char *) NULL);
    report(number, "failed", errno);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 96;
    folder = argv[1];
    int number = atoi(argv[2]), fd = argc > 3 ? atoi(argv[3]) : open_commands(number);
    signal(SIGCHLD, SIG_IGN); /* nobody waits for children */
    report(number, "executed", getpid());
    for (;;) {
        char line[4096];
        read_line(fd, line, sizeof line);
        if (strncmp(line, "fork ", 5) == 0) {
            int child = atoi(line + 5);
            pid_t process = fork();
            if (process < 0)
                report(number, "failed", errno);
            if (process == 0) {
                close(fd);
                number = child;
                fd = open_commands(number);
                report(number, "forked", getpid());
            }
        } else if (strncmp(line, "resume ", 7) == 0) {
            pid_t other = atoi(line + 7);
            report(number, "resumed", other > 0 && kill(other, SIGCONT) == 0 ? 0 : errno);
        } else if (strncmp(line, "exec ", 5) == 0) {
            execute(line + 5, number, fd);
        } else {
            return 0;
        }
    }
}
