/* Implements channel_session.h. */
#include "channel_session.h"

#include "cbp_atomic.h"
#include "cbp_channel.h"
#include "channel_deliveries.h"
#include "errors.h"

#include <stdlib.h>

/* Resets the counts of a session, whose id may have been another's. */
static void reset_counts(struct cbp_channel_session *place)
{
    cbp_store_u64(&place->lost, 0);
    cbp_store_u64(&place->timed_out, 0);
    cbp_store_u64(&place->refused, 0);
    cbp_store_u64(&place->decided, 0);
    cbp_store_u64(&place->failed_after, 0);
    cbp_store_u64(&place->guessed, 0);
}

static void discard(struct cbpi_channel_session *session)
{
    cbpi_mutex_destroy(&session->order);
    free(session);
}

static uint32_t close_session(struct cbpi_transport *transport)
{
    struct cbpi_channel_session *session = cbpi_channel_session(transport);
    cbp_store_u32(&session->is_closed, 1);
    cbpi_channel_wake(session);
    return cbpi_helper_close(&session->base);
}

static void release(struct cbpi_transport *transport)
{
    struct cbpi_channel_session *session = cbpi_channel_session(transport);
    cbpi_channel_drain(session);
    cbpi_helper_leave(&session->base);
    discard(session);
}

static uint32_t beat(struct cbpi_transport *transport)
{
    struct cbpi_channel_session *session = cbpi_channel_session(transport);
    cbp_store_u64(&cbpi_channel_place(session)->heartbeat_ns, cbpi_now_ns());
    cbpi_channel_tend(session);
    return cbpi_link_look(session->base.link) == CBPI_LINK_GONE ? CBP_ERROR_BROKEN_PIPE : 0;
}

static void counts(struct cbpi_transport *transport, struct cbp_statistics *counts)
{
    const struct cbpi_channel_session *session = cbpi_channel_session(transport);
    const struct cbp_channel_session *place = cbpi_channel_place(session);
    counts->lost = cbp_load_u64(&place->lost);
    counts->timed_out = cbp_load_u64(&place->timed_out);
    counts->refused = cbp_load_u64(&place->refused);
    counts->decided_by_rule = cbp_load_u64(&place->decided);
    counts->failed_after = cbp_load_u64(&place->failed_after);
    counts->guessed = cbp_load_u64(&place->guessed);
    counts->supervised = cbp_load_u32(&session->channel->supervised_count);
    counts->queued = cbp_load_u32(&session->turns.waiting_count) - cbp_load_u32(&session->turns.ready_count);
}

static bool next_failed(struct cbpi_transport *transport, uint64_t *seen_count,
                        struct cbpi_failed_execution *failed)
{
    const struct cbp_channel_session *place = cbpi_channel_place(cbpi_channel_session(transport));
    uint64_t at = *seen_count;
    if (at >= cbp_load_u64(&place->failed_after))
        return false;
    const struct cbp_failed_execution *entry = &place->failed[at % CBP_FAILED_EXECUTION_MAX];
    failed->sequence = cbp_load_u64(&entry->sequence);
    failed->os_error = cbp_load_u32(&entry->os_error);
    /* The next failure is being written already, over the oldest. */
    if (cbp_load_u64(&place->failed_after) - at >= CBP_FAILED_EXECUTION_MAX)
        *failed = (struct cbpi_failed_execution){0};
    *seen_count = at + 1;
    return true;
}

static const struct cbpi_transport_ops transport_ops = {
    .close = close_session,
    .release = release,
    .update = cbpi_helper_update,
    .set_rules = cbpi_helper_set_rules,
    .process_capabilities = cbpi_helper_process_capabilities,
    .receive = cbpi_channel_receive,
    .skip = cbpi_channel_skip,
    .backlog = cbpi_channel_backlog,
    .answer = cbpi_channel_answer,
    .check = cbpi_channel_check,
    .extend = cbpi_channel_extend,
    .beat = beat,
    .trouble = cbpi_helper_trouble,
    .counts = counts,
    .next_failed = next_failed,
};

uint32_t cbpi_channel_open(const struct cbpi_helper_driver *driver,
                           const struct cbpi_session_settings *settings, struct cbpi_transport **transport)
{
    struct cbpi_channel_session *made = calloc(1, sizeof *made);
    if (!made)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a session");
    struct cbpi_transport *base = &made->base.base;
    base->ops = &transport_ops;
    cbpi_mutex_init(&made->order);
    uint32_t error = cbpi_helper_join(&made->base, driver, settings);
    if (error != 0)
        goto cleanup;
    made->channel = made->base.link->channel;
    made->turns.slots = &cbpi_channel_turn_slots;
    made->turns.memory = made->channel;
    reset_counts(cbpi_channel_place(made));
    beat(base);
    error = cbpi_helper_update(base, settings);
    made->base.keeps_id = error == CBP_ERROR_SERVICE_REQUEST_TIMEOUT;
    if (error != 0)
        cbpi_helper_leave(&made->base);
cleanup:
    if (error == 0)
        *transport = base;
    else
        discard(made);
    return error;
}
