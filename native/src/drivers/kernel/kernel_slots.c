/* Implements kernel_slots.h. The driver gives its oldest message to the oldest receive, but the device may give
 * receives back in another order, and to several threads: the order of the receives is the order of the
 * messages. */
#include "kernel_slots.h"

#include "cbp_atomic.h"

#include <stdlib.h>

/* ---- Free slots ---- */

static struct cbpi_kernel_slot *make_slot(struct cbpi_kernel_slots *slots)
{
    struct cbpi_kernel_slot *made = slots->slot_count < CBPI_KERNEL_SLOT_MAX ? calloc(1, sizeof *made) : NULL;
    if (!made)
        return NULL;
    made->index = slots->slot_count;
    slots->slots[slots->slot_count++] = made;
    return made;
}

static struct cbpi_kernel_slot *take_free(struct cbpi_kernel_slots *slots)
{
    if (!slots->first_free)
        return make_slot(slots);
    struct cbpi_kernel_slot *slot = slots->slots[slots->first_free - 1];
    slots->first_free = slot->next_free;
    return slot;
}

void cbpi_kernel_slots_give_back(struct cbpi_kernel_slots *slots, struct cbpi_kernel_slot *slot)
{
    slot->state = CBPI_KERNEL_SLOT_FREE;
    cbp_store_u64(&slot->deadline_ns, 0);
    slot->next_free = slots->first_free;
    slots->first_free = slot->index + 1;
}

void cbpi_kernel_slots_free(struct cbpi_kernel_slots *slots)
{
    if (slots->waiting_count > 0)
        return;
    for (uint32_t i = 0; i < slots->slot_count; i++)
        free(slots->slots[i]);
    slots->slot_count = 0;
}

/* ---- Receives ---- */

static uint32_t begin(struct cbpi_kernel_slots *slots, struct cbpi_kernel_slot *slot)
{
    slot->receive.request = (struct cbp_kernel_receive){
        .header = {.size = sizeof slot->receive.request, .type = CBP_MESSAGE_KERNEL_RECEIVE},
        .session_id = slots->session_id};
    slot->receive.buffer = slot->buffer;
    slot->receive.buffer_size = sizeof slot->buffer;
    slot->order = slots->next_order;
    slot->state = CBPI_KERNEL_SLOT_WAITS;
    slots->ordered[slot->order % CBPI_KERNEL_SLOT_MAX] = (uint16_t) slot->index;
    return cbpi_kernel_device_receive(slots->device, &slot->receive);
}

uint32_t cbpi_kernel_slots_fill(struct cbpi_kernel_slots *slots)
{
    while (slots->waiting_count < CBPI_KERNEL_RECEIVE_COUNT) {
        struct cbpi_kernel_slot *slot = take_free(slots);
        if (!slot)
            return 0;
        uint32_t error = begin(slots, slot);
        if (error != 0) {
            cbpi_kernel_slots_give_back(slots, slot);
            return error == CBP_ERROR_BROKEN_PIPE ? error : 0;
        }
        slots->next_order++;
        slots->waiting_count++;
    }
    return 0;
}

void cbpi_kernel_slots_arrive(struct cbpi_kernel_slots *slots, struct cbpi_kernel_receive *receive)
{
    struct cbpi_kernel_slot *slot = (struct cbpi_kernel_slot *) (void *) receive;
    slot->state = CBPI_KERNEL_SLOT_ARRIVED;
    slots->waiting_count--;
}

/* ---- The order of arrival ---- */

static struct cbpi_kernel_slot *slot_at(const struct cbpi_kernel_slots *slots, uint32_t order)
{
    return slots->slots[slots->ordered[order % CBPI_KERNEL_SLOT_MAX]];
}

bool cbpi_kernel_slots_has_next(const struct cbpi_kernel_slots *slots)
{
    return slots->first_order != slots->next_order &&
           slot_at(slots, slots->first_order)->state == CBPI_KERNEL_SLOT_ARRIVED;
}

struct cbpi_kernel_slot *cbpi_kernel_slots_take(struct cbpi_kernel_slots *slots)
{
    while (cbpi_kernel_slots_has_next(slots)) {
        struct cbpi_kernel_slot *slot = slot_at(slots, slots->first_order++);
        uint32_t error = slot->receive.error;
        if (error == 0 || error == CBP_ERROR_INSUFFICIENT_BUFFER) {
            slot->state = CBPI_KERNEL_SLOT_TAKEN;
            return slot;
        }
        cbpi_kernel_slots_give_back(slots, slot);
    }
    return NULL;
}

uint32_t cbpi_kernel_slots_backlog(const struct cbpi_kernel_slots *slots)
{
    uint32_t count = 0;
    for (uint32_t order = slots->first_order; order != slots->next_order; order++) {
        const struct cbpi_kernel_slot *slot = slot_at(slots, order);
        count += slot->state == CBPI_KERNEL_SLOT_ARRIVED || cbpi_kernel_device_is_complete(&slot->receive);
    }
    return count;
}
