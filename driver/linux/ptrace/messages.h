/* Offers messages of the control socket and of the launchers' sockets. */
#ifndef CBP_MESSAGES_H
#define CBP_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { MESSAGE_SIZE_MAX = 65536, RECEIVED_DESCRIPTORS_MAX = 2 };

struct received {
    const void *message; /* in the one buffer: until the next is received */
    size_t size;
    int descriptors[RECEIVED_DESCRIPTORS_MAX]; /* -1: none; the receiver closes them */
    uint32_t descriptor_count;                 /* all that came; those beyond the array are closed already */
    bool is_whole;                             /* nothing was cut off, and nothing unexpected came with it */
    struct ucred sender;                       /* all 0: not told */
};

enum reception { RECEIVED_MESSAGE, RECEIVED_NOTHING, RECEIVED_END };

/* Only the tracer's thread may call this, because there is one buffer. */
enum reception cbpd_receive_message(int socket, struct received *received);
void cbpd_close_descriptors(struct received *received);
/* Sends a message, or drops it if there is no room. */
void cbpd_send_message(int socket, const void *message, size_t size);

#endif
