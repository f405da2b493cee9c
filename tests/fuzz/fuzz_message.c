/* Fuzzes cbpd_message_check() with messages of every type. The first byte of an input chooses the type and
 * whether the header is made right, without which few inputs would get past it. What is accepted is then read
 * as its receivers read it, in a block of exactly its size: the address sanitizer sees a byte too far. */
#include "cbp_message_check.h"
#include <stdlib.h>
#include <string.h>

#define TYPE_MASK 0x0f
#define HEADER_AS_IT_IS 0x80

static volatile unsigned char sink;

static void read_text(const unsigned char *message, uint32_t offset, uint32_t size, int nul_allowed)
{
    for (uint32_t i = 0; i < size; i++) {
        sink = message[offset + i];
        if (message[offset + i] == 0 && !nul_allowed)
            abort();
    }
}

static void read_event(const struct cbp_event_message *event)
{
    const unsigned char *bytes = (const unsigned char *) event;
    const struct cbp_event_item *items = cbp_event_items_const(event);
    if (event->item_count < 1 || event->item_count > CBP_BATCH_MAX || event->session_id >= CBP_SESSION_MAX)
        abort();
    for (uint32_t i = 0; i < event->item_count; i++)
        if (items[i].type == 0 || (items[i].type & (items[i].type - 1)) != 0)
            abort();
    read_text(bytes, event->process_name_offset, event->process_name_size, 0);
    read_text(bytes, event->image_file_name_offset, event->image_file_name_size, 0);
    read_text(bytes, event->arguments_offset, event->arguments_size, 1);
}

static void read_rules(const struct cbp_rules *rules)
{
    if (rules->session_id >= CBP_SESSION_MAX || rules->part >= CBP_RULES_PART_COUNT)
        abort();
}

static void read_target(const struct cbp_launch_target *target)
{
    const unsigned char *bytes = (const unsigned char *) target;
    read_text(bytes, target->argument_offset, target->argument_size, 1);
    read_text(bytes, target->paths_offset, target->paths_size, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    uint32_t type = data[0] & TYPE_MASK;
    size_t message_size = size - 1;
    unsigned char *message = malloc(message_size ? message_size : 1);
    if (message == NULL)
        return 0;
    memcpy(message, data + 1, message_size);
    if (!(data[0] & HEADER_AS_IT_IS) && message_size >= sizeof(struct cbp_message_header)) {
        uint32_t start[2] = {(uint32_t) message_size, type};
        memcpy(message, start, sizeof start);
    }
    if (cbpd_message_check(message, message_size, type) == 0) {
        if (message_size < sizeof(struct cbp_message_header))
            abort();
        if (type == CBP_MESSAGE_EVENT)
            read_event((const struct cbp_event_message *) (const void *) message);
        else if (type == CBP_MESSAGE_RULES)
            read_rules((const struct cbp_rules *) (const void *) message);
        else if (type == CBP_MESSAGE_LAUNCH_TARGET)
            read_target((const struct cbp_launch_target *) (const void *) message);
    }
    free(message);
    return 0;
}
