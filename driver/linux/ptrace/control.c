/* Requests of the core: the tracer reads and answers them, once the watching thread (watching.c) has called it.
 * Runs in the tracer thread only. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cbp_atomic.h"
#include "cbp_message_check.h"
#include "look.h"
#include "messages.h"
#include "tracer.h"

enum { REFUSAL_LIMIT_MS = 5000 };

static bool control_is_open = true;

static void reply(struct tracer *self, const struct cbp_message_header *request, uint32_t status,
                  uint64_t value)
{
    struct cbp_reply reply = {
        .header = {.size = sizeof reply, .type = CBP_MESSAGE_REPLY, .id = request->id},
        .status = status,
        .version = CBP_PROTOCOL_VERSION,
        .value = value,
        .clock_ns = cbpd_now_ns(),
    };
    cbpd_publish_counts(self, NULL);
    cbpd_send_message(CONTROL_FD, &reply, sizeof reply);
}

void cbpd_control_refuse(struct tracer *self, int os_error)
{
    bool out_of_descriptors = os_error == EMFILE || os_error == ENFILE;
    uint32_t status = out_of_descriptors ? CBP_ERROR_TOO_MANY_OPEN_FILES : CBP_ERROR_NO_SYSTEM_RESOURCES;
    struct received received;
    struct pollfd control = {.fd = CONTROL_FD, .events = POLLIN};
    (void) poll(&control, 1, REFUSAL_LIMIT_MS);
    if (cbpd_receive_message(CONTROL_FD, &received) == RECEIVED_MESSAGE &&
        received.size >= sizeof(struct cbp_message_header))
        reply(self, (const void *) cbpd_message_buffer.bytes, status, 0);
    cbpd_close_descriptors(&received);
}

static uint32_t accept_hello(const struct cbp_hello *hello)
{
    if (hello->magic != CBP_PROTOCOL_MAGIC || hello->version != CBP_PROTOCOL_VERSION)
        return CBP_ERROR_INVALID_KERNEL_INFO_VERSION;
    /* Deadlines are told in the controller's clock: it must be ours. */
    return hello->clock_ns > cbpd_now_ns() ? CBP_ERROR_APP_INIT_FAILURE : 0;
}

static uint32_t query_process(struct tracer *self, const struct cbp_process_query *query,
                              uint64_t *capabilities)
{
    const struct process *process = find_process(self, query->process_id);
    if (process == NULL || process->base.standing.is_let_go)
        return CBP_ERROR_NOT_FOUND;
    *capabilities = cbpd_capabilities_of(process);
    return 0;
}

static bool serve_request(struct tracer *self)
{
    struct received received;
    enum reception reception = cbpd_receive_message(CONTROL_FD, &received);
    if (reception != RECEIVED_MESSAGE) {
        control_is_open = reception != RECEIVED_END;
        return false;
    }
    int *descriptors = received.descriptors;
    const struct cbp_message_header *header = (const void *) cbpd_message_buffer.bytes;
    uint32_t status = CBP_ERROR_INVALID_DATA;
    uint64_t value = CBP_PTRACE_CAPABILITIES;
    bool is_sound = received.is_whole && received.size >= sizeof *header &&
                    header->type != CBP_MESSAGE_EVENT &&
                    cbp_message_check(cbpd_message_buffer.bytes, received.size, header->type) == 0;
    switch (is_sound ? header->type : 0) {
    case CBP_MESSAGE_HELLO:
        status = accept_hello((const void *) cbpd_message_buffer.bytes);
        break;
    case CBP_MESSAGE_SESSION:
        status = cbpd_serve_session(&self->helper, (const void *) cbpd_message_buffer.bytes);
        break;
    case CBP_MESSAGE_SESSION_CLOSE:
        status = cbpd_serve_session_close(
            &self->helper,
            ((const struct cbp_session_close *) (const void *) cbpd_message_buffer.bytes)->session_id);
        break;
    case CBP_MESSAGE_RULES:
        cbpd_begin_loading_rules((const void *) cbpd_message_buffer.bytes, descriptors[0]);
        descriptors[0] = -1;
        cbpd_close_descriptors(&received);
        return true;
    case CBP_MESSAGE_LAUNCH_FORGET: {
        const struct cbp_launch_forget *request = (const void *) cbpd_message_buffer.bytes;
        status = cbpd_serve_launch_forget(&self->helper, request);
        break;
    }
    case CBP_MESSAGE_LAUNCH:
        status = cbpd_begin_launch((const void *) cbpd_message_buffer.bytes, descriptors[0], descriptors[1]);
        if (status == 0) /* they are the launch's now */
            descriptors[0] = descriptors[1] = -1;
        break;
    case CBP_MESSAGE_PROCESS_QUERY:
        status = query_process(self, (const void *) cbpd_message_buffer.bytes, &value);
        break;
    default:
        break;
    }
    cbpd_close_descriptors(&received);
    if (received.size >= sizeof *header)
        reply(self, header, status, value);
    return true;
}

/* What follows rules waits until they are in force. */
void cbpd_serve_requests(struct tracer *self)
{
    struct cbp_rules request;
    uint64_t value = 0;
    uint32_t status;
    if (cbpd_finish_loading_rules(self, &request, &status, &value))
        reply(self, &request.header, status, value);
    while (control_is_open && !cbpd_is_loading_rules() && serve_request(self)) {
    }
}

bool cbpd_control_is_open(void)
{
    return control_is_open;
}
