/* A handler that keeps what it saw and does what the test says, for tests of what a session delivers. */
#ifndef CBP_TEST_RECORDER_H
#define CBP_TEST_RECORDER_H

#include "support.h"

#define HELD_REFUSABLE (CBP_EVENT_FLAG_HELD | CBP_EVENT_FLAG_REFUSABLE)
#define ACCESS 0x1fu

/* What the handler does, set by each test; and what it saw. */
static struct {
    void (*act)(struct cbp_event *event);
    uint64_t count;
    uint64_t first_sequence;
    uint64_t sequence_sum;
    uint64_t last_flags;
    uint64_t tickets[4096];
    uint32_t ticket_places; /* in tickets that are taken */
    uint32_t ticket_count;  /* tickets that are there */
    uint32_t gate;          /* handlers wait while it is shut (1) */
    uint32_t waiting;       /* how many do */
    uint32_t error_count;
    uint32_t last_error;
} seen;

/* Keeps a ticket; once the count has it, it can be read. */
static inline void keep_ticket(uint64_t ticket)
{
    cbp_store_u64(&seen.tickets[cbp_add_u32(&seen.ticket_places, 1)], ticket);
    cbp_add_u32(&seen.ticket_count, 1);
}

static inline void on_event(struct cbp_event *event)
{
    uint64_t count = cbp_add_u64(&seen.count, 1);
    if (count == 0)
        cbp_store_u64(&seen.first_sequence, event->sequence);
    cbp_add_u64(&seen.sequence_sum, event->sequence);
    cbp_store_u64(&seen.last_flags, event->flags);
    CHECK(event->result_code == 0);
    CHECK(event->desired_access == ACCESS && event->original_desired_access == ACCESS);
    CHECK(cbp_in_handler() == 1);
    CHECK(strcmp(cbp_event_process_name(event), "/usr/bin/program") == 0);
    CHECK(strcmp(cbp_event_image_file_name(event), "program") == 0);
    CHECK(strlen(cbp_event_arguments(event)) == (event->arguments_size ? event->arguments_size - 1 : 0));
    CHECK(event->context == (uintptr_t) &seen);
    if (seen.act)
        seen.act(event);
}

static inline void on_error(uint64_t context, uint32_t code, const char *text)
{
    CHECK(context == (uintptr_t) &seen && text[0] != '\0');
    cbp_store_u32(&seen.last_error, code);
    cbp_add_u32(&seen.error_count, 1);
}

static inline struct cbp_session *begin(void (*act)(struct cbp_event *event))
{
    memset(&seen, 0, sizeof seen);
    seen.act = act;
    return test_session(on_event, on_error, &seen);
}

static inline struct cbp_session *start(void (*act)(struct cbp_event *event))
{
    struct cbp_session *session = begin(act);
    CHECK_OK(cbp_session_start(session, 3000));
    return session;
}

static inline void post(struct cbp_session *session, unsigned count, unsigned items, unsigned flags,
                        unsigned text_size)
{
    char command[64];
    snprintf(command, sizeof command, "!post %u %u %u %u", count, items, flags, text_size);
    test_command(session, command);
}

static inline void wait_at_gate(struct cbp_event *event)
{
    (void) event;
    cbp_add_u32(&seen.waiting, 1);
    for (int i = 0; i < 30000 && cbp_load_u32(&seen.gate); i++)
        test_sleep_ms(1);
    cbp_subtract_u32(&seen.waiting, 1);
}

#endif
