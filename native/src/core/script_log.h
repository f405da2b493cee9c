/* Keeps what a driver that plays scripts tells its session: how much is left to be played, and what became of
 * the operations. The log belongs to the session and outlives the transport. Any thread. */
#ifndef CBPI_SCRIPT_LOG_H
#define CBPI_SCRIPT_LOG_H

#include "cbp_message.h"
#include "platform.h"

struct cbpi_script_log {
    struct cbpi_mutex mutex; /* guards the rest */
    struct cbpi_condition condition;
    struct cbp_verdict *verdicts; /* a ring */
    uint64_t capacity;
    uint64_t first;
    uint64_t count;
    uint64_t promised_count;   /* verdicts that will come */
    uint64_t unfinished_count; /* messages and steps that are not through */
    bool is_open;
};

void cbpi_script_log_init(struct cbpi_script_log *log);
void cbpi_script_log_destroy(struct cbpi_script_log *log);

/* A transport opens the log and closes it; a thread that waits for something then stops waiting. */
void cbpi_script_log_open(struct cbpi_script_log *log);
void cbpi_script_log_close(struct cbpi_script_log *log);

/* Announces messages and steps that are to be played, of which so many have asked for a verdict. */
uint32_t cbpi_script_log_expect(struct cbpi_script_log *log, uint64_t count, uint64_t verdict_count);

/* Adds one of the promised verdicts. */
void cbpi_script_log_add(struct cbpi_script_log *log, const struct cbp_verdict *verdict);

/* Notes that one message or step is through. */
void cbpi_script_log_finish(struct cbpi_script_log *log);

#endif
