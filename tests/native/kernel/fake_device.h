/* Offers a device of the kernel driver (native/src/drivers/kernel/device.h) that is a part of the test. It does
 * what driver/protocol/cbp_kernel_control.h promises, knows no process and decides nothing: tests say what
 * happens. All functions may be called in any thread. */
#ifndef CBP_FAKE_DEVICE_H
#define CBP_FAKE_DEVICE_H

#include "cbp_message.h"

#include <stdbool.h>

/* A message that a test posts: one of up to four items, with a command line of that size. */
struct fake_event {
    uint32_t type, item_count;
    uint32_t flags;
    uint32_t process_id, thread_id;
    uint32_t text_size;
    uint32_t timeout_ms; /* 0: no deadline */
};

/* The test sets these; reset makes all 0. */
extern struct fake_settings {
    uint32_t absent;       /* the code with which the device cannot be opened; 0: it can */
    uint32_t hello_status; /* the reply to the handshake */
    uint32_t worker_status;
    uint32_t altitude_status; /* of KERNEL_SESSION */
    bool shuffles;            /* receives come out of take in an order of their own */
    bool has_no_room;         /* receives cannot begin */
    bool is_malformed;        /* the next message */
    bool is_vanishing;        /* messages that are fetched are not there */
} fake;

/* This has happened since reset. */
struct fake_seen {
    uint32_t opened, closed, sessions, sessions_closed;
    uint32_t workers, workers_ever; /* threads that are workers now, and that have ever been */
    uint32_t answers;               /* that counted */
    uint32_t late_answers;
    uint32_t refused; /* items of answers with a code */
    uint32_t stripped;
    uint32_t fetched;
    uint32_t beats;
    uint32_t strict;
    uint32_t events, settings_count; /* of the last settings */
    uint64_t session_altitude;       /* likewise */
    char altitude[64];
    uint32_t announced_rule, announced_thread, announcements;
};

void fake_reset(void);
struct fake_seen fake_look(void);

/* Posts a message to the session that was opened last, or that has this number of opening (from 1). Gives the
 * message's id. */
uint64_t fake_post(const struct fake_event *event);
uint64_t fake_post_to(uint32_t opening, const struct fake_event *event);

/* Cancels every receive that waits, as the end of its thread does. */
void fake_cancel(void);

/* Ends the sessions, as a driver that has heard nothing of the controller does; or the driver itself. */
void fake_forget_sessions(void);
void fake_vanish(void);

/* Gives the number of messages that nobody has received. */
uint32_t fake_backlog(void);

#endif
