/* Checks messages; see cbp_message_check.h. Each type has one row, which says all that has to be checked. */
#include "cbp_message_check.h"

#define FIELD(structure, field) (uint16_t) offsetof(struct cbp_##structure, field)
#define NONE 0u /* the offset of the header's size field, which no row names */

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

static const struct message_row rows[] = {
    [CBP_MESSAGE_HELLO] = {sizeof(struct cbp_hello), FIELD(hello, reserved), {NONE}, {{NONE, 0, 0}}},
    [CBP_MESSAGE_REPLY] = {sizeof(struct cbp_reply), NONE, {NONE}, {{NONE, 0, 0}}},
    [CBP_MESSAGE_SESSION] = {sizeof(struct cbp_session_settings),
                             NONE,
                             {NONE},
                             {{FIELD(session_settings, session_id), 0, CBP_SESSION_MAX - 1},
                              {FIELD(session_settings, timeout_action), 0, CBP_TIMEOUT_ACTION_DENY},
                              {FIELD(session_settings, refuse_with), 0, CBP_REFUSE_WITH_KILL},
                              {FIELD(session_settings, flags), 1, CBP_SESSION_FLAG_ALL}}},
    [CBP_MESSAGE_SESSION_CLOSE] = {sizeof(struct cbp_session_close),
                                   FIELD(session_close, reserved),
                                   {NONE},
                                   {{FIELD(session_close, session_id), 0, CBP_SESSION_MAX - 1}}},
    [CBP_MESSAGE_RULES] = {sizeof(struct cbp_rules),
                           NONE,
                           {NONE},
                           {{FIELD(rules, session_id), 0, CBP_SESSION_MAX - 1},
                            {FIELD(rules, part), 0, CBP_RULES_PART_COUNT - 1}}},
    [CBP_MESSAGE_LAUNCH_FORGET] = {sizeof(struct cbp_launch_forget),
                                   NONE,
                                   {NONE},
                                   {{FIELD(launch_forget, session_id), 0, CBP_SESSION_MAX - 1}}},
    [CBP_MESSAGE_LAUNCH] = {sizeof(struct cbp_launch),
                            FIELD(launch, reserved),
                            {NONE},
                            {{FIELD(launch, session_id), 0, CBP_SESSION_MAX - 1}}},
    [CBP_MESSAGE_LAUNCH_READY] = {sizeof(struct cbp_launch_ready), NONE, {NONE}, {{NONE, 0, 0}}},
    [CBP_MESSAGE_LAUNCH_GO] = {sizeof(struct cbp_launch_go),
                               NONE,
                               {NONE},
                               {{FIELD(launch_go, flags), 1, CBP_LAUNCH_FLAG_ALL}}},
    [CBP_MESSAGE_LAUNCH_RESULT] = {sizeof(struct cbp_launch_result),
                                   FIELD(launch_result, reserved),
                                   {NONE},
                                   {{NONE, 0, 0}}},
    [CBP_MESSAGE_LAUNCH_TARGET] = {sizeof(struct cbp_launch_target),
                                   FIELD(launch_target, reserved),
                                   {FIELD(launch_target, argument_offset),
                                    FIELD(launch_target, paths_offset)},
                                   {{NONE, 0, 0}}},
    [CBP_MESSAGE_EVENT] = {sizeof(struct cbp_event_message),
                           FIELD(event_message, reserved),
                           {FIELD(event_message, process_name_offset),
                            FIELD(event_message, image_file_name_offset),
                            FIELD(event_message, arguments_offset)},
                           {{FIELD(event_message, session_id), 0, CBP_SESSION_MAX - 1},
                            {FIELD(event_message, item_count), 0, CBP_BATCH_MAX}}},
    [CBP_MESSAGE_PROCESS_QUERY] = {sizeof(struct cbp_process_query),
                                   FIELD(process_query, reserved),
                                   {NONE},
                                   {{NONE, 0, 0}}},
    [CBP_MESSAGE_LAUNCH_PROCESS] = {sizeof(struct cbp_launch_process),
                                    NONE,
                                    {NONE},
                                    {{FIELD(launch_process, session_id), 0, CBP_SESSION_MAX - 1}}},
    [CBP_MESSAGE_RECORDING] = {sizeof(struct cbp_recording),
                               NONE,
                               {FIELD(recording, platform_offset), FIELD(recording, driver_offset)},
                               {{NONE, 0, 0}}},
    [CBP_MESSAGE_RECORDING_END] = {sizeof(struct cbp_recording_end), NONE, {NONE}, {{NONE, 0, 0}}},
    [CBP_MESSAGE_VERDICT] = {sizeof(struct cbp_verdict),
                             NONE,
                             {NONE},
                             {{FIELD(verdict, state), 0, CBP_VERDICT_FAILED},
                              {FIELD(verdict, item_count), 0, CBP_BATCH_MAX},
                              {FIELD(verdict, deferred_items), 1, (1u << CBP_BATCH_MAX) - 1},
                              {FIELD(verdict, decided_items), 1, (1u << CBP_BATCH_MAX) - 1}}},
    [CBP_MESSAGE_SCRIPT_STEP] = {sizeof(struct cbp_script_step),
                                 NONE,
                                 {NONE},
                                 {{FIELD(script_step, kind), 0, CBP_SCRIPT_DRIVER_DEATH}}},
};

static uint32_t field_at(const void *message, uint16_t offset)
{
    return *(const uint32_t *) ((const unsigned char *) message + offset);
}

static int text_is_inside(const void *message, uint16_t offset_field, uint32_t fixed_size, size_t size)
{
    uint32_t offset = field_at(message, offset_field);
    uint32_t text_size = field_at(message, (uint16_t) (offset_field + 4u));
    if (text_size == 0)
        return offset == 0 || (offset >= fixed_size && offset <= size);
    return offset >= fixed_size && offset <= size && text_size <= size - offset;
}

static int value_is_known(const void *message, const struct value_check *check)
{
    uint32_t value = field_at(message, check->offset);
    return check->bits ? (value & ~check->limit) == 0 : value <= check->limit;
}

static int has_nul(const unsigned char *text, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        if (text[i] == 0)
            return 1;
    return 0;
}

static int event_is_sound(const struct cbp_event_message *message)
{
    const struct cbp_event_item *items = cbp_event_items_const(message);
    if (message->item_count == 0)
        return 0;
    for (uint32_t i = 0; i < CBP_BATCH_MAX; i++) {
        uint32_t type = items[i].type;
        int one_known_bit =
            type != 0 && (type & (type - 1)) == 0 && type <= CBP_PROC_EVT_THREAD_HANDLE_OPERATION;
        if (i < message->item_count ? !one_known_bit : type != 0)
            return 0;
    }
    const unsigned char *bytes = (const unsigned char *) message;
    return !has_nul(bytes + message->process_name_offset, message->process_name_size) &&
           !has_nul(bytes + message->image_file_name_offset, message->image_file_name_size);
}

uint32_t cbp_message_check(const void *message, size_t size, uint32_t type)
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
