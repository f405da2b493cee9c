/* Implements the part of serving.h about epolls. All sources are watched by edges: after a wake-up a source is
 * read until it has nothing more. */
#include "serving.h"

#include "errors.h"

#include <errno.h>
#include <limits.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static bool add(int epoll, int descriptor, uint32_t source, uint32_t events)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET | events, .data.u32 = source};
    return descriptor < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

/* Adds what one thread at most has to wake up for. */
static bool add_exclusive(const struct cbpi_guard *guard, int epoll)
{
    return add(epoll, guard->descriptors[CBP_GUARD_FD_GATE], CBPI_SOURCE_GATE, EPOLLEXCLUSIVE) &&
           add(epoll, guard->descriptors[CBP_GUARD_FD_UPPER], CBPI_SOURCE_UPPER, EPOLLEXCLUSIVE) &&
           add(epoll, guard->descriptors[CBP_GUARD_FD_LOWER], CBPI_SOURCE_LOWER, EPOLLEXCLUSIVE);
}

uint32_t cbpi_sources_open(const struct cbpi_guard *guard, uint32_t sources, int *epoll, int *bell)
{
    *epoll = epoll_create1(EPOLL_CLOEXEC);
    *bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    bool is_ready =
        *epoll >= 0 && *bell >= 0 && add(*epoll, *bell, CBPI_SOURCE_BELL, 0) && add_exclusive(guard, *epoll);
    if (is_ready && sources & CBPI_SOURCE_RING)
        is_ready = add(*epoll, guard->descriptors[CBP_GUARD_FD_RECORDS], CBPI_SOURCE_RING, 0);
    if (is_ready && sources & CBPI_SOURCE_GUARD)
        is_ready = add(*epoll, guard->process, CBPI_SOURCE_GUARD, 0);
    if (is_ready)
        return 0;
    int error = errno;
    cbpi_sources_close(epoll, bell);
    return cbpi_fail(error == EMFILE || error == ENFILE ? CBP_ERROR_TOO_MANY_OPEN_FILES
                                                        : CBP_ERROR_GEN_FAILURE,
                     "the sources of events cannot be watched (errno %d)", error);
}

void cbpi_sources_close(int *epoll, int *bell)
{
    if (*epoll >= 0)
        close(*epoll);
    if (*bell >= 0)
        close(*bell);
    *epoll = *bell = -1;
}

void cbpi_sources_move_behind(const struct cbpi_guard *guard, int epoll)
{
    static const enum cbp_guard_descriptor moved[] = {CBP_GUARD_FD_GATE, CBP_GUARD_FD_UPPER,
                                                      CBP_GUARD_FD_LOWER};
    for (size_t i = 0; i < sizeof moved / sizeof moved[0]; i++)
        if (guard->descriptors[moved[i]] >= 0)
            (void) epoll_ctl(epoll, EPOLL_CTL_DEL, guard->descriptors[moved[i]], NULL);
    (void) add_exclusive(guard, epoll);
}

uint32_t cbpi_sources_wait(int epoll, uint32_t timeout_ms)
{
    struct epoll_event events[8];
    uint32_t sources = 0;
    int timeout = timeout_ms > INT_MAX ? -1 : (int) timeout_ms;
    int count = epoll_wait(epoll, events, (int) (sizeof events / sizeof events[0]), timeout);
    for (int i = 0; i < count; i++)
        sources |= events[i].data.u32;
    return sources;
}
