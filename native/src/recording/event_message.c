/* Implements event_message.h. Both directions copy one list of fields. */
#include "event_message.h"

#include "platform.h"

#include <string.h>

/* An event and its message have these fields in common. */
#define COMMON_FIELDS(F)                                                                                     \
    F(process_id)                                                                                            \
    F(thread_id)                                                                                             \
    F(parent_process_id)                                                                                     \
    F(originator_process_id)                                                                                 \
    F(originator_thread_id)                                                                                  \
    F(source_process_id)                                                                                     \
    F(target_process_id)                                                                                     \
    F(original_desired_access)                                                                               \
    F(user_id)                                                                                               \
    F(exit_status)                                                                                           \
    F(capabilities)                                                                                          \
    F(sequence)                                                                                              \
    F(time_ns)                                                                                               \
    F(start_time)
#define FROM_MESSAGE(field) event->field = message->field;
#define TO_MESSAGE(field) message->field = event->field;

/* ---- From messages ---- */

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

void cbpi_event_decode(const struct cbp_event_message *message, struct cbpi_delivery *delivery)
{
    struct cbp_event *event = delivery->event;
    delivery->count = message->item_count;
    memcpy(delivery->items, cbp_event_items_const(message), delivery->count * sizeof delivery->items[0]);
    for (uint32_t i = 0; i < delivery->count; i++)
        delivery->items[i].desired_access &= message->original_desired_access;
    COMMON_FIELDS(FROM_MESSAGE)
    event->size = (uint32_t) sizeof *event;
    cbpi_event_take(event, &delivery->items[0]);
    event->deadline_ns = message->header.deadline_ns;
    append(event, message, message->process_name_offset, message->process_name_size,
           &event->process_name_offset, &event->process_name_size);
    append_any(event, message, message->image_file_name_offset, message->image_file_name_size,
               &event->image_file_name_offset, &event->image_file_name_size);
    append_any(event, message, message->arguments_offset, message->arguments_size, &event->arguments_offset,
               &event->arguments_size);
}

/* ---- To messages ---- */

uint32_t cbpi_event_encoded_size(const struct cbpi_delivery *delivery)
{
    const struct cbp_event *event = delivery->event;
    return (uint32_t) sizeof(struct cbp_event_message) + event->process_name_size +
           event->image_file_name_size + event->arguments_size;
}

static void put_text(struct cbp_event_message *message, const char *text, uint32_t text_size,
                     uint32_t *offset_field, uint32_t *size_field)
{
    *offset_field = text_size > 0 ? message->header.size : 0;
    *size_field = text_size;
    memcpy((char *) message + message->header.size, text, text_size);
    message->header.size += text_size;
}

void cbpi_event_encode(const struct cbpi_delivery *delivery, uint64_t id, struct cbp_event_message *message)
{
    const struct cbp_event *event = delivery->event;
    memset(message, 0, sizeof *message);
    message->header.size = (uint32_t) sizeof *message;
    message->header.type = CBP_MESSAGE_EVENT;
    message->header.id = id;
    message->header.deadline_ns = event->deadline_ns;
    COMMON_FIELDS(TO_MESSAGE)
    put_text(message, cbp_event_process_name(event), event->process_name_size, &message->process_name_offset,
             &message->process_name_size);
    put_text(message, cbp_event_image_file_name(event), event->image_file_name_size,
             &message->image_file_name_offset, &message->image_file_name_size);
    put_text(message, cbp_event_arguments(event), event->arguments_size, &message->arguments_offset,
             &message->arguments_size);
    message->item_count = delivery->count;
    memcpy(cbp_event_items(message), delivery->items, delivery->count * sizeof delivery->items[0]);
}

void cbpi_verdict_fill(struct cbp_verdict *verdict, uint64_t id, uint64_t sequence,
                       const struct cbp_event_item *items, uint32_t count, uint32_t state)
{
    memset(verdict, 0, sizeof *verdict);
    uint32_t *result_codes = &verdict->result_code0, *desired_access = &verdict->desired_access0;
    verdict->header.size = (uint32_t) sizeof *verdict;
    verdict->header.type = CBP_MESSAGE_VERDICT;
    verdict->header.id = id;
    verdict->sequence = sequence;
    verdict->time_ns = cbpi_wall_ns();
    verdict->state = state;
    verdict->item_count = count;
    for (uint32_t i = 0; i < count; i++) {
        result_codes[i] = items[i].result_code;
        desired_access[i] = items[i].desired_access;
        if (items[i].flags & CBP_EVENT_FLAG_DECIDED_BY_RULE)
            verdict->decided_items |= 1u << i;
    }
}
