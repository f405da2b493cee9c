/* Implements event_messages.h. */
#include <string.h>

#include "event_messages.h"

#include "cbp_message_check.h"

void cbpd_add_item(struct cbpd_report *report, uint32_t type, uint32_t flags)
{
    report->request.types[report->request.item_count] = type;
    report->request.flags[report->request.item_count] = flags;
    report->request.item_count++;
}

uint32_t cbpd_event_message_size(const struct cbpd_report *report)
{
    const struct cbpd_image *image = report->image;
    uint32_t names_size = image ? cbpd_executable_of(image)->path_size + image->files[0].given_size : 0;
    return (uint32_t) sizeof(struct cbp_event_message) + names_size + report->arguments_size;
}

static uint32_t put_text(struct cbp_event_message *message, uint32_t *offset, const char *text, uint32_t size)
{
    *offset = size > 0 ? message->header.size : 0;
    if (size > 0)
        memcpy((char *) message + message->header.size, text, size);
    message->header.size += size;
    return size;
}

static void put_texts(struct cbp_event_message *message, const struct cbpd_report *report)
{
    if (report->image) {
        const struct cbpd_image_file *executable = cbpd_executable_of(report->image);
        message->process_name_size =
            put_text(message, &message->process_name_offset, executable->path, executable->path_size);
        message->image_file_name_size =
            put_text(message, &message->image_file_name_offset, report->image->files[0].given,
                     report->image->files[0].given_size);
    }
    message->arguments_size =
        put_text(message, &message->arguments_offset, report->arguments, report->arguments_size);
}

static void put_items(struct cbp_event_message *message, const struct cbpd_report *report,
                      const struct cbpd_telling *telling)
{
    const struct cbpd_request *request = &report->request;
    const struct cbpd_selection *selection = telling->selection;
    bool is_deleted = report->image && cbpd_executable_of(report->image)->is_deleted;
    const uint32_t image_flags = is_deleted ? CBP_EVENT_FLAG_IMAGE_DELETED : 0;
    struct cbp_event_item *items = cbp_event_items(message);
    message->item_count = selection->item_count;
    for (uint32_t i = 0; i < selection->item_count; i++) {
        uint32_t flags = selection->flags[i] | image_flags;
        if ((flags & CBP_EVENT_FLAG_DECIDED_BY_RULE) == 0)
            flags |= telling->added_flags;
        if ((telling->added_flags & CBP_EVENT_FLAG_HELD) != 0 &&
            (selection->answerable.refusable_items & (1u << i)) != 0)
            flags |= CBP_EVENT_FLAG_REFUSABLE;
        items[i].type = request->types[selection->items[i]];
        items[i].flags = flags;
        items[i].result_code = selection->result_codes[i];
        items[i].desired_access = request->access & ~selection->strip_masks[i];
    }
}

void cbpd_fill_event_message(struct cbp_event_message *message, const struct cbpd_report *report,
                             const struct cbpd_telling *telling)
{
    const struct cbpd_process *process = report->process;
    memset(message, 0, sizeof *message);
    message->header.size = sizeof *message;
    message->header.type = CBP_MESSAGE_EVENT;
    message->header.deadline_ns = telling->deadline_ns;
    message->sequence = telling->sequence;
    message->time_ns = telling->time_ns;
    message->start_time = process->start_time;
    message->session_id = telling->session_id;
    message->process_id = process->pid;
    message->thread_id = report->thread_id;
    message->parent_process_id = telling->parent_pid;
    message->originator_process_id = report->originator_pid;
    message->originator_thread_id = report->originator_tid;
    message->source_process_id = report->source_pid;
    message->target_process_id = report->target_pid;
    message->original_desired_access = report->request.access;
    message->user_id = report->user_id;
    message->exit_status = report->exit_status;
    message->capabilities = report->capabilities;
    put_texts(message, report);
    put_items(message, report, telling);
}
