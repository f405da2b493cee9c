/* Makes a script of a program without another time of change: `swapped_header FILE LINE WAIT_MS`. FILE is a
 * program. It is mapped and written to, and its time gets old. An execution of it fails, because it can be
 * written to; a helper has looked at it then. The mapping gives it LINE as its first line, and the file is
 * executed. Prints the errno of each execution; what the second one runs prints itself. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void execute(const char *path)
{
    char *arguments[] = {(char *) path, NULL}, *nothing[] = {NULL};
    execve(path, arguments, nothing);
    printf("errno %d\n", errno);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct stat before, after;
    if (argc < 4)
        return 2;
    int fd = open(argv[1], O_RDWR | O_CLOEXEC);
    char *bytes = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return 3;
    ((volatile char *) bytes)[0] = bytes[0];
    usleep((unsigned) atoi(argv[3]) * 1000);
    fstat(fd, &before);
    execute(argv[1]);
    memcpy(bytes, argv[2], strlen(argv[2]));
    fstat(fd, &after);
    munmap(bytes, 4096);
    close(fd);
    printf("time %s\n", memcmp(&before.st_ctim, &after.st_ctim, sizeof before.st_ctim) == 0 ? "kept" : "new");
    fflush(stdout);
    execute(argv[1]);
    return 0;
}
