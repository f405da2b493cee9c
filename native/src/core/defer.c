/* Keeps deferred answers. A delivery with deferred events stays here until the last of them is completed and
 * the worker that took it has done the rest. Then it is answered, once.
 *
 * A ticket names an entry of the table, the entry's use (entries are used again) and the event within the
 * delivery. It is not secret and not a pointer, so any number may come in. The lock is held while the driver
 * is answered, and so no transport is released under a completing thread. */
#include "core.h"
#include "memory.h"

#include <stdlib.h>
#include <string.h>

struct cbpi_deferral {
    struct cbp_session *session; /* NULL: the entry is free */
    uint32_t index;
    uint32_t use; /* never 0 */
    uint32_t next_free;
    uint32_t open_mask; /* items that are deferred and not completed */
    bool has_worker;
    struct cbpi_delivery delivery;
};

#define NO_ENTRY UINT32_MAX

static struct {
    struct cbpi_mutex mutex;
    struct cbpi_deferral **entries;
    uint32_t count;
    uint64_t capacity;
    uint32_t first_free;
} table;

void cbpi_deferrals_init(void)
{
    memset(&table, 0, sizeof table);
    table.first_free = NO_ENTRY;
    cbpi_mutex_init(&table.mutex);
}

void cbpi_deferrals_forget(void)
{
    /* The lock shows whether a thread of the parent was changing the table; then the memory is lost. */
    if (cbpi_mutex_try_lock(&table.mutex)) {
        for (uint32_t i = 0; i < table.count; i++)
            free(table.entries[i]);
        free(table.entries);
    }
    cbpi_deferrals_init();
}

static uint64_t ticket_of(const struct cbpi_deferral *entry, uint32_t item)
{
    return (uint64_t) entry->use << 32 | entry->index << 2 | item;
}

static uint32_t add_entry(struct cbpi_deferral **added)
{
    struct cbpi_deferral **entries =
        cbpi_grow(table.entries, sizeof *entries, table.count + 1, &table.capacity);
    if (!entries)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    table.entries = entries;
    struct cbpi_deferral *entry = calloc(1, sizeof *entry);
    if (!entry)
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    entry->index = table.count;
    table.entries[table.count++] = entry;
    *added = entry;
    return 0;
}

static uint32_t take_entry(struct cbp_worker *worker)
{
    struct cbpi_deferral *entry = NULL;
    uint32_t error = 0;
    cbpi_mutex_lock(&table.mutex);
    if (table.first_free != NO_ENTRY) {
        entry = table.entries[table.first_free];
        table.first_free = entry->next_free;
    } else {
        error = add_entry(&entry);
    }
    if (error == 0) {
        entry->use = entry->use == UINT32_MAX ? 1 : entry->use + 1;
        entry->session = worker->session;
        entry->open_mask = 0;
        entry->has_worker = true;
        entry->delivery = worker->delivery;
        worker->deferral = entry;
    }
    cbpi_mutex_unlock(&table.mutex);
    return error ? cbpi_fail(error, "no memory for a deferred event") : 0;
}

/* Answers the delivery and frees the entry. The lock is held. */
static uint32_t answer_entry(struct cbpi_deferral *entry)
{
    struct cbp_session *session = entry->session;
    uint32_t error = cbpi_delivery_answer(session, &entry->delivery);
    entry->session = NULL;
    entry->next_free = table.first_free;
    table.first_free = entry->index;
    return error;
}

uint32_t cbp_event_defer(uint64_t *ticket)
{
    struct cbp_worker *worker = cbpi_thread_serving();
    if (!worker)
        return cbpi_fail(CBP_ERROR_NO_CALLBACK_ACTIVE, "no event is being handled in this thread");
    uint32_t bit = 1u << worker->item;
    if (!ticket || (worker->deferred_mask & bit) != 0)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "ticket is NULL, or the event is deferred already");
    uint32_t error = worker->deferral ? 0 : take_entry(worker);
    if (error != 0)
        return error;
    cbpi_mutex_lock(&table.mutex);
    worker->deferral->open_mask |= bit;
    worker->deferral->delivery.deferred_items |= bit;
    worker->deferred_mask |= bit;
    struct cbp_session *session = worker->session;
    if (cbpi_driver_plays(session->driver))
        session->driver->scripts->deferred(session->transport, &worker->delivery, worker->item);
    cbp_add_u64(&session->deferred, 1);
    *ticket = ticket_of(worker->deferral, worker->item);
    cbpi_mutex_unlock(&table.mutex);
    return 0;
}

void cbpi_deferral_settle(struct cbp_worker *worker)
{
    struct cbpi_deferral *entry = worker->deferral;
    const struct cbpi_delivery *handled = &worker->delivery;
    cbpi_mutex_lock(&table.mutex);
    for (uint32_t i = 0; i < handled->count; i++)
        if ((worker->deferred_mask & 1u << i) == 0)
            cbpi_delivery_set_answer(&entry->delivery, i, handled->items[i].result_code,
                                     handled->items[i].desired_access);
    entry->has_worker = false;
    if (entry->open_mask == 0)
        answer_entry(entry);
    cbpi_mutex_unlock(&table.mutex);
    worker->deferral = NULL;
    worker->deferred_mask = 0;
}

void cbpi_deferrals_drop(struct cbp_session *session)
{
    cbpi_mutex_lock(&table.mutex);
    for (uint32_t i = 0; i < table.count; i++)
        if (table.entries[i]->session == session)
            answer_entry(table.entries[i]);
    cbp_store_u64(&session->deferred, 0);
    cbpi_mutex_unlock(&table.mutex);
}

static struct cbpi_deferral *find_open(uint64_t ticket, uint32_t item)
{
    uint32_t index = (uint32_t) ticket >> 2;
    if (index >= table.count)
        return NULL;
    struct cbpi_deferral *entry = table.entries[index];
    bool is_open = entry->session && entry->use == ticket >> 32 && (entry->open_mask & 1u << item) != 0 &&
                   cbp_load_u32(&entry->session->state) != CBPI_STATE_STOPPING;
    return is_open ? entry : NULL;
}

uint32_t cbp_event_complete(uint64_t ticket, uint32_t result_code, uint32_t desired_access)
{
    uint32_t item = (uint32_t) ticket & 3u;
    uint32_t error = CBP_ERROR_NOT_FOUND;
    cbpi_mutex_lock(&table.mutex);
    struct cbpi_deferral *entry = find_open(ticket, item);
    if (entry) {
        struct cbp_session *session = entry->session;
        cbpi_delivery_set_answer(&entry->delivery, item, result_code, desired_access);
        entry->open_mask &= ~(1u << item);
        cbp_subtract_u64(&session->deferred, 1);
        error = entry->open_mask == 0 && !entry->has_worker
                    ? answer_entry(entry)
                    : session->transport->ops->check(session->transport, &entry->delivery);
    }
    cbpi_mutex_unlock(&table.mutex);
    if (error == CBP_ERROR_NOT_FOUND)
        return cbpi_fail(error, "the ticket is unknown or used up, or its filter has stopped");
    return error ? cbpi_fail(error, "the deadline had passed") : 0;
}
