/* Serves the controller's requests, one at a time: reads one from the socket, has it done, and replies. Knows
 * the messages of cbp_machine.h and who does what. */
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static unsigned char message[sizeof(struct cbp_guard_request) + CBP_GUARD_TEXT_MAX];

/* Missing descriptors become copies of /dev/null, so that the order says which is which. */
static void reply(const struct guard *self, uint32_t status, const int *descriptors, size_t count)
{
    int sent[CBP_GUARD_FD_COUNT];
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (size_t i = 0; i < count; i++)
        sent[i] = descriptors[i] >= 0 ? descriptors[i] : null;
    struct cbp_guard_reply head = {.status = status,
                                   .abilities = self->abilities,
                                   .text_size = status == 0 ? 0 : (uint32_t) strlen(self->sentence),
                                   .descriptor_count = (uint32_t) count};
    struct iovec parts[] = {{&head, sizeof head}, {(void *) (uintptr_t) self->sentence, head.text_size}};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof sent)];
    } control = {.room = {0}};
    struct msghdr whole = {.msg_iov = parts, .msg_iovlen = 2};
    if (count > 0) {
        whole.msg_control = &control;
        whole.msg_controllen = (socklen_t) CMSG_SPACE(count * sizeof *sent);
        struct cmsghdr *passed = CMSG_FIRSTHDR(&whole);
        passed->cmsg_level = SOL_SOCKET;
        passed->cmsg_type = SCM_RIGHTS;
        passed->cmsg_len = (socklen_t) CMSG_LEN(count * sizeof *sent);
        memcpy(CMSG_DATA(passed), sent, count * sizeof *sent);
    }
    while (sendmsg(CBP_GUARD_SOCKET, &whole, MSG_NOSIGNAL) < 0 && errno == EINTR)
        continue;
    if (null >= 0)
        close(null);
}

static uint32_t make_ready(struct guard *self)
{
    uint32_t result = cbpd_check_machine(self);
    if (result != 0)
        return result;
    (void) cbpd_make_groups(&self->holdings);
    cbpd_make_gate(self);
    result = cbpd_load_programs(self);
    if (result == 0)
        result = cbpd_start_second(self);
    if (result == 0)
        result = cbpd_start_watcher(self);
    return result;
}

static void serve_hello(struct guard *self, const struct cbp_guard_request *request)
{
    int descriptors[CBP_GUARD_FD_COUNT];
    if (self->holdings.settings) {
        reply(self, cbpd_refuse_request(self, CBP_ERROR_INVALID_PARAMETER, "HELLO has been said"), NULL, 0);
        return;
    }
    self->socket_number = request->value <= INT32_MAX ? (int) request->value : -1;
    uint32_t result = make_ready(self);
    if (result != 0) {
        reply(self, result, NULL, 0);
        return;
    }
    for (int i = 0; i < CBP_GUARD_FD_COUNT; i++)
        descriptors[i] = cbpd_program_descriptor((enum cbp_guard_descriptor) i);
    descriptors[CBP_GUARD_FD_SHARED] = self->shared_memory;
    descriptors[CBP_GUARD_FD_GATE] = self->holdings.gate.fuse;
    descriptors[CBP_GUARD_FD_UPPER] = self->holdings.groups[GROUP_UPPER];
    descriptors[CBP_GUARD_FD_LOWER] = self->holdings.groups[GROUP_LOWER];
    descriptors[CBP_GUARD_FD_TASKS_ITERATOR] = self->tasks_link;
    reply(self, 0, descriptors, CBP_GUARD_FD_COUNT);
}

static void serve_tasks(struct guard *self)
{
    int links[CBP_GUARD_TASKS_FD_COUNT] = {-1, -1};
    uint32_t result = cbpd_load_task_lists(self, links);
    reply(self, result, links, result == 0 ? CBP_GUARD_TASKS_FD_COUNT : 0);
}

static bool holds(const struct guard *self)
{
    return cbpd_has_marks() || (self->programs & CBP_GUARD_PROGRAM_GATE) != 0;
}

/* Other guards learn of the gate, so that the higher one's is asked first. */
static uint32_t attach_programs(struct guard *self, uint32_t programs)
{
    bool had_gate = (self->programs & CBP_GUARD_PROGRAM_GATE) != 0;
    uint32_t result = cbpd_attach_programs(self, programs);
    if (result == 0 && had_gate != ((self->programs & CBP_GUARD_PROGRAM_GATE) != 0))
        result = cbpd_tell_gate(self);
    return result;
}

/* The watcher runs before anything is held, and rests after nothing is. Neighbours come first as well. */
static uint32_t change_holding(struct guard *self, const struct cbp_guard_request *request, const char *text)
{
    uint32_t result = 0;
    bool will_hold = request->type == CBP_GUARD_MARKS ? request->value != CBP_GUARD_MARKS_NONE
                                                      : (request->value & CBP_GUARD_PROGRAM_GATE) != 0;
    if (will_hold) {
        result = cbpd_meet_neighbours(self);
        cbpd_wake_watcher(true);
    }
    if (result == 0 && request->type == CBP_GUARD_MARKS)
        result = request->value <= CBP_GUARD_MARKS_EVERYTHING
                     ? cbpd_set_marks(self, (uint32_t) request->value, text, request->text_size)
                     : cbpd_refuse_request(self, CBP_ERROR_INVALID_PARAMETER, "there are no such marks");
    if (result == 0 && request->type == CBP_GUARD_PROGRAMS)
        result = attach_programs(self, (uint32_t) request->value);
    if (!holds(self)) {
        cbpd_leave_neighbours();
        cbpd_wake_watcher(false);
    }
    return result;
}

void cbpd_close_down(struct guard *self)
{
    cbpd_detach_all(self);
    if (self->holdings.settings)
        cbpd_release_everything(&self->holdings, false);
    cbpd_leave_neighbours();
    cbpd_end_second(self);
}

static uint32_t carry_out(struct guard *self, const struct cbp_guard_request *request, const char *text)
{
    if (!self->holdings.settings && request->type != CBP_GUARD_CLOSE)
        return cbpd_refuse_request(self, CBP_ERROR_NOT_READY, "HELLO comes first");
    switch (request->type) {
    case CBP_GUARD_PROGRAMS:
    case CBP_GUARD_MARKS:
        return change_holding(self, request, text);
    case CBP_GUARD_ALTITUDE:
        self->altitude = request->value;
        return holds(self) ? cbpd_meet_neighbours(self) : 0;
    case CBP_GUARD_CLOSE:
        cbpd_close_down(self);
        return 0;
    default:
        return cbpd_refuse_request(self, CBP_ERROR_INVALID_PARAMETER, "there is no such request");
    }
}

static uint32_t check(struct guard *self, const struct cbp_guard_request *request, size_t size)
{
    if (size < sizeof *request || request->text_size != size - sizeof *request)
        return cbpd_refuse_request(self, CBP_ERROR_INVALID_DATA, "the request is malformed");
    if (request->version != CBP_MACHINE_VERSION)
        return cbpd_refuse_request(self, CBP_ERROR_INVALID_KERNEL_INFO_VERSION,
                                   "the guard has version %u of %u", CBP_MACHINE_VERSION, request->version);
    if (request->text_size > 0 && message[size - 1] != 0)
        return cbpd_refuse_request(self, CBP_ERROR_INVALID_DATA, "the request's text has no end");
    return 0;
}

bool cbpd_serve_controller(struct guard *self)
{
    struct cbp_guard_request request;
    ssize_t size = recv(CBP_GUARD_SOCKET, message, sizeof message, MSG_TRUNC);
    if (size < 0)
        return errno == EINTR || errno == EAGAIN;
    if (size == 0)
        return false;
    if ((size_t) size > sizeof message) {
        reply(self, cbpd_refuse_request(self, CBP_ERROR_INVALID_DATA, "the request is too long"), NULL, 0);
        return true;
    }
    uint32_t result = check(self, memcpy(&request, message, sizeof request), (size_t) size);
    const char *text = (const char *) message + sizeof request;
    if (result == 0 && request.type == CBP_GUARD_HELLO)
        serve_hello(self, &request);
    else if (result == 0 && request.type == CBP_GUARD_TASKS)
        serve_tasks(self);
    else
        reply(self, result != 0 ? result : carry_out(self, &request, text), NULL, 0);
    return result != 0 || request.type != CBP_GUARD_CLOSE;
}
