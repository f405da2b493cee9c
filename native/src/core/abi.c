/* Tells what the library was built with, row by row, from the lists that everything else is made from. */
#include "cbp_message.h"
#include "cbprocess.h"

/* clang-format off */
#define FIELD(structure, name)                                                                               \
    {"field", #structure, #name, "", (uint32_t) offsetof(struct cbp_##structure, name),                      \
     sizeof(((struct cbp_##structure *) 0)->name)},
#define FIELD_ROW(structure, type, name) FIELD(structure, name)
/* clang-format on */
#define STRUCTURE_ROWS(name, size) {"struct", "", #name, "", 0, size}, CBP_FIELDS_##name(FIELD_ROW, name)

/* A list's entries do not know their group, so each group brings its own row maker. The compiler names a
 * group that lacks one. */
#define CONSTANT_ROW(group, name, value, text) {"const", group, #name, text, (uint32_t) (value), 0},
#define ROW_event(name, value, text) CONSTANT_ROW("event", name, value, text)
#define ROW_error(name, value, text) CONSTANT_ROW("error", name, value, text)
#define ROW_process_access(name, value, text) CONSTANT_ROW("process_access", name, value, text)
#define ROW_thread_access(name, value, text) CONSTANT_ROW("thread_access", name, value, text)
#define ROW_action(name, value, text) CONSTANT_ROW("action", name, value, text)
#define ROW_rule_flag(name, value, text) CONSTANT_ROW("rule_flag", name, value, text)
#define ROW_timeout_action(name, value, text) CONSTANT_ROW("timeout_action", name, value, text)
#define ROW_refuse(name, value, text) CONSTANT_ROW("refuse", name, value, text)
#define ROW_event_flag(name, value, text) CONSTANT_ROW("event_flag", name, value, text)
#define ROW_snapshot_flag(name, value, text) CONSTANT_ROW("snapshot_flag", name, value, text)
#define ROW_snapshot_option(name, value, text) CONSTANT_ROW("snapshot_option", name, value, text)
#define ROW_capability(name, value, text) CONSTANT_ROW("capability", name, value, text)
#define ROW_module_status(name, value, text) CONSTANT_ROW("module_status", name, value, text)
#define ROW_install(name, value, text) CONSTANT_ROW("install", name, value, text)
#define ROW_uninstall(name, value, text) CONSTANT_ROW("uninstall", name, value, text)
#define ROW_serialize(name, value, text) CONSTANT_ROW("serialize", name, value, text)
#define ROW_limit(name, value, text) CONSTANT_ROW("limit", name, value, text)
#define GROUP_ROWS(group, LIST) LIST(ROW_##group)

/* These structures hold pointers, and their fields stand in no list. */
#define STRUCTURE(name) {"struct", "", #name, "", 0, sizeof(struct cbp_##name)},

/* clang-format off */
static const struct cbp_abi_row rows[] = {
    CBP_STRUCTURES(STRUCTURE_ROWS)
    STRUCTURE_ROWS(event, sizeof(struct cbp_event))
    STRUCTURE_ROWS(statistics, sizeof(struct cbp_statistics))
    STRUCTURE_ROWS(process_record, sizeof(struct cbp_process_record))
    STRUCTURE(callbacks)
    FIELD(callbacks, size) FIELD(callbacks, reserved) FIELD(callbacks, context)
    FIELD(callbacks, event) FIELD(callbacks, error) FIELD(callbacks, worker)
    STRUCTURE(snapshot)
    FIELD(snapshot, count) FIELD(snapshot, record_size) FIELD(snapshot, records)
    FIELD(snapshot, texts) FIELD(snapshot, texts_size)
    STRUCTURE(abi_row)
    FIELD(abi_row, kind) FIELD(abi_row, owner) FIELD(abi_row, name) FIELD(abi_row, text)
    FIELD(abi_row, offset) FIELD(abi_row, size)
    CBP_CONSTANT_GROUPS(GROUP_ROWS)
};
/* clang-format on */

const struct cbp_abi_row *cbp_abi_rows(uint32_t *count)
{
    *count = sizeof rows / sizeof rows[0];
    return rows;
}
