/* Reads and answers requests of the core, once the watching thread (watching.c) has called the tracer. Runs
 * in the tracer thread only. */
#include <errno.h>
#include <poll.h>

#include "messages.h"
#include "tracer.h"

enum { REFUSAL_LIMIT_MS = 5000 };

static bool control_is_open = true;

static void send_reply(struct tracer *self, struct cbp_reply reply)
{
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
        send_reply(self, cbpd_reply_to(&self->helper, received.message, status, 0));
    cbpd_close_descriptors(&received);
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
    const void *request = received.message;
    uint32_t status = 0, type = received.is_whole ? cbpd_request_type(request, received.size) : 0;
    uint64_t value = CBP_PTRACE_CAPABILITIES;
    if (type == CBP_MESSAGE_RULES) {
        cbpd_begin_loading_rules(self, request, descriptors[0]);
        descriptors[0] = -1;
    } else if (type == CBP_MESSAGE_LAUNCH) {
        status = cbpd_begin_launch(request, descriptors[0], descriptors[1]);
        if (status == 0) /* the launch owns them now */
            descriptors[0] = descriptors[1] = -1;
    } else {
        status = cbpd_serve_request(&self->helper, type, request, &value);
    }
    cbpd_close_descriptors(&received);
    if (type != CBP_MESSAGE_RULES && received.size >= sizeof(struct cbp_message_header))
        send_reply(self, cbpd_reply_to(&self->helper, request, status, value));
    return true;
}

/* Requests that follow rules wait until those are in force. */
void cbpd_serve_requests(struct tracer *self)
{
    if (cbpd_is_loading(&self->helper, CBPD_LOADING_DONE)) {
        cbpd_begin_attaching();
        struct cbp_reply reply = cbpd_finish_loading(&self->helper);
        cbpd_end_attaching(self);
        send_reply(self, reply);
    }
    while (control_is_open && cbpd_is_loading(&self->helper, CBPD_LOADING_IDLE) && serve_request(self)) {
    }
}

bool cbpd_control_is_open(void)
{
    return control_is_open;
}
