/* Keeps the slots of a session with the kernel driver. A slot has room for one message: it is free, or a
 * receive waits in it for a message, or a message is in it until that is answered. Brings what arrives into
 * the order in which it happened. Knows no turn and no worker; the caller holds one lock around all of it. */
#ifndef CBPI_KERNEL_SLOTS_H
#define CBPI_KERNEL_SLOTS_H

#include "cbp_compiler.h"
#include "device.h"

/* There are at most so many slots; most sessions never have more than those in which receives wait. */
#define CBPI_KERNEL_SLOT_MAX 2048u
#define CBPI_KERNEL_RECEIVE_COUNT 16u
#define CBPI_KERNEL_SLOT_SIZE 8192u

enum cbpi_kernel_slot_state {
    CBPI_KERNEL_SLOT_FREE,
    CBPI_KERNEL_SLOT_WAITS,   /* its receive belongs to the device */
    CBPI_KERNEL_SLOT_ARRIVED, /* it has a message, or its receive was cancelled */
    CBPI_KERNEL_SLOT_TAKEN,   /* it is out of the order of arrival */
};

struct cbpi_kernel_slot {
    struct cbpi_kernel_receive receive; /* first: the device gives back its address */
    enum cbpi_kernel_slot_state state;
    uint32_t index;
    uint32_t order;       /* messages arrive in the order of their receives */
    uint32_t next_free;   /* index plus 1 */
    uint64_t deadline_ns; /* atomic; of a held message; 0: none */
    CBP_ALIGNAS(8) unsigned char buffer[CBPI_KERNEL_SLOT_SIZE];
};

struct cbpi_kernel_slots {
    struct cbpi_kernel_device *device;
    uint32_t session_id;
    struct cbpi_kernel_slot *slots[CBPI_KERNEL_SLOT_MAX]; /* made when they are needed */
    uint32_t slot_count;
    uint32_t first_free; /* index plus 1 */
    uint32_t waiting_count;
    uint32_t first_order, next_order;       /* of the receives that have not been taken */
    uint16_t ordered[CBPI_KERNEL_SLOT_MAX]; /* their slots, by order */
};

/* Gives the message in a slot; of a receive that ended with an error, its fixed part or nothing. */
static inline struct cbp_event_message *cbpi_kernel_slot_message(struct cbpi_kernel_slot *slot)
{
    return (struct cbp_event_message *) (void *) slot->buffer;
}

/* Begins receives until enough wait, as far as there are slots. CBP_ERROR_BROKEN_PIPE: the driver or the
 * session has gone; for want of memory there are fewer, and that is no error. */
uint32_t cbpi_kernel_slots_fill(struct cbpi_kernel_slots *slots);

/* The device has given this receive back. */
void cbpi_kernel_slots_arrive(struct cbpi_kernel_slots *slots, struct cbpi_kernel_receive *receive);

/* Takes the slot whose message comes next, or NULL if that has not arrived yet. Slots of cancelled receives
 * become free. */
struct cbpi_kernel_slot *cbpi_kernel_slots_take(struct cbpi_kernel_slots *slots);

/* Says whether take would give a slot, and counts the messages that have come and were not taken. */
bool cbpi_kernel_slots_has_next(const struct cbpi_kernel_slots *slots);
uint32_t cbpi_kernel_slots_backlog(const struct cbpi_kernel_slots *slots);

/* Gives back a slot that was taken. */
void cbpi_kernel_slots_give_back(struct cbpi_kernel_slots *slots, struct cbpi_kernel_slot *slot);

/* Frees all slots, unless the device still has receives: then their memory stays. */
void cbpi_kernel_slots_free(struct cbpi_kernel_slots *slots);

#endif
