/* Messages for the simulated driver, made by hand, for tests that play them. */
#ifndef CBP_TEST_SCRIPT_MESSAGES_H
#define CBP_TEST_SCRIPT_MESSAGES_H

#include "cbp_message.h"
#include "support.h"

/* Messages one behind the other, each at a multiple of 8. */
struct script {
    _Alignas(8) unsigned char bytes[1u << 20];
    uint64_t size;
};

static inline void *script_add(struct script *script, size_t size, uint32_t type)
{
    CHECK(script->size + size + 8 <= sizeof script->bytes);
    struct cbp_message_header *header = (struct cbp_message_header *) (void *) (script->bytes + script->size);
    memset(header, 0, size + 8);
    header->size = (uint32_t) size;
    header->type = type;
    script->size += (size + 7u) & ~(size_t) 7u;
    return header;
}

/* An operation of one item that can wait; the caller may change its fields. */
static inline struct cbp_event_message *script_event(struct script *script, uint64_t id, uint32_t type,
                                                     uint32_t process_id, const char *name)
{
    size_t name_size = strlen(name);
    struct cbp_event_message *message = script_add(script, sizeof *message + name_size, CBP_MESSAGE_EVENT);
    message->header.id = id;
    message->time_ns = id;
    message->process_id = process_id;
    message->item_count = 1;
    message->item0 = (struct cbp_event_item){.type = type, .flags = CBP_EVENT_FLAG_HELD};
    message->process_name_offset = (uint32_t) sizeof *message;
    message->process_name_size = (uint32_t) name_size;
    memcpy((char *) message + sizeof *message, name, name_size);
    return message;
}

static inline void script_step(struct script *script, uint32_t kind, uint32_t value)
{
    struct cbp_script_step *step = script_add(script, sizeof *step, CBP_MESSAGE_SCRIPT_STEP);
    step->kind = kind;
    step->value = value;
}

static inline void script_play(struct cbp_session *session, struct script *script)
{
    CHECK_OK(cbp_script_play(session, script->bytes, script->size));
    script->size = 0;
}

/* A session of the simulated driver that watches everything. */
static inline struct cbp_session *script_session(cbp_event_callback event, cbp_error_callback error)
{
    struct cbp_session *session = test_session(event, error, NULL);
    CHECK_OK(cbp_session_set_config(session, "Driver", "simulated"));
    CHECK_OK(cbp_rule_add_process(session, UINT32_MAX, 0, CBP_ACTION_ASK, 0));
    return session;
}

static inline struct cbp_verdict script_verdict(struct cbp_session *session)
{
    struct cbp_verdict verdict;
    CHECK_OK(cbp_script_next_verdict(session, 20000, &verdict, sizeof verdict));
    return verdict;
}

#endif
