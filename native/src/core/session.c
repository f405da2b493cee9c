/* The life of a session: create, start, stop, destroy, and what can be asked about it. The dispatcher does
 * the taking down, in every case, so that a stop may be asked for in any thread; see dispatcher.c. */
#include "core.h"
#include "recorder.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS 1000000u
#define FOREVER_MS (1000u * 3600u) /* waits without a limit look again after this time */
#define DISPATCHER_STACK_SIZE (1024u * 1024u)

uint32_t cbpi_session_check(const struct cbp_session *session)
{
    if (!session)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "session must not be NULL");
    if (session->generation != cbpi_process_generation())
        return cbpi_fail(CBP_ERROR_NOT_READY,
                         "the session belongs to the process that this one was forked from");
    return 0;
}

uint32_t cbp_session_create(const char *product_guid, struct cbp_session **session)
{
    if (!session || (product_guid && !cbpi_is_guid(product_guid)))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "the product GUID is not a GUID in braces");
    struct cbp_session *made = calloc(1, sizeof *made);
    if (!made)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a session");
    made->generation = cbpi_process_generation();
    cbpi_mutex_init(&made->control);
    cbpi_mutex_init(&made->mutex);
    cbpi_condition_init(&made->condition);
    cbpi_config_init(&made->config);
    if (product_guid)
        memcpy(made->product_guid, product_guid, sizeof made->product_guid);
    cbpi_script_log_init(&made->script);
    *session = made;
    return 0;
}

uint32_t cbp_session_set_product_guid(struct cbp_session *session, const char *product_guid)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (!product_guid || !cbpi_is_guid(product_guid))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "the product GUID is not a GUID in braces");
    cbpi_mutex_lock(&session->control);
    if (cbp_load_u32(&session->state) == CBPI_STATE_INACTIVE)
        memcpy(session->product_guid, product_guid, sizeof session->product_guid);
    else
        error =
            cbpi_fail(CBP_ERROR_CONNECTION_ACTIVE, "the product GUID is fixed while the filter is active");
    cbpi_mutex_unlock(&session->control);
    return error;
}

void cbpi_session_report(const struct cbp_session *session, uint32_t code, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cbpi_log("%s error %u: %s", session->product_guid, (unsigned) code, text);
    if (session->callbacks.error)
        session->callbacks.error(session->callbacks.context, code, text);
}

void cbpi_session_begin_stop(struct cbp_session *session)
{
    cbpi_mutex_lock(&session->control);
    cbpi_mutex_lock(&session->mutex);
    uint32_t state = cbp_load_u32(&session->state);
    int begins = state == CBPI_STATE_STARTING || state == CBPI_STATE_ACTIVE;
    if (begins)
        cbp_store_u32(&session->state, CBPI_STATE_STOPPING);
    cbpi_mutex_unlock(&session->mutex);
    if (begins) {
        /* The dispatcher releases the transport only after it has seen the workers end, and they may end as
         * soon as it is closed: the last use of it here comes before the dispatcher is told. */
        uint32_t error = session->ops->close(session->transport);
        cbpi_mutex_lock(&session->mutex);
        session->is_closed = 1;
        /* A driver that has gone has let go of everything; one that does not answer has not. */
        session->stop_code = error == CBP_ERROR_SERVICE_REQUEST_TIMEOUT ? error : 0;
        snprintf(session->stop_detail, sizeof session->stop_detail, "%s", cbp_error_detail());
        cbpi_condition_broadcast(&session->condition);
        cbpi_mutex_unlock(&session->mutex);
    }
    cbpi_mutex_unlock(&session->control);
}

/* Waits for the dispatcher to have taken everything down, and joins it. */
static uint32_t wait_until_inactive(struct cbp_session *session, uint32_t slice_ms)
{
    uint64_t deadline_ns = cbpi_now_ns() + (uint64_t) slice_ms * NS_PER_MS;
    cbpi_mutex_lock(&session->mutex);
    while (cbp_load_u32(&session->state) != CBPI_STATE_INACTIVE) {
        uint64_t now_ns = cbpi_now_ns();
        if (slice_ms != 0 && now_ns >= deadline_ns) {
            cbpi_mutex_unlock(&session->mutex);
            return cbpi_fail(CBP_ERROR_TIMEOUT, "handlers are still running");
        }
        cbpi_condition_wait_until(&session->condition, &session->mutex,
                                  slice_ms != 0 ? deadline_ns : now_ns + (uint64_t) FOREVER_MS * NS_PER_MS);
    }
    uint32_t joins = session->must_join;
    session->must_join = 0;
    cbpi_mutex_unlock(&session->mutex);
    if (joins)
        cbpi_thread_join(&session->dispatcher);
    return 0;
}

/* How the stop went with the driver: told once. */
static uint32_t tell_stop(struct cbp_session *session)
{
    cbpi_mutex_lock(&session->mutex);
    uint32_t code = session->stop_code;
    session->stop_code = 0;
    cbpi_mutex_unlock(&session->mutex);
    return code ? cbpi_fail(code,
                            "the filter has stopped here, but %s; what it holds goes on when it runs again",
                            session->stop_detail)
                : 0;
}

uint32_t cbp_session_stop(struct cbp_session *session, uint32_t slice_ms)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    cbpi_session_begin_stop(session);
    error = cbp_in_handler() ? 0 : wait_until_inactive(session, slice_ms);
    return error != 0 ? error : tell_stop(session);
}

static void free_session(struct cbp_session *session)
{
    cbpi_rule_list_free(&session->rules);
    cbpi_text_config_free(&session->texts);
    cbpi_script_log_destroy(&session->script);
    cbpi_condition_destroy(&session->condition);
    cbpi_mutex_destroy(&session->control);
    cbpi_mutex_destroy(&session->mutex);
    free(session);
}

uint32_t cbp_session_destroy(struct cbp_session *session)
{
    if (!session)
        return 0;
    if (session->generation != cbpi_process_generation()) {
        /* Another thread of the parent may have been changing the rules; the workers' memory stays, since
         * this very thread may be inside one's handler. */
        if (cbpi_mutex_try_lock(&session->control))
            cbpi_rule_list_free(&session->rules);
        free(session);
        return 0;
    }
    if (cbpi_thread_session() == session)
        return cbpi_fail(CBP_ERROR_POSSIBLE_DEADLOCK, "a session cannot be destroyed in its own handler");
    cbpi_session_begin_stop(session);
    wait_until_inactive(session, 0);
    free_session(session);
    return 0;
}

uint32_t cbp_session_set_callbacks(struct cbp_session *session, const struct cbp_callbacks *callbacks)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (!callbacks || callbacks->size != sizeof *callbacks || callbacks->reserved != 0 || !callbacks->event)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "the callbacks need their size and an event callback");
    cbpi_mutex_lock(&session->control);
    if (cbp_load_u32(&session->state) == CBPI_STATE_INACTIVE)
        session->callbacks = *callbacks;
    else
        error = cbpi_fail(CBP_ERROR_CONNECTION_ACTIVE, "callbacks are fixed while the filter is active");
    cbpi_mutex_unlock(&session->control);
    return error;
}

static void reset_counts(struct cbp_session *session)
{
    cbpi_mutex_lock(&session->mutex);
    session->ended_delivered = 0;
    cbp_store_u64(&session->late, 0);
    cbp_store_u64(&session->failed_seen, 0);
    cbp_store_u64(&session->malformed, 0);
    cbp_store_u64(&session->skipped, 0);
    memset(&session->final_counts, 0, sizeof session->final_counts);
    cbpi_mutex_unlock(&session->mutex);
}

/* Opens the driver, and the recording if there is to be one. */
static uint32_t open_transport(struct cbp_session *session, const struct cbpi_session_settings *settings,
                               struct cbpi_transport **transport)
{
    session->recorder = NULL;
    session->ops = cbpi_transport_find(cbpi_driver_names[session->config.driver]);
    uint32_t error = cbpi_demands_check_session(session);
    if (error == 0 && session->config.hide_controller)
        error = cbpi_process_hide();
    if (error == 0)
        error = session->ops->open(settings, transport);
    if (error != 0 || !session->texts.record_to)
        return error;
    error = cbpi_recorder_create(session->texts.record_to, session->ops->name, &session->recorder);
    if (error != 0) {
        session->ops->close(*transport);
        session->ops->release(*transport);
    }
    return error;
}

void cbpi_session_end_recording(struct cbp_session *session)
{
    char text[400];
    struct cbpi_recorder *recorder = session->recorder;
    session->recorder = NULL;
    uint64_t lost = session->final_counts.lost + cbp_load_u64(&session->skipped);
    uint32_t code = recorder ? cbpi_recorder_close(recorder, lost, text, sizeof text) : 0;
    if (code != 0)
        cbpi_session_report(session, code, "%s", text);
}

/* Attaches and starts the dispatcher, which starts the workers. control is held. */
static uint32_t attach(struct cbp_session *session, struct cbpi_session_settings *settings)
{
    struct cbpi_transport *transport;
    reset_counts(session);
    cbpi_config_apply_worker_limit(session);
    cbpi_config_settings(session, settings);
    uint32_t error = open_transport(session, settings, &transport);
    if (error != 0)
        return error;
    session->epoch++;
    session->is_started = 0;
    session->startup_code = 0;
    session->is_closed = 0;
    session->failed_count = 0;
    cbp_store_u32(&session->is_watched, 1);
    cbpi_mutex_lock(&session->mutex);
    session->transport = transport;
    cbp_store_u32(&session->state, CBPI_STATE_STARTING);
    cbpi_mutex_unlock(&session->mutex);

    error = cbpi_thread_start(&session->dispatcher, cbpi_dispatcher_body, session, DISPATCHER_STACK_SIZE);
    cbpi_mutex_lock(&session->mutex);
    session->must_join = error == 0;
    if (error != 0) {
        session->transport = NULL;
        cbp_store_u32(&session->state, CBPI_STATE_INACTIVE);
    }
    cbpi_mutex_unlock(&session->mutex);
    if (error != 0) {
        session->ops->close(transport);
        session->ops->release(transport);
        cbpi_session_end_recording(session);
    }
    return error;
}

static uint32_t wait_until_started(struct cbp_session *session)
{
    cbpi_mutex_lock(&session->mutex);
    while (!session->is_started)
        cbpi_condition_wait_until(&session->condition, &session->mutex,
                                  cbpi_now_ns() + (uint64_t) FOREVER_MS * NS_PER_MS);
    uint32_t code = session->startup_code;
    cbpi_mutex_unlock(&session->mutex);
    return code ? cbpi_fail(code, "%s", session->startup_detail) : 0;
}

/* Gives the driver the rules and what was configured meanwhile. */
static uint32_t activate(struct cbp_session *session, const struct cbpi_session_settings *opened_with)
{
    struct cbpi_session_settings settings;
    uint32_t error = 0;
    cbpi_mutex_lock(&session->control);
    if (cbp_load_u32(&session->state) != CBPI_STATE_STARTING) {
        error = cbpi_fail(CBP_ERROR_OPERATION_ABORTED, "the filter was stopped while it was starting");
        goto cleanup;
    }
    error = cbpi_rules_push(session);
    cbpi_config_settings(session, &settings);
    if (error == 0 && memcmp(&settings, opened_with, sizeof settings) != 0)
        error = session->ops->update(session->transport, &settings);
    if (error == 0) {
        cbpi_log("%s the filter is active: driver %s, timeout %u ms, events 0x%x", session->product_guid,
                 session->ops->name, (unsigned) settings.timeout_ms, (unsigned) settings.events);
        cbp_store_u32(&session->state, CBPI_STATE_ACTIVE);
        if (session->ops->begin)
            session->ops->begin(session->transport);
    }
cleanup:
    cbpi_mutex_unlock(&session->control);
    return error;
}

static uint32_t check_start(const struct cbp_session *session, uint32_t timeout_ms)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (!session->product_guid[0])
        return cbpi_fail(CBP_ERROR_NOT_READY, "the session has no product GUID");
    if (timeout_ms != 0 && timeout_ms < CBP_TIMEOUT_MIN_MS)
        return cbpi_fail(CBP_ERROR_IMPLEMENTATION_LIMIT, "the timeout is neither 0 nor at least %u ms",
                         (unsigned) CBP_TIMEOUT_MIN_MS);
    if (!session->callbacks.event)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "the session has no event callback");
    return cbpi_check_outside_handler("starting a filter");
}

static uint32_t start(struct cbp_session *session, uint32_t timeout_ms)
{
    struct cbpi_session_settings settings;
    uint32_t error = 0;
    cbpi_mutex_lock(&session->control);
    if (cbp_load_u32(&session->state) == CBPI_STATE_INACTIVE) {
        wait_until_inactive(session, 0); /* joins the dispatcher of a session that stopped by itself */
        session->timeout_ms = timeout_ms;
        error = attach(session, &settings);
    } else {
        error = cbpi_fail(CBP_ERROR_CONNECTION_ACTIVE, "the filter is active, or its stop is not complete");
    }
    cbpi_mutex_unlock(&session->control);
    if (error != 0)
        return error;

    error = wait_until_started(session);
    if (error == 0)
        error = activate(session, &settings);
    if (error != 0) {
        cbpi_session_begin_stop(session);
        wait_until_inactive(session, 0);
    }
    return error;
}

uint32_t cbp_session_start(struct cbp_session *session, uint32_t timeout_ms)
{
    uint32_t error = check_start(session, timeout_ms);
    if (error != 0)
        return error;
    cbpi_log_refresh();
    error = start(session, timeout_ms);
    if (error != 0)
        cbpi_log("%s the filter did not start: error %u: %s", session->product_guid, (unsigned) error,
                 cbp_error_detail());
    return error;
}

uint32_t cbp_session_is_active(struct cbp_session *session, uint32_t *active)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (!active)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "active must not be NULL");
    *active = cbp_load_u32(&session->state) == CBPI_STATE_ACTIVE;
    return 0;
}

uint32_t cbp_session_get_statistics(struct cbp_session *session, struct cbp_statistics *statistics,
                                    uint64_t size)
{
    struct cbpi_transport_counts counts;
    struct cbp_statistics all = {0};
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (!statistics || size < sizeof all.delivered || size % sizeof all.delivered != 0)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "size is that of struct cbp_statistics");
    cbpi_mutex_lock(&session->mutex);
    counts = session->final_counts;
    if (session->transport) {
        session->ops->counts(session->transport, &counts);
        all.queued = session->ops->backlog(session->transport);
    }
    all.delivered = session->ended_delivered;
    for (const struct cbp_worker *worker = session->workers; worker; worker = worker->next)
        all.delivered += cbp_load_relaxed_u64(&worker->delivered);
    all.queued += counts.waiting;
    all.workers = cbp_load_u32(&session->worker_count);
    cbpi_mutex_unlock(&session->mutex);

    all.lost = counts.lost + cbp_load_u64(&session->skipped);
    all.timed_out = counts.timed_out;
    all.refused = counts.refused;
    all.decided_by_rule = counts.decided_by_rule;
    all.late = cbp_load_u64(&session->late);
    all.failed_after = counts.failed_after;
    all.malformed = cbp_load_u64(&session->malformed);
    all.supervised = counts.supervised;
    all.deferred = cbp_load_u64(&session->deferred);
    all.guessed = counts.guessed;
    memcpy(statistics, &all, size < sizeof all ? (size_t) size : sizeof all);
    return 0;
}
