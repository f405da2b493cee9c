/* Fuzzes the core's decoding of event messages, as a worker does it: what the check accepts is decoded into a
 * block of exactly the size that was announced, and has to say the same as the message. */
#include "cbp_message_check.h"
#include "cbprocess.h"
#include "event_message.h"
#include <stdlib.h>
#include <string.h>

static void *copy_of(const uint8_t *data, size_t size)
{
    void *copy = malloc(size ? size : 1);
    if (copy == NULL)
        abort();
    memcpy(copy, data, size);
    return copy;
}

static void check_text(const struct cbp_event *event, uint32_t offset, uint32_t size,
                       const struct cbp_event_message *message, uint32_t from, uint32_t from_size)
{
    if (size != from_size)
        abort();
    if (size == 0)
        return;
    if (offset < sizeof *event || offset > event->size || size >= event->size - offset)
        abort();
    const char *text = (const char *) event + offset;
    if (text[size] != 0 || memcmp(text, (const char *) message + from, size) != 0)
        abort();
}

static void check_event(const struct cbp_event *event, const struct cbp_event_message *message)
{
    if (event->type != message->item0.type || event->process_id != message->process_id ||
        event->sequence != message->sequence || event->start_time != message->start_time)
        abort();
    check_text(event, event->process_name_offset, event->process_name_size, message,
               message->process_name_offset, message->process_name_size);
    check_text(event, event->image_file_name_offset, event->image_file_name_size, message,
               message->image_file_name_offset, message->image_file_name_size);
    check_text(event, event->arguments_offset, event->arguments_size, message, message->arguments_offset,
               message->arguments_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < sizeof(struct cbp_event_message))
        return 0;
    struct cbp_event_message *message = copy_of(data, size);
    message->header.size = (uint32_t) size;
    message->header.type = CBP_MESSAGE_EVENT;
    message->reserved = 0;
    message->session_id %= CBP_SESSION_MAX;
    if (cbpd_message_check(message, size, CBP_MESSAGE_EVENT) == 0) {
        struct cbpi_delivery delivery = {.capacity = cbpi_event_decoded_size(message)};
        delivery.event = malloc(delivery.capacity);
        if (delivery.event == NULL)
            abort();
        cbpi_event_decode(message, &delivery);
        if (delivery.count != message->item_count || delivery.event->size > delivery.capacity)
            abort();
        check_event(delivery.event, message);
        free(delivery.event);
    }
    free(message);
    return 0;
}
