/* Watches descriptors in a thread of its own - the control socket, the controller, launchers - and calls the
 * tracer, which reads and answers them. Only rules are read and validated here (rule_loading.c), because
 * thousands of them take longer than a stopped task should wait. Knows no messages. */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cbp_atomic.h"
#include "tracer.h"

#define WAKE_AGAIN_NS CBP_NS_PER_MS

static int epoll_fd = -1;
static pid_t tracer_tid;
static uint32_t attention; /* atomic; a descriptor is readable */

static void futex_wait(uint32_t *word, uint32_t value, long timeout_ns)
{
    struct timespec timeout = {0, timeout_ns};
    syscall(SYS_futex, word, FUTEX_WAIT, value, &timeout, NULL, 0);
}

/* Calls the tracer until it has noticed, because a signal just before it enters wait4 is lost. */
static void call_tracer(void)
{
    cbp_store_u32(&attention, 1);
    while (cbp_load_u32(&attention) != 0) {
        cbpd_wake_tracer();
        syscall(SYS_tgkill, getpid(), tracer_tid, SIGUSR1);
        futex_wait(&attention, 1, WAKE_AGAIN_NS);
    }
}

static void *watch(void *argument)
{
    struct tracer *self = argument;
    for (;;) {
        struct epoll_event event;
        if (epoll_wait(epoll_fd, &event, 1, -1) <= 0)
            continue;
        call_tracer();
        while (cbpd_load_wanted_rules(&self->helper))
            call_tracer(); /* the tracer may take over the next request */
    }
    return NULL;
}

bool cbpd_watch(int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

bool cbpd_begin_watching(struct tracer *self)
{
    pthread_t thread;
    sigset_t all, before;
    tracer_tid = (pid_t) syscall(SYS_gettid);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0 || !cbpd_watch(CONTROL_FD) || !cbpd_watch(CONTROLLER_FD))
        return false;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&thread, NULL, watch, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return error == 0;
}

bool cbpd_is_called(void)
{
    return cbp_load_u32(&attention) != 0;
}

bool cbpd_controller_has_ended(void)
{
    struct epoll_event events[16];
    int count = epoll_wait(epoll_fd, events, 16, 0);
    for (int i = 0; i < count; i++)
        if (events[i].data.fd == CONTROLLER_FD)
            return true;
    return false;
}

void cbpd_unwatch(int fd)
{
    (void) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

void cbpd_call_is_answered(void)
{
    cbp_store_u32(&attention, 0);
    syscall(SYS_futex, &attention, FUTEX_WAKE, 1, NULL, NULL, 0);
}
