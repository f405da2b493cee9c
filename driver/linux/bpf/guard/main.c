/* Is cbprocess-guard: owns what holds and observes the whole machine for one controller, and lets go of it
 * when the controller is gone, is silent, or does not answer in time. The core starts it with the descriptors
 * that cbp_machine.h names; it has no other interface. */
#include "guard.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fcntl.h>

enum { NEWS_ROOM = 4, FIRST_NEWS = 4 };

static uint32_t find_controller(void)
{
    struct ucred peer = {0};
    socklen_t size = sizeof peer;
    if (getsockopt(CBP_GUARD_SOCKET, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.uid != geteuid())
        return 0;
    return (uint32_t) peer.pid;
}

static bool make_shared_memory(struct guard *self)
{
    const size_t size = sizeof(struct cbp_machine_shared);
    self->shared_memory = memfd_create("cbprocess", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (self->shared_memory < 0 || ftruncate(self->shared_memory, (off_t) size) != 0 ||
        fcntl(self->shared_memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return false;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, self->shared_memory, 0);
    if (memory == MAP_FAILED)
        return false;
    self->holdings.shared = memory;
    self->holdings.shared->magic = CBP_MACHINE_MAGIC;
    self->holdings.shared->version = CBP_MACHINE_VERSION;
    return true;
}

/* Tasks that wait have their own reference to the pages, and go on being answered; new ones go on unasked
 * until there is another second process. */
static void replace_second(struct guard *self)
{
    close(self->second);
    self->second = -1;
    self->second_process_id = 0;
    if (cbpd_start_second(self) != 0)
        cbpd_publish_second(self); /* the gate is shut from now on */
}

/* Waits for the controller's next request, and does what else has become necessary. False: it is done. */
static bool serve_once(struct guard *self)
{
    int timeout_ms = -1;
    struct pollfd waited[FIRST_NEWS + NEWS_ROOM] = {
        {.fd = CBP_GUARD_SOCKET, .events = POLLIN},
        {.fd = self->second, .events = POLLIN},
        {.fd = cbpd_neighbours_descriptor(), .events = POLLIN},
        {.fd = self->holdings.controller, .events = POLLIN},
    };
    size_t news = cbpd_watch_news(waited + FIRST_NEWS, NEWS_ROOM, &timeout_ms);
    int count = poll(waited, FIRST_NEWS + news, timeout_ms);
    if (count < 0)
        return true;
    if (waited[3].revents != 0)
        return false; /* a forked child of it may still have the socket */
    if (waited[1].revents != 0)
        replace_second(self);
    if (waited[2].revents != 0)
        cbpd_look_at_neighbours(self);
    bool any = count == 0;
    for (size_t i = FIRST_NEWS; i < FIRST_NEWS + news; i++)
        any |= waited[i].revents != 0;
    if (any)
        cbpd_mark_news(self);
    return waited[0].revents == 0 || cbpd_serve_controller(self);
}

static struct guard whole = {
    .holdings = {.groups = {-1, -1},
                 .gate = {.fuse = -1, .file = -1, .abort = -1},
                 .controller = CBP_GUARD_CONTROLLER},
    .tasks_link = -1,
    .socket_number = -1,
    .second = -1,
};

int main(void)
{
    struct guard *self = &whole;
    struct sigaction reap = {.sa_handler = SIG_IGN, .sa_flags = SA_NOCLDWAIT};
    cbpd_harden_guard();
    sigaction(SIGCHLD, &reap, NULL);
    self->holdings.controller_process_id = find_controller();
    if (self->holdings.controller_process_id == 0 || !make_shared_memory(self))
        return EXIT_FAILURE;
    cbpd_lock_executable();
    while (serve_once(self))
        continue;
    cbpd_close_down(self);
    return EXIT_SUCCESS;
}
