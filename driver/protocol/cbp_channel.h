/* Defines the shared memory between the core and a driver that is a process of its own (ptrace, debug): its
 * layout and the life of a slot. Knows no system call. Both sides access the fields that this file calls
 * atomic only through atomic operations.
 *
 * A slot carries one event message. Its life:
 *
 *     free --driver fills it, pushes its number on a session's request ring--> the core's
 *     the core's --a worker answers: decision OPEN -> ANSWERED, or the driver gives up: OPEN -> EXPIRED-->
 *     --the core pushes it on the answer list, exactly once, whatever the decision--> free
 *
 * So memory has one owner at a time, and one compare-and-swap says which side decided. A worker that wants
 * more time holds the decision word at RESETTING while it writes the deadline. The driver never waits for it:
 * it skips such a slot and looks again.
 *
 * Linux: the core creates the channel as a memfd, sealed against shrinking, and the driver checks the seal.
 * If RLIMIT_FSIZE is below CBP_CHANNEL_SIZE there are several memfds of one size, the last one smaller: all
 * but the first wait in the control socket, in one message of one byte. The bells are futexes. Windows: a
 * section without a name, whose size never changes; each bell has a kernel object to sleep on (see
 * cbp_debug_control.h). */
#ifndef CBP_CHANNEL_H
#define CBP_CHANNEL_H

#include "cbp_message.h"

#define CBP_SMALL_SLOT_COUNT 2048u
#define CBP_SMALL_SLOT_SIZE 8192u
#define CBP_LARGE_SLOT_COUNT 8u
#if defined(_WIN32)
#define CBP_LARGE_SLOT_SIZE (512u * 1024u) /* for a command line and two paths, 32,767 units of UTF-16 each */
#else
#define CBP_LARGE_SLOT_SIZE (6u * 1024u * 1024u + 65536u) /* for an argument list of any legal size */
#endif
#define CBP_SLOT_COUNT (CBP_SMALL_SLOT_COUNT + CBP_LARGE_SLOT_COUNT)

enum cbp_decision_state {
    CBP_DECISION_OPEN = 0,
    CBP_DECISION_ANSWERED = 1,
    CBP_DECISION_EXPIRED = 2,
    CBP_DECISION_RESETTING = 3,
};

/* Each slot begins with this, before the message. */
struct cbp_slot {
    uint32_t decision;    /* atomic */
    uint32_t next;        /* in the answer list: slot number + 1 of the next one, 0 at the end */
    uint64_t deadline_ns; /* atomic; 0: none. The message has its first value */
    uint32_t session_id;
    uint32_t reserved[11];
    struct cbp_event_message message; /* its variable parts follow, up to the slot's size */
};
CBP_ASSERT_SIZE(struct cbp_slot, 64 + 192);

/* A message with no held operation wakes no worker while one dozes, until this many messages wait. */
#define CBP_DOZE_MS 2u
#define CBP_DOZE_BACKLOG_MAX 128u

#define CBP_FAILED_EXECUTION_MAX 1024u

/* A session was told of this execution, and then the system has refused it. */
struct cbp_failed_execution {
    uint64_t sequence; /* atomic; of its event */
    uint32_t os_error; /* atomic; the errno of the call; 0: the process has ended in it */
    uint32_t reserved;
};
CBP_ASSERT_SIZE(struct cbp_failed_execution, 16);

/* A session has one stream of slots, with one producer (the driver) and many consumers (its workers). */
struct cbp_channel_session {
    uint32_t tail; /* atomic; entries ever pushed, written by the driver */
    uint32_t bell; /* atomic; rises after each push; workers sleep on this word */
    uint32_t reserved0[14];
    uint32_t head;     /* atomic; entries ever taken, compare-and-swapped by workers */
    uint32_t sleepers; /* atomic; workers asleep on the bell */
    uint32_t dozers;   /* atomic; sleepers that look again within DOZE_MS by themselves */
    uint32_t reserved1[13];
    uint64_t heartbeat_ns; /* atomic; CLOCK_MONOTONIC of the dispatcher's last beat */
    uint64_t lost;         /* atomic; events dropped for want of room, written by the driver */
    uint64_t timed_out;    /* atomic; operations that timed out */
    uint64_t refused;      /* atomic; operations refused, by a handler or a rule */
    uint64_t decided;      /* atomic; operations that a rule decided */
    uint64_t failed_after; /* atomic; executions that were allowed and then failed in the system */
    uint64_t reserved2;
    uint64_t guessed;    /* atomic; processes whose creator is not known */
    uint32_t ring[4096]; /* slot numbers; a power of two above CBP_SLOT_COUNT, so it never overflows */
    /* The last executions that failed_after counts are here. The one that made it N is at (N - 1) modulo MAX,
     * and was written before the count. */
    struct cbp_failed_execution failed[CBP_FAILED_EXECUTION_MAX];
};
CBP_ASSERT_SIZE(struct cbp_channel_session, 192 + 4096 * 4 + CBP_FAILED_EXECUTION_MAX * 16);

struct cbp_channel {
    uint32_t magic;
    uint32_t version;
    uint64_t size;
    uint32_t driver_process_id; /* written by the driver once it serves */
    uint32_t reserved0[11];
    uint32_t answers;          /* atomic; the answer list: slot number + 1 of the last one pushed, 0: empty */
    uint32_t answer_bell;      /* atomic; rises after each push; the driver sleeps on this word */
    uint32_t driver_sleeping;  /* atomic; a new answer needs a wake-up */
    uint32_t supervised_count; /* atomic; tasks under the driver now */
    uint32_t supervised_ever;  /* atomic; there has been such a task */
    uint32_t reserved1[11];
    struct cbp_channel_session sessions[CBP_SESSION_MAX];
};
CBP_ASSERT_SIZE(struct cbp_channel, 128 + CBP_SESSION_MAX * (192 + 4096 * 4 + CBP_FAILED_EXECUTION_MAX * 16));

#define CBP_CHANNEL_SLOTS_OFFSET ((sizeof(struct cbp_channel) + 4095u) & ~(uint64_t) 4095u)
#define CBP_CHANNEL_SIZE                                                                                     \
    (CBP_CHANNEL_SLOTS_OFFSET + (uint64_t) CBP_SMALL_SLOT_COUNT * CBP_SMALL_SLOT_SIZE +                      \
     (uint64_t) CBP_LARGE_SLOT_COUNT * CBP_LARGE_SLOT_SIZE)

#define CBP_CHANNEL_PARTS_MAX 253u /* descriptors in one message: the kernel's limit */

static inline struct cbp_slot *cbp_channel_slot(struct cbp_channel *channel, uint32_t number)
{
    unsigned char *slots = (unsigned char *) channel + CBP_CHANNEL_SLOTS_OFFSET;
    if (number < CBP_SMALL_SLOT_COUNT)
        return (struct cbp_slot *) (void *) (slots + (uint64_t) number * CBP_SMALL_SLOT_SIZE);
    slots += (uint64_t) CBP_SMALL_SLOT_COUNT * CBP_SMALL_SLOT_SIZE;
    return (struct cbp_slot *) (void *) (slots +
                                         (uint64_t) (number - CBP_SMALL_SLOT_COUNT) * CBP_LARGE_SLOT_SIZE);
}

/* Gives the bytes that a message in this slot can have. */
static inline uint32_t cbp_channel_message_capacity(uint32_t number)
{
    uint32_t size = number < CBP_SMALL_SLOT_COUNT ? CBP_SMALL_SLOT_SIZE : CBP_LARGE_SLOT_SIZE;
    return size - (uint32_t) offsetof(struct cbp_slot, message);
}

#endif
