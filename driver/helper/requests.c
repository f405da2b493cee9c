/* Serves the requests of the controller that are alike in all drivers. */
#include "cbp_atomic.h"
#include "cbp_message_check.h"
#include "helper.h"

static uint32_t serve_hello(struct cbpd_helper *helper, const void *message, uint64_t *value)
{
    const struct cbp_hello *hello = message;
    (void) value;
    if (hello->magic != CBP_PROTOCOL_MAGIC || hello->version != CBP_PROTOCOL_VERSION)
        return CBP_ERROR_INVALID_KERNEL_INFO_VERSION;
    /* The controller states deadlines in its clock, which must be the helper's. */
    return hello->clock_ns > helper->host->now_ns() ? CBP_ERROR_APP_INIT_FAILURE : 0;
}

static uint32_t serve_session(struct cbpd_helper *helper, const void *message, uint64_t *value)
{
    const struct cbp_session_settings *settings = message;
    uint32_t place;
    bool is_new = cbpd_find_session(&helper->policy, CBPD_ONLY_CONTROLLER, settings->session_id, &place) != 0;
    uint32_t error = cbpd_set_session(&helper->policy, CBPD_ONLY_CONTROLLER, settings, &place);
    (void) value;
    if (error == 0 && is_new)
        cbp_store_u64(&cbpd_channel_of(helper, place)->heartbeat_ns, helper->host->now_ns());
    return error;
}

static uint32_t serve_session_close(struct cbpd_helper *helper, const void *message, uint64_t *value)
{
    const struct cbp_session_close *request = message;
    uint32_t place;
    uint32_t error = cbpd_find_session(&helper->policy, CBPD_ONLY_CONTROLLER, request->session_id, &place);
    (void) value;
    if (error != 0)
        return error;
    cbpd_release_session_slots(helper, place);
    cbpd_close_session(&helper->policy, place);
    helper->host->let_released_go(helper);
    return 0;
}

static uint32_t serve_launch_forget(struct cbpd_helper *helper, const void *message, uint64_t *value)
{
    const struct cbp_launch_forget *request = message;
    uint32_t place;
    uint32_t error = cbpd_find_session(&helper->policy, CBPD_ONLY_CONTROLLER, request->session_id, &place);
    (void) value;
    if (error == 0)
        error = cbpd_forget_launch(&helper->policy, place, request->rule_id);
    helper->host->let_released_go(helper);
    return error;
}

static uint32_t serve_process_query(struct cbpd_helper *helper, const void *message, uint64_t *value)
{
    const struct cbp_process_query *query = message;
    const struct cbpd_process *process = cbpd_find_process(&helper->policy, query->process_id);
    if (!process || process->standing.is_let_go)
        return CBP_ERROR_NOT_FOUND;
    *value = helper->host->capabilities_of(process);
    return 0;
}

static const struct {
    uint32_t type;
    uint32_t (*serve)(struct cbpd_helper *helper, const void *message, uint64_t *value);
} requests[] = {
    {CBP_MESSAGE_HELLO, serve_hello},
    {CBP_MESSAGE_SESSION, serve_session},
    {CBP_MESSAGE_SESSION_CLOSE, serve_session_close},
    {CBP_MESSAGE_LAUNCH_FORGET, serve_launch_forget},
    {CBP_MESSAGE_PROCESS_QUERY, serve_process_query},
};

uint32_t cbpd_request_type(const void *message, uint64_t size)
{
    const struct cbp_message_header *header = message;
    bool is_request = size >= sizeof *header && header->type != CBP_MESSAGE_EVENT &&
                      cbpd_message_check(message, size, header->type) == 0;
    return is_request ? header->type : 0;
}

uint32_t cbpd_serve_request(struct cbpd_helper *helper, uint32_t type, const void *message, uint64_t *value)
{
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++)
        if (requests[i].type == type)
            return requests[i].serve(helper, message, value);
    return CBP_ERROR_INVALID_DATA;
}

struct cbp_reply cbpd_reply_to(struct cbpd_helper *helper, const struct cbp_message_header *request,
                               uint32_t status, uint64_t value)
{
    return (struct cbp_reply){
        .header = {.size = sizeof(struct cbp_reply), .type = CBP_MESSAGE_REPLY, .id = request->id},
        .status = status,
        .version = CBP_PROTOCOL_VERSION,
        .value = value,
        .clock_ns = helper->host->now_ns(),
    };
}
