/* A driver that plays a list, as a proof of transport.h: processes are created one after the other, and end if the
 * answer to their creation allows it. Knows no rules, no deadlines, and nothing of native/src but the seams. */
#include "platform.h"
#include "transport.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const list[] = {"/list/allowed", "/list/refused", "/list/deferred"};
enum { PROCESS_COUNT = sizeof list / sizeof list[0], FIRST_PROCESS_ID = 101 };

struct list_transport {
    struct cbpi_transport base;
    struct cbpi_mutex mutex;         /* guards the rest */
    struct cbpi_condition condition; /* any of it has changed */
    enum { LISTED, TOLD, ALLOWED, REFUSED, ENDED } states[PROCESS_COUNT];
    bool is_closed;
};

static struct list_transport *lock(struct cbpi_transport *base)
{
    struct list_transport *transport = (struct list_transport *) base;
    cbpi_mutex_lock(&transport->mutex);
    return transport;
}

static uint32_t unlock(struct list_transport *transport, uint32_t result)
{
    cbpi_condition_broadcast(&transport->condition);
    cbpi_mutex_unlock(&transport->mutex);
    return result;
}

/* The first process that there is something to tell of, or PROCESS_COUNT. */
static uint32_t next_of(const struct list_transport *transport)
{
    uint32_t i = 0;
    while (i < PROCESS_COUNT && transport->states[i] != LISTED && transport->states[i] != ALLOWED)
        i++;
    return i;
}

static void tell(struct list_transport *transport, uint32_t process, struct cbpi_delivery *delivery)
{
    bool is_end = transport->states[process] == ALLOWED;
    struct cbp_event *event = delivery->event; /* every worker's memory has room for it and a short name */
    *event = (struct cbp_event){.size = sizeof *event, .process_id = FIRST_PROCESS_ID + process};
    event->type = is_end ? CBP_PROC_EVT_PROCESS_TERMINATION : CBP_PROC_EVT_PROCESS_CREATION;
    event->flags = is_end ? 0 : CBP_EVENT_FLAG_HELD | CBP_EVENT_FLAG_REFUSABLE;
    event->process_name_offset = event->size;
    event->process_name_size = (uint32_t) sprintf((char *) (event + 1), "%s", list[process]);
    event->size += event->process_name_size + 1;
    delivery->count = 1;
    delivery->slot = process;
    delivery->nobody_waits = is_end;
    delivery->items[0] = (struct cbp_event_item){.type = event->type, .flags = event->flags};
    transport->states[process] = is_end ? ENDED : TOLD;
}

static uint32_t receive(struct cbpi_transport *base, struct cbpi_delivery *delivery, uint32_t timeout_ms,
                        uint32_t *pending)
{
    uint64_t limit_ns = cbpi_now_ns() + timeout_ms * CBP_NS_PER_MS;
    struct list_transport *transport = lock(base);
    *pending = 0;
    while (!transport->is_closed && next_of(transport) == PROCESS_COUNT && cbpi_now_ns() < limit_ns)
        cbpi_condition_wait_until(&transport->condition, &transport->mutex, limit_ns);
    if (transport->is_closed || next_of(transport) == PROCESS_COUNT)
        return unlock(transport, transport->is_closed ? CBP_ERROR_OPERATION_ABORTED : CBP_ERROR_TIMEOUT);
    tell(transport, next_of(transport), delivery);
    return unlock(transport, 0);
}

static uint32_t answer(struct cbpi_transport *base, const struct cbpi_delivery *delivery)
{
    struct list_transport *transport = lock(base);
    if (!delivery->nobody_waits)
        transport->states[delivery->slot] = delivery->items[0].result_code == 0 ? ALLOWED : REFUSED;
    return unlock(transport, 0);
}

static uint32_t backlog(struct cbpi_transport *base)
{
    struct list_transport *transport = lock(base);
    return unlock(transport, next_of(transport) < PROCESS_COUNT);
}

static void counts(struct cbpi_transport *base, struct cbp_statistics *counts)
{
    struct list_transport *transport = lock(base);
    *counts = (struct cbp_statistics){0};
    for (uint32_t i = 0; i < PROCESS_COUNT; i++)
        counts->refused += transport->states[i] == REFUSED;
    unlock(transport, 0);
}

static uint32_t close_list(struct cbpi_transport *base)
{
    struct list_transport *transport = lock(base);
    transport->is_closed = true;
    return unlock(transport, 0);
}

static void release(struct cbpi_transport *base)
{
    struct list_transport *transport = (struct list_transport *) base;
    cbpi_condition_destroy(&transport->condition);
    cbpi_mutex_destroy(&transport->mutex);
    free(transport);
}

/* What this driver has nothing to say to. */
#pragma GCC diagnostic ignored "-Wunused-parameter"
#define BASE struct cbpi_transport *base
#define NOTHING(type, result, name, ...)                                                                     \
    static type name(__VA_ARGS__)                                                                            \
    {                                                                                                        \
        return result;                                                                                       \
    }
NOTHING(uint32_t, 0, update, BASE, const struct cbpi_session_settings *settings)
NOTHING(uint32_t, 0, set_rules, BASE, const struct cbpi_rules_change *change)
NOTHING(uint32_t, CBP_ERROR_NOT_FOUND, find_capabilities, BASE, uint32_t process_id, uint32_t *capabilities)
NOTHING(void, (void) 0, skip, BASE, uint32_t *pending)
NOTHING(uint32_t, 0, check, BASE, const struct cbpi_delivery *delivery)
NOTHING(uint32_t, 0, extend, BASE, const struct cbpi_delivery *delivery, uint32_t timeout_ms)
NOTHING(uint32_t, 0, beat, BASE)
NOTHING(uint32_t, 0, trouble, BASE, char *text, uint64_t size)
NOTHING(bool, false, next_failed, BASE, uint64_t *seen_count, struct cbpi_failed_execution *failed)
NOTHING(uint32_t, CBP_CAP_SEE_PROCESS_CREATION | CBP_CAP_HOLD_PROCESS_CREATION, probe, char *to, uint64_t n)

static const struct cbpi_transport_ops ops = {close_list, release, update,  set_rules, find_capabilities,
                                              receive,    skip,    backlog, answer,    check,
                                              extend,     beat,    trouble, counts,    next_failed};

static uint32_t open_list(const struct cbpi_session_settings *settings, struct cbpi_transport **opened)
{
    struct list_transport *made = calloc(1, sizeof *made);
    if (!made)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    made->base.ops = &ops;
    cbpi_mutex_init(&made->mutex);
    cbpi_condition_init(&made->condition);
    *opened = &made->base;
    return 0;
}

const struct cbpi_driver cbpi_list_driver = {.name = "list", .probe = probe, .open = open_list};
