/* Implements kernel_requests.h. */
#include "kernel_requests.h"

#include "cbp_message_check.h"
#include "errors.h"

#include <string.h>

static uint32_t request(struct cbpi_kernel_way way, struct cbp_message_header *header, uint64_t id,
                        uint64_t *value)
{
    struct cbp_reply reply;
    header->id = id;
    uint32_t error = cbpi_kernel_device_request(way.device, header, header->size, &reply, sizeof reply);
    if (error != 0)
        return error;
    if (cbpd_message_check(&reply, sizeof reply, CBP_MESSAGE_REPLY) != 0 || reply.header.id != id)
        return cbpi_fail(CBP_ERROR_INVALID_DATA, "the driver's reply is malformed");
    *value = reply.value;
    return reply.status;
}

uint32_t cbpi_kernel_answer(struct cbpi_kernel_way way, uint64_t id, const struct cbp_event_item *items,
                            uint32_t count)
{
    uint64_t value;
    struct cbp_kernel_answer message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_KERNEL_ANSWER},
                                        .session_id = way.session_id,
                                        .item_count = count};
    memcpy(&message.item0, items, count * sizeof *items);
    return request(way, &message.header, id, &value) == 0 ? 0 : CBP_ERROR_TIMEOUT;
}

uint32_t cbpi_kernel_deadline(struct cbpi_kernel_way way, uint64_t id, bool moves, uint32_t timeout_ms,
                              uint64_t *deadline_ns)
{
    struct cbp_kernel_deadline message = {
        .header = {.size = sizeof message, .type = CBP_MESSAGE_KERNEL_DEADLINE},
        .session_id = way.session_id,
        .moves = moves,
        .timeout_ms = timeout_ms};
    return request(way, &message.header, id, deadline_ns) == 0 ? 0 : CBP_ERROR_TIMEOUT;
}

int64_t cbpi_kernel_token(struct cbpi_kernel_way way, uint64_t id)
{
    uint64_t handle = 0;
    struct cbp_kernel_token message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_KERNEL_TOKEN},
                                       .session_id = way.session_id};
    return request(way, &message.header, id, &handle) == 0 ? (int64_t) handle : -1;
}

uint32_t cbpi_kernel_beat(struct cbpi_kernel_way way, struct cbp_kernel_counts *counts)
{
    struct cbp_kernel_beat message = {.header = {.size = sizeof message, .type = CBP_MESSAGE_KERNEL_BEAT},
                                      .session_id = way.session_id};
    uint32_t error = cbpi_kernel_device_request(way.device, &message, sizeof message, counts, sizeof *counts);
    if (error == 0)
        error = cbpd_message_check(counts, sizeof *counts, CBP_MESSAGE_KERNEL_COUNTS);
    if (error == 0)
        error = counts->status;
    return error == CBP_ERROR_NOT_FOUND ? CBP_ERROR_BROKEN_PIPE : error;
}
