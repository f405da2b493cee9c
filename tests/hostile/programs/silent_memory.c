/* Tries to make the helper wait for ever with memory whose faults nobody serves (userfaultfd(2)): the last
 * argument of what it executes lies there. Its faults belong to a child of its own, the "server"; when that
 * ends, the memory is like any other, and the execution goes on.
 *
 *     silent_memory [...]      prints "server ID", then "now", and executes what prints "ran" */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { SIZE = 4096 };

static int explain(const char *what)
{
    printf("%s: %s\n", what, strerror(errno));
    return 2;
}

int main(void)
{
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device < 0)
        return explain("/dev/userfaultfd");
    int faults = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API};
    char *page = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (faults < 0 || page == MAP_FAILED || ioctl(faults, UFFDIO_API, &api) != 0)
        return explain("userfaultfd");
    struct uffdio_register range = {.range = {(unsigned long) page, SIZE},
                                    .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (ioctl(faults, UFFDIO_REGISTER, &range) != 0)
        return explain("UFFDIO_REGISTER");
    pid_t server = fork();
    if (server < 0)
        return explain("fork");
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    close(faults);
    printf("server %d\nnow\n", (int) server);
    fflush(stdout);
    execl("/bin/sh", "sh", "-c", "echo ran", page, NULL);
    return explain("execl");
}
