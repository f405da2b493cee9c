/* See event_encode.h. */
#include "event_encode.h"

#include <string.h>

uint32_t cbpi_event_encoded_size(const struct cbpi_delivery *delivery)
{
    const struct cbp_event *event = delivery->event;
    return (uint32_t) sizeof(struct cbp_event_message) + event->process_name_size +
           event->image_file_name_size + event->arguments_size;
}

static void append(struct cbp_event_message *message, const char *text, uint32_t text_size,
                   uint32_t *offset_field, uint32_t *size_field)
{
    *offset_field = text_size > 0 ? message->header.size : 0;
    *size_field = text_size;
    memcpy((char *) message + message->header.size, text, text_size);
    message->header.size += text_size;
}

static void encode_items(const struct cbpi_delivery *delivery, struct cbp_event_message *message)
{
    struct cbp_event_item *items = cbp_event_items(message);
    message->item_count = delivery->count;
    for (uint32_t i = 0; i < delivery->count; i++) {
        items[i].type = delivery->items[i][0];
        items[i].flags = delivery->items[i][1];
        items[i].result_code = delivery->result_codes[i];
        items[i].desired_access = delivery->desired_access[i];
    }
}

void cbpi_event_encode(const struct cbpi_delivery *delivery, uint64_t id, struct cbp_event_message *message)
{
    const struct cbp_event *event = delivery->event;
    memset(message, 0, sizeof *message);
    message->header.size = (uint32_t) sizeof *message;
    message->header.type = CBP_MESSAGE_EVENT;
    message->header.id = id;
    message->header.deadline_ns = event->deadline_ns;
    message->sequence = event->sequence;
    message->time_ns = event->time_ns;
    message->start_time = event->start_time;
    message->process_id = event->process_id;
    message->thread_id = event->thread_id;
    message->parent_process_id = event->parent_process_id;
    message->originator_process_id = event->originator_process_id;
    message->originator_thread_id = event->originator_thread_id;
    message->source_process_id = event->source_process_id;
    message->target_process_id = event->target_process_id;
    message->original_desired_access = event->original_desired_access;
    message->user_id = event->user_id;
    message->exit_status = event->exit_status;
    message->capabilities = event->capabilities;
    append(message, cbp_event_process_name(event), event->process_name_size, &message->process_name_offset,
           &message->process_name_size);
    append(message, cbp_event_image_file_name(event), event->image_file_name_size,
           &message->image_file_name_offset, &message->image_file_name_size);
    append(message, cbp_event_arguments(event), event->arguments_size, &message->arguments_offset,
           &message->arguments_size);
    encode_items(delivery, message);
}

void cbpi_verdict_fill(struct cbp_verdict *verdict, const struct cbpi_delivery *delivery, uint64_t id,
                       uint32_t state)
{
    memset(verdict, 0, sizeof *verdict);
    uint32_t *result_codes = &verdict->result_code0, *desired_access = &verdict->desired_access0;
    verdict->header.size = (uint32_t) sizeof *verdict;
    verdict->header.type = CBP_MESSAGE_VERDICT;
    verdict->header.id = id;
    verdict->sequence = delivery->sequence;
    verdict->state = state;
    verdict->item_count = delivery->count;
    verdict->deferred_items = delivery->deferred_items;
    for (uint32_t i = 0; i < delivery->count; i++) {
        result_codes[i] = delivery->result_codes[i];
        desired_access[i] = delivery->desired_access[i];
        if (delivery->items[i][1] & CBP_EVENT_FLAG_DECIDED_BY_RULE)
            verdict->decided_items |= 1u << i;
    }
}
