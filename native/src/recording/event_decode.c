/* See event_decode.h. */
#include "event_decode.h"

#include <string.h>

uint32_t cbpi_event_decoded_size(const struct cbp_event_message *message)
{
    uint32_t size = (uint32_t) sizeof(struct cbp_event) + message->process_name_size + 1;
    size += message->image_file_name_size ? message->image_file_name_size + 1 : 0;
    size += message->arguments_size ? message->arguments_size + 1 : 0;
    return size;
}

/* Appends a text with a NUL behind it. */
static void append(struct cbp_event *event, const struct cbp_event_message *message, uint32_t from,
                   uint32_t size, uint32_t *offset_field, uint32_t *size_field)
{
    unsigned char *to = (unsigned char *) event + event->size;
    *offset_field = event->size;
    *size_field = size;
    memcpy(to, (const unsigned char *) message + from, size);
    to[size] = 0;
    event->size += size + 1;
}

/* Appends a text that may be missing: it then has offset 0 and takes no room. */
static void append_any(struct cbp_event *event, const struct cbp_event_message *message, uint32_t from,
                       uint32_t size, uint32_t *offset_field, uint32_t *size_field)
{
    *offset_field = *size_field = 0;
    if (size > 0)
        append(event, message, from, size, offset_field, size_field);
}

static void decode_items(const struct cbp_event_message *message, struct cbpi_delivery *delivery)
{
    const struct cbp_event_item *items = cbp_event_items_const(message);
    delivery->count = message->item_count;
    for (uint32_t i = 0; i < message->item_count; i++) {
        delivery->items[i][0] = items[i].type;
        delivery->items[i][1] = items[i].flags;
        delivery->result_codes[i] = items[i].result_code;
        delivery->desired_access[i] = items[i].desired_access & message->original_desired_access;
    }
    delivery->event->type = items[0].type;
    delivery->event->flags = items[0].flags;
}

void cbpi_delivery_expired(struct cbpi_delivery *delivery)
{
    for (uint32_t i = 0; i < delivery->count; i++)
        if (delivery->items[i][1] & CBP_EVENT_FLAG_HELD)
            delivery->items[i][1] |= CBP_EVENT_FLAG_TIMED_OUT;
    delivery->event->flags = delivery->items[0][1];
}

void cbpi_event_decode(const struct cbp_event_message *message, struct cbpi_delivery *delivery)
{
    struct cbp_event *event = delivery->event;
    decode_items(message, delivery);
    event->size = (uint32_t) sizeof *event;
    event->result_code = delivery->result_codes[0];
    event->desired_access = delivery->desired_access[0];
    event->process_id = message->process_id;
    event->thread_id = message->thread_id;
    event->parent_process_id = message->parent_process_id;
    event->originator_process_id = message->originator_process_id;
    event->originator_thread_id = message->originator_thread_id;
    event->source_process_id = message->source_process_id;
    event->target_process_id = message->target_process_id;
    event->original_desired_access = message->original_desired_access;
    event->user_id = message->user_id;
    event->exit_status = message->exit_status;
    event->capabilities = message->capabilities;
    event->sequence = message->sequence;
    event->time_ns = message->time_ns;
    event->start_time = message->start_time;
    event->deadline_ns = message->header.deadline_ns;
    append(event, message, message->process_name_offset, message->process_name_size,
           &event->process_name_offset, &event->process_name_size);
    append_any(event, message, message->image_file_name_offset, message->image_file_name_size,
               &event->image_file_name_offset, &event->image_file_name_size);
    append_any(event, message, message->arguments_offset, message->arguments_size, &event->arguments_offset,
               &event->arguments_size);
}
