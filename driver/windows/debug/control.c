/* Requests of the core. A request is copied before it is looked at,
 * because the core can still write to it. */
#include <string.h>

#include "cbp_atomic.h"
#include "cbp_message_check.h"
#include "debugger.h"

static union {
    uint64_t alignment;
    unsigned char bytes[CBP_DEBUG_REQUEST_SIZE_MAX];
} buffer;

static uint32_t accept_hello(struct debugger *self, const struct cbp_hello *hello)
{
    if (hello->magic != CBP_PROTOCOL_MAGIC || hello->version != CBP_PROTOCOL_VERSION)
        return CBP_ERROR_INVALID_KERNEL_INFO_VERSION;
    self->controller_pid = hello->process_id;
    /* Deadlines are told in the controller's clock: it must be ours. */
    return hello->clock_ns > cbpd_now_ns() ? CBP_ERROR_APP_INIT_FAILURE : 0;
}

static uint32_t query_process(struct debugger *self, const struct cbp_process_query *query, uint64_t *value)
{
    const struct process *process = find_process(self, query->process_id);
    if (process == NULL)
        return CBP_ERROR_NOT_FOUND;
    *value = cbpd_capabilities_of(process);
    return 0;
}

static uint32_t claim_process(struct debugger *self, const struct cbp_launch_process *request)
{
    struct process *process;
    uint32_t error = cbpd_claim_process(self, request, &process);
    if (process != NULL)
        cbpd_tell_creation(self, process);
    return error;
}

static uint32_t serve(struct debugger *self, uint32_t type, uint64_t *value)
{
    const void *request = buffer.bytes;
    switch (type) {
    case CBP_MESSAGE_HELLO:
        return accept_hello(self, request);
    case CBP_MESSAGE_SESSION:
        return cbpd_serve_session(&self->helper, request);
    case CBP_MESSAGE_SESSION_CLOSE:
        return cbpd_serve_session_close(&self->helper,
                                        ((const struct cbp_session_close *) request)->session_id);
    case CBP_MESSAGE_LAUNCH_FORGET:
        return cbpd_serve_launch_forget(&self->helper, request);
    case CBP_MESSAGE_LAUNCH_PROCESS:
        return claim_process(self, request);
    case CBP_MESSAGE_PROCESS_QUERY:
        return query_process(self, request, value);
    default:
        return CBP_ERROR_INVALID_DATA;
    }
}

static void reply(struct debugger *self, uint64_t id, uint32_t status, uint64_t value)
{
    self->control->reply = (struct cbp_reply){
        .header = {.size = sizeof self->control->reply, .type = CBP_MESSAGE_REPLY, .id = id},
        .status = status,
        .version = CBP_PROTOCOL_VERSION,
        .value = value,
        .clock_ns = cbpd_now_ns(),
    };
    cbpd_publish_counts(self);
    (void) SetEvent(self->reply_event);
}

static void serve_request(struct debugger *self)
{
    uint32_t size = cbp_load_relaxed_u32(&self->control->request_size);
    const struct cbp_message_header *header = (const void *) buffer.bytes;
    uint64_t value = CBP_DEBUG_CAPABILITIES;
    uint32_t status = CBP_ERROR_INVALID_DATA;
    if (size > sizeof buffer.bytes)
        size = 0;
    memset(buffer.bytes, 0, sizeof *header);
    memcpy(buffer.bytes, self->control->request, size);
    if (header->type != CBP_MESSAGE_EVENT && cbp_message_check(buffer.bytes, size, header->type) == 0) {
        if (header->type == CBP_MESSAGE_RULES) {
            cbpd_begin_loading_rules(self, (const void *) buffer.bytes);
            return;
        }
        status = serve(self, header->type, &value);
    }
    reply(self, header->id, status, value);
}

static void finish_rules(struct debugger *self)
{
    struct cbp_rules request;
    uint32_t status;
    uint64_t value = 0;
    if (cbpd_finish_loading_rules(self, &request, &status, &value))
        reply(self, request.header.id, status, value);
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

void cbpd_serve_control(struct debugger *self)
{
    bool is_over = cbp_load_u32(&self->control->is_closing) != 0 ||
                   WaitForSingleObject(self->controller, 0) != WAIT_TIMEOUT;
    if (is_over)
        cbpd_leave(self);
    else if (cbpd_is_loading_rules()) /* what follows rules waits until they are in force */
        finish_rules(self);
    else if (WaitForSingleObject(self->request_event, 0) == WAIT_OBJECT_0)
        serve_request(self);
}
