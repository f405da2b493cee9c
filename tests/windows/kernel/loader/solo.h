/* States what deadline.c and failures.c share: one controller whose requests the test sends one by one, and one
 * process whose operations are watched. */
#ifndef SOLO_H
#define SOLO_H

#include "stage.h"

enum { SOLO_SESSION = 0, SOLO_PID = 0x200000, SOLO_BUFFER = 4096 };

/* The operation of a thread of its own. */
struct solo_operation {
    struct player player;
    uint32_t pid;
    NTSTATUS status;               /* of the creation */
    uint64_t began_ns, took_ns;    /* in the driver's time */
    uint32_t is_over;              /* atomic */
    struct nt_process *originator; /* it is by a thread of this process */
};

union solo_message {
    struct cbp_event_message message;
    unsigned char bytes[SOLO_BUFFER];
};

void solo_open(struct image *image, struct controller *controller);     /* loads, opens, says hello */
void solo_close(struct controller *controller, struct nt_thread *self); /* closes, unloads, forgets */
/* Starts a creation, which waits for its answer in its own thread. */
void solo_create(struct solo_operation *operation, uint32_t pid);
bool solo_is_over(const struct solo_operation *operation);
void solo_join(struct solo_operation *operation);
/* Receives the next message. Gives the status of the request. */
NTSTATUS solo_receive(struct controller *controller, union solo_message *message);
uint32_t solo_answer(struct controller *controller, const union solo_message *message, uint32_t code);
uint32_t solo_move_deadline(struct controller *controller, const union solo_message *message,
                            uint32_t timeout_ms);

#endif
