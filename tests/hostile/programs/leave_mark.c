/* What an attack executes to show that it could: leave_mark FILE appends its process id to the file. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    char line[32];
    int file = count == 2 ? open(arguments[1], O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    snprintf(line, sizeof line, "%d\n", (int) getpid());
    return file >= 0 && write(file, line, strlen(line)) == (ssize_t) strlen(line) ? 0 : 1;
}
