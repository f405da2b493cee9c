/* Plays a script: takes the next message from the source, decides when it is due, and keeps the operations
 * that wait for an answer and their deadlines. The transport holds one mutex around all of it.
 * docs/recording.md says what is deterministic, and why. */
#ifndef CBPI_PLAYER_H
#define CBPI_PLAYER_H

#include "operation.h"
#include "script_log.h"

struct cbpi_player {
    struct cbpi_session_settings settings;
    struct cbpi_source source;
    struct cbpi_population population;
    struct cbpi_operation **slots; /* by number; NULL: free */
    uint32_t slot_count;
    uint64_t slot_capacity;
    uint32_t free_slot;          /* no lower one is free */
    uint32_t live_count;         /* operations in slots */
    struct cbpi_operation *open; /* those that wait for an answer, in the order in which they came */
    struct cbpi_operation *last_open;
    struct cbpi_operation *again;    /* its message is to arrive once more, next */
    struct cbpi_modifiers modifiers; /* for the next event message */
    struct cbp_statistics counts;
    /* This ring has the last executions that counts.failed_after counts. */
    struct cbpi_failed_execution failed[CBPI_FAILED_MAX];
    uint64_t sequence;         /* of the last event */
    uint64_t skipped_ns;       /* what SCRIPT_TIME has added to the clock */
    uint64_t next_deadline_ns; /* none lies before it; 0: there is none */
    uint64_t begun_ns;         /* when the playing began; 0: not yet */
    uint64_t first_time_ns;    /* of the file's first event */
    bool is_closed;
    bool has_no_controller; /* SCRIPT_CONTROLLER_DEATH */
    bool is_dead;           /* SCRIPT_DRIVER_DEATH */
};

/* Gives the clock of deadlines: the machine's, and what the script has added to it. */
uint64_t cbpi_player_now_ns(const struct cbpi_player *player);

/* Lets go the operations whose deadline has passed. */
void cbpi_player_expire(struct cbpi_player *player);

/* Takes the operation that is to be told next, and counts it as handed out: 0. CBP_ERROR_TIMEOUT if nothing
 * can be played now: *until_ns (of the machine's clock) is when to look again, UINT64_MAX if only an answer
 * or more messages change that. CBP_ERROR_INVALID_DATA for a malformed message, CBP_ERROR_BROKEN_PIPE once
 * the driver has died. */
uint32_t cbpi_player_next(struct cbpi_player *player, struct cbpi_operation **operation, uint64_t *until_ns);

/* Says whether the next message could be played now. */
bool cbpi_player_is_ready(const struct cbpi_player *player);

/* Takes the answer to one delivery of the operation. CBP_ERROR_TIMEOUT if it came too late. */
uint32_t cbpi_player_answer(struct cbpi_player *player, struct cbpi_operation *operation,
                            const struct cbpi_delivery *delivery);

/* Starts the deadline of an operation that waits: timeout_ms from now, none for 0. */
void cbpi_player_set_deadline(struct cbpi_player *player, struct cbpi_operation *operation,
                              uint32_t timeout_ms);

/* Ends a delivery that could not be made; the operation goes on as if no handler had changed anything. */
void cbpi_player_skip(struct cbpi_player *player, struct cbpi_operation *operation);

/* Lets all waiting operations go. */
void cbpi_player_let_go(struct cbpi_player *player);

void cbpi_player_free(struct cbpi_player *player);

#endif
