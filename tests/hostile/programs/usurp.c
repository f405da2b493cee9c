/* Tries to get the rights that a protected process has to what it has created.
 *
 *     usurp later SERVER     creates a server, then executes a copy of itself under a protected name, and
 *                            kills the server as if it had been protected when it created it
 *     usurp through SERVER   is protected, creates a server, executes a program that is not protected, which
 *                            executes the first one again
 *     usurp honest SERVER    is protected, creates a server, executes itself again, and ends the server
 *
 * SERVER is the path of a copy of this program under a protected name. */
#include "guarded.h"

static void execute(const char *program, const char *way)
{
    char process[16], input[16];
    CHECK(fcntl(server.input, F_SETFD, 0) == 0);
    snprintf(process, sizeof process, "%d", server.process);
    snprintf(input, sizeof input, "%d", server.input);
    execl(program, program, way, process, input, NULL);
    exit(FAILED);
}

static void kill_server(char **arguments)
{
    server.process = atoi(arguments[2]);
    server.input = atoi(arguments[3]);
    int error = kill(server.process, SIGKILL) != 0 ? errno : 0;
    tell(error, false);
}

int main(int count, char **arguments)
{
    char own[4096];
    ssize_t size = readlink("/proc/self/exe", own, sizeof own - 1);
    CHECK(size > 0 && count >= 3);
    own[size] = 0;
    if (strcmp(arguments[1], "serve") == 0)
        serve(arguments[2]);
    if (strcmp(arguments[1], "kill") == 0) {
        kill_server(arguments);
    } else if (strcmp(arguments[1], "back") == 0) {
        server.input = atoi(arguments[3]);
        server.process = atoi(arguments[2]);
        execute(arguments[4], "kill");
    } else if (strcmp(arguments[1], "later") == 0) {
        start_server(arguments[2], "");
        execute(arguments[2], "kill");
    } else if (strcmp(arguments[1], "honest") == 0) {
        start_server(own, "");
        execute(own, "kill");
    } else if (strcmp(arguments[1], "through") == 0) {
        char process[16], input[16];
        start_server(own, "");
        CHECK(fcntl(server.input, F_SETFD, 0) == 0);
        snprintf(process, sizeof process, "%d", server.process);
        snprintf(input, sizeof input, "%d", server.input);
        execl(arguments[2], arguments[2], "back", process, input, own, NULL);
    }
    return 0;
}
