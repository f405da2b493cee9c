/* Creates, starts and destroys a session. How it stops is in stop.c. */
#include "core.h"
#include "recorder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DISPATCHER_STACK_SIZE (1024u * 1024u)

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

static void free_session(struct cbp_session *session)
{
    cbpi_rule_list_free(&session->rules);
    free(session->texts.script);
    free(session->texts.record_to);
    free(session->texts.hold_paths);
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
        /* Another thread of the parent may have been changing the rules. The workers' memory stays, since
         * this very thread may be inside the handler of one. */
        if (cbpi_mutex_try_lock(&session->control))
            cbpi_rule_list_free(&session->rules);
        free(session);
        return 0;
    }
    if (cbpi_thread_session() == session)
        return cbpi_fail(CBP_ERROR_POSSIBLE_DEADLOCK, "a session cannot be destroyed in its own handler");
    cbpi_session_begin_stop(session);
    cbpi_session_wait_until_inactive(session, 0);
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
    session->driver = cbpi_driver_find(cbpi_driver_names[session->config.driver], session->product_guid);
    uint32_t error = cbpi_driver_installation(session->driver)->prepare(session->product_guid);
    if (error == 0)
        error = cbpi_demands_check_session(session);
    if (error == 0 && session->config.hide_controller)
        error = cbpi_process_hide();
    if (error == 0)
        error = session->driver->open(settings, transport);
    if (error != 0 || !session->texts.record_to)
        return error;
    error = cbpi_recorder_create(session->texts.record_to, session->driver->name, &session->recorder);
    if (error != 0) {
        (*transport)->ops->close(*transport);
        (*transport)->ops->release(*transport);
    }
    return error;
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
    session->is_started = false;
    session->startup_code = 0;
    session->is_closed = false;
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
        transport->ops->close(transport);
        transport->ops->release(transport);
        cbpi_session_end_recording(session);
    }
    return error;
}

static uint32_t wait_until_started(struct cbp_session *session)
{
    cbpi_mutex_lock(&session->mutex);
    while (!session->is_started)
        cbpi_condition_wait_until(&session->condition, &session->mutex, UINT64_MAX);
    uint32_t code = session->startup_code;
    cbpi_mutex_unlock(&session->mutex);
    return code ? cbpi_fail(code, "%s", session->startup_detail) : 0;
}

/* Gives the driver the rules and the settings that were changed meanwhile. */
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
        error = session->transport->ops->update(session->transport, &settings);
    if (error == 0) {
        cbpi_log("%s the filter is active: driver %s, timeout %u ms, events 0x%x", session->product_guid,
                 session->driver->name, (unsigned) settings.policy.timeout_ms,
                 (unsigned) settings.policy.events);
        cbp_store_u32(&session->state, CBPI_STATE_ACTIVE);
        if (cbpi_driver_plays(session->driver))
            session->driver->scripts->begin(session->transport);
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
        cbpi_session_wait_until_inactive(session,
                                         0); /* joins the dispatcher of a session that stopped by itself */
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
        cbpi_session_wait_until_inactive(session, 0);
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
