/* Implements fake_messages.h. */
#include "fake_messages.h"

#include "cbp_message_check.h"
#include "platform.h"

#include <stdlib.h>
#include <string.h>

struct cbp_event_message *fake_message_make(const struct fake_event *event, uint32_t session_id,
                                            uint64_t sequence, uint64_t id)
{
    static const char name[] = "/usr/bin/program", file[] = "program";
    uint32_t fixed = (uint32_t) sizeof(struct cbp_event_message), at = fixed;
    uint32_t size = fixed + (uint32_t) (sizeof name - 1 + sizeof file - 1) + event->text_size;
    struct cbp_event_message *made = calloc(1, size);
    made->header = (struct cbp_message_header){.size = size, .type = CBP_MESSAGE_EVENT, .id = id};
    made->header.deadline_ns = event->timeout_ms ? cbpi_now_ns() + event->timeout_ms * CBP_NS_PER_MS : 0;
    made->sequence = sequence;
    made->session_id = session_id;
    made->item_count = event->item_count;
    made->process_id = event->process_id;
    made->thread_id = event->thread_id;
    made->original_desired_access = 0x1f;
    for (uint32_t i = 0; i < event->item_count; i++)
        cbp_event_items(made)[i] = (struct cbp_event_item){event->type, event->flags, 0, 0x1f};
    memcpy((char *) made + at, name, sizeof name - 1);
    made->process_name_offset = at, made->process_name_size = (uint32_t) sizeof name - 1;
    at += (uint32_t) sizeof name - 1;
    memcpy((char *) made + at, file, sizeof file - 1);
    made->image_file_name_offset = at, made->image_file_name_size = (uint32_t) sizeof file - 1;
    at += (uint32_t) sizeof file - 1;
    /* An argument has its NUL. */
    memset((char *) made + at, 'x', event->text_size ? event->text_size - 1 : 0);
    made->arguments_offset = at, made->arguments_size = event->text_size;
    if (fake.is_malformed)
        made->process_name_offset = size;
    fake.is_malformed = false;
    return made;
}
