/* Serves requests of the core. A request is copied first, because the core can still write to it. */
#include <string.h>

#include "cbp_atomic.h"
#include "debugger.h"

static union {
    uint64_t alignment;
    unsigned char bytes[CBP_DEBUG_REQUEST_SIZE_MAX];
} buffer;

static uint32_t claim_process(struct debugger *self, const struct cbp_launch_process *request)
{
    struct process *process;
    uint32_t error = cbpd_claim_process(self, request, &process);
    if (process)
        cbpd_tell_creation(self, process);
    return error;
}

static void send_reply(struct debugger *self, struct cbp_reply reply)
{
    self->control->reply = reply;
    cbpd_publish_counts(self);
    (void) SetEvent(self->reply_event);
}

static void serve_request(struct debugger *self)
{
    uint32_t size = cbp_load_relaxed_u32(&self->control->request_size), status;
    const void *request = buffer.bytes;
    uint64_t value = CBP_DEBUG_CAPABILITIES;
    if (size > sizeof buffer.bytes)
        size = 0;
    memset(buffer.bytes, 0, sizeof(struct cbp_message_header));
    memcpy(buffer.bytes, self->control->request, size);
    uint32_t type = cbpd_request_type(request, size);
    if (type == CBP_MESSAGE_RULES) {
        cbpd_begin_loading_rules(self, request);
        return;
    }
    if (type == CBP_MESSAGE_LAUNCH_PROCESS)
        status = claim_process(self, request);
    else
        status = cbpd_serve_request(&self->helper, type, request, &value);
    if (type == CBP_MESSAGE_HELLO && status == 0)
        self->controller_pid = ((const struct cbp_hello *) request)->process_id;
    send_reply(self, cbpd_reply_to(&self->helper, request, status, value));
}

void cbpd_leave(struct debugger *self)
{
    self->helper.controller_gone = true;
    cbpd_release_every_slot(&self->helper);
    cbpd_apply_settled(self);
    self->helper.leaving = true;
    cbpd_let_everything_go(self);
    cbpd_end_every_launch();
}

/* Requests that follow rules wait until those are in force. */
void cbpd_serve_control(struct debugger *self)
{
    bool is_over = cbp_load_u32(&self->control->is_closing) != 0 ||
                   WaitForSingleObject(self->controller, 0) != WAIT_TIMEOUT;
    if (is_over)
        cbpd_leave(self);
    else if (cbpd_is_loading(&self->helper, CBPD_LOADING_DONE))
        send_reply(self, cbpd_finish_loading(&self->helper));
    else if (cbpd_is_loading(&self->helper, CBPD_LOADING_IDLE) &&
             WaitForSingleObject(self->request_event, 0) == WAIT_OBJECT_0)
        serve_request(self);
}
