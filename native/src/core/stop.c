/* Stops a session. Any thread may ask for a stop; the dispatcher takes everything down, in every case. Knows
 * neither dispatcher.c nor how a session starts. */
#include "core.h"
#include "recorder.h"

#include <stdio.h>

void cbpi_session_begin_stop(struct cbp_session *session)
{
    cbpi_mutex_lock(&session->control);
    cbpi_mutex_lock(&session->mutex);
    uint32_t state = cbp_load_u32(&session->state);
    bool begins = state == CBPI_STATE_STARTING || state == CBPI_STATE_ACTIVE;
    if (begins)
        cbp_store_u32(&session->state, CBPI_STATE_STOPPING);
    cbpi_mutex_unlock(&session->mutex);
    if (begins) {
        /* The dispatcher releases the transport only after it has seen the workers end, and they may end as
         * soon as it is closed: the last use of it here comes before the dispatcher is told. */
        uint32_t error = session->transport->ops->close(session->transport);
        cbpi_mutex_lock(&session->mutex);
        session->is_closed = true;
        /* A driver that has gone has let go of everything; one that does not answer has not. */
        session->stop_code = error == CBP_ERROR_SERVICE_REQUEST_TIMEOUT ? error : 0;
        snprintf(session->stop_detail, sizeof session->stop_detail, "%s", cbp_error_detail());
        cbpi_condition_broadcast(&session->condition);
        cbpi_mutex_unlock(&session->mutex);
    }
    cbpi_mutex_unlock(&session->control);
}

uint32_t cbpi_session_wait_until_inactive(struct cbp_session *session, uint32_t slice_ms)
{
    uint64_t deadline_ns = cbpi_deadline_ns(slice_ms);
    cbpi_mutex_lock(&session->mutex);
    while (cbp_load_u32(&session->state) != CBPI_STATE_INACTIVE) {
        if (cbpi_now_ns() >= deadline_ns) {
            cbpi_mutex_unlock(&session->mutex);
            return cbpi_fail(CBP_ERROR_TIMEOUT, "handlers are still running");
        }
        cbpi_condition_wait_until(&session->condition, &session->mutex, deadline_ns);
    }
    bool joins = session->must_join;
    session->must_join = false;
    cbpi_mutex_unlock(&session->mutex);
    if (joins)
        cbpi_thread_join(&session->dispatcher);
    return 0;
}

/* Tells, once, how the stop went with the driver. */
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
    error = cbp_in_handler() ? 0 : cbpi_session_wait_until_inactive(session, slice_ms);
    return error != 0 ? error : tell_stop(session);
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
