/* Checks messages; see cbp_message_check.h. Each type has one row, which says all that has to be checked. */
#include "cbp_message_check.h"

#include <stdbool.h>

#define FIELD(structure, field) (uint16_t) offsetof(struct cbp_##structure, field)
#define NONE 0u /* no more fields: the offset of the header's size, which no row names */

/* A field may hold one of 0 .. limit, or (bits) any subset of limit. */
struct value_check {
    uint16_t offset;
    uint16_t bits;
    uint32_t limit;
};

struct message_row {
    uint32_t size;     /* of the fixed structure */
    uint16_t reserved; /* a field that must be 0 */
    uint16_t texts[3]; /* offset fields, each followed by its size field */
    struct value_check values[5];
};

#define IN_SESSION(structure)                                                                                \
    {                                                                                                        \
        FIELD(structure, session_id), 0, CBP_SESSION_MAX - 1                                                 \
    }

static const struct message_row rows[] = {
    [CBP_MESSAGE_HELLO] = {.size = sizeof(struct cbp_hello), .reserved = FIELD(hello, reserved)},
    [CBP_MESSAGE_REPLY] = {.size = sizeof(struct cbp_reply)},
    [CBP_MESSAGE_SESSION] = {.size = sizeof(struct cbp_session_settings),
                             .values = {IN_SESSION(session_settings),
                                        {FIELD(session_settings, timeout_action), 0, CBP_TIMEOUT_ACTION_DENY},
                                        {FIELD(session_settings, refuse_with), 0, CBP_REFUSE_WITH_KILL},
                                        {FIELD(session_settings, flags), 1, CBP_SESSION_FLAG_ALL}}},
    [CBP_MESSAGE_SESSION_CLOSE] = {.size = sizeof(struct cbp_session_close),
                                   .reserved = FIELD(session_close, reserved),
                                   .values = {IN_SESSION(session_close)}},
    [CBP_MESSAGE_RULES] = {.size = sizeof(struct cbp_rules),
                           .values = {IN_SESSION(rules), {FIELD(rules, part), 0, CBP_RULES_PART_COUNT - 1}}},
    [CBP_MESSAGE_LAUNCH_FORGET] = {.size = sizeof(struct cbp_launch_forget),
                                   .values = {IN_SESSION(launch_forget)}},
    [CBP_MESSAGE_LAUNCH] = {.size = sizeof(struct cbp_launch),
                            .reserved = FIELD(launch, reserved),
                            .values = {IN_SESSION(launch)}},
    [CBP_MESSAGE_LAUNCH_READY] = {.size = sizeof(struct cbp_launch_ready)},
    [CBP_MESSAGE_LAUNCH_GO] = {.size = sizeof(struct cbp_launch_go),
                               .values = {{FIELD(launch_go, flags), 1, CBP_LAUNCH_FLAG_ALL}}},
    [CBP_MESSAGE_LAUNCH_RESULT] = {.size = sizeof(struct cbp_launch_result),
                                   .reserved = FIELD(launch_result, reserved)},
    [CBP_MESSAGE_LAUNCH_TARGET] = {.size = sizeof(struct cbp_launch_target),
                                   .reserved = FIELD(launch_target, reserved),
                                   .texts = {FIELD(launch_target, argument_offset),
                                             FIELD(launch_target, paths_offset)}},
    [CBP_MESSAGE_EVENT] = {.size = sizeof(struct cbp_event_message),
                           .reserved = FIELD(event_message, reserved),
                           .texts = {FIELD(event_message, process_name_offset),
                                     FIELD(event_message, image_file_name_offset),
                                     FIELD(event_message, arguments_offset)},
                           .values = {IN_SESSION(event_message),
                                      {FIELD(event_message, item_count), 0, CBP_BATCH_MAX}}},
    [CBP_MESSAGE_PROCESS_QUERY] = {.size = sizeof(struct cbp_process_query),
                                   .reserved = FIELD(process_query, reserved)},
    [CBP_MESSAGE_LAUNCH_PROCESS] = {.size = sizeof(struct cbp_launch_process),
                                    .values = {IN_SESSION(launch_process)}},
    [CBP_MESSAGE_KERNEL_SESSION] = {.size = sizeof(struct cbp_kernel_session),
                                    .texts = {FIELD(kernel_session, altitude_offset)},
                                    .values = {IN_SESSION(kernel_session),
                                               {FIELD(kernel_session, is_strict), 0, 1}}},
    [CBP_MESSAGE_KERNEL_WORKER] = {.size = sizeof(struct cbp_kernel_worker),
                                   .values = {IN_SESSION(kernel_worker),
                                              {FIELD(kernel_worker, is_worker), 0, 1}}},
    [CBP_MESSAGE_KERNEL_RECEIVE] = {.size = sizeof(struct cbp_kernel_receive),
                                    .reserved = FIELD(kernel_receive, reserved),
                                    .values = {IN_SESSION(kernel_receive)}},
    [CBP_MESSAGE_KERNEL_ANSWER] = {.size = sizeof(struct cbp_kernel_answer),
                                   .values = {IN_SESSION(kernel_answer),
                                              {FIELD(kernel_answer, item_count), 0, CBP_BATCH_MAX}}},
    [CBP_MESSAGE_KERNEL_DEADLINE] = {.size = sizeof(struct cbp_kernel_deadline),
                                     .reserved = FIELD(kernel_deadline, reserved),
                                     .values = {IN_SESSION(kernel_deadline),
                                                {FIELD(kernel_deadline, moves), 0, 1}}},
    [CBP_MESSAGE_KERNEL_TOKEN] = {.size = sizeof(struct cbp_kernel_token),
                                  .reserved = FIELD(kernel_token, reserved),
                                  .values = {IN_SESSION(kernel_token)}},
    [CBP_MESSAGE_KERNEL_BEAT] = {.size = sizeof(struct cbp_kernel_beat),
                                 .reserved = FIELD(kernel_beat, reserved),
                                 .values = {IN_SESSION(kernel_beat)}},
    [CBP_MESSAGE_KERNEL_COUNTS] = {.size = sizeof(struct cbp_kernel_counts)},
    [CBP_MESSAGE_RECORDING] = {.size = sizeof(struct cbp_recording),
                               .texts = {FIELD(recording, platform_offset), FIELD(recording, driver_offset)}},
    [CBP_MESSAGE_RECORDING_END] = {.size = sizeof(struct cbp_recording_end)},
    [CBP_MESSAGE_VERDICT] = {.size = sizeof(struct cbp_verdict),
                             .values = {{FIELD(verdict, state), 0, CBP_VERDICT_FAILED},
                                        {FIELD(verdict, item_count), 0, CBP_BATCH_MAX},
                                        {FIELD(verdict, deferred_items), 1, (1u << CBP_BATCH_MAX) - 1},
                                        {FIELD(verdict, decided_items), 1, (1u << CBP_BATCH_MAX) - 1}}},
    [CBP_MESSAGE_SCRIPT_STEP] = {.size = sizeof(struct cbp_script_step),
                                 .values = {{FIELD(script_step, kind), 0, CBP_SCRIPT_DRIVER_DEATH}}},
};

static uint32_t field_at(const void *message, uint16_t offset)
{
    return *(const uint32_t *) ((const unsigned char *) message + offset);
}

static bool text_is_inside(const void *message, uint16_t offset_field, uint32_t fixed_size, size_t size)
{
    uint32_t offset = field_at(message, offset_field);
    uint32_t text_size = field_at(message, (uint16_t) (offset_field + 4u));
    return (offset == 0 && text_size == 0) ||
           (offset >= fixed_size && offset <= size && text_size <= size - offset);
}

static bool value_is_known(const void *message, const struct value_check *check)
{
    uint32_t value = field_at(message, check->offset);
    return check->bits ? (value & ~check->limit) == 0 : value <= check->limit;
}

static bool has_nul(const unsigned char *text, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        if (text[i] == 0)
            return true;
    return false;
}

static bool event_is_sound(const struct cbp_event_message *message)
{
    const struct cbp_event_item *items = cbp_event_items_const(message);
    if (message->item_count == 0)
        return false;
    for (uint32_t i = 0; i < CBP_BATCH_MAX; i++) {
        uint32_t type = items[i].type;
        bool one_known_bit =
            type != 0 && (type & (type - 1)) == 0 && type <= CBP_PROC_EVT_THREAD_HANDLE_OPERATION;
        if (i < message->item_count ? !one_known_bit : type != 0)
            return false;
    }
    const unsigned char *bytes = (const unsigned char *) message;
    return !has_nul(bytes + message->process_name_offset, message->process_name_size) &&
           !has_nul(bytes + message->image_file_name_offset, message->image_file_name_size);
}

uint32_t cbpd_message_check(const void *message, size_t size, uint32_t type)
{
    if (type >= sizeof rows / sizeof rows[0] || rows[type].size == 0 || size < rows[type].size)
        return CBP_ERROR_INVALID_DATA;
    const struct message_row *row = &rows[type];
    const struct cbp_message_header *header = message;
    if (header->size != size || header->type != type)
        return CBP_ERROR_INVALID_DATA;
    if (row->reserved != NONE && field_at(message, row->reserved) != 0)
        return CBP_ERROR_INVALID_DATA;
    for (size_t i = 0; i < 3 && row->texts[i] != NONE; i++)
        if (!text_is_inside(message, row->texts[i], row->size, size))
            return CBP_ERROR_INVALID_DATA;
    for (size_t i = 0; i < 5 && row->values[i].offset != NONE; i++)
        if (!value_is_known(message, &row->values[i]))
            return CBP_ERROR_INVALID_DATA;
    if (type == CBP_MESSAGE_EVENT && !event_is_sound(message))
        return CBP_ERROR_INVALID_DATA;
    if (type == CBP_MESSAGE_SCRIPT_STEP && ((const struct cbp_script_step *) message)->kind == 0)
        return CBP_ERROR_INVALID_DATA;
    return 0;
}
