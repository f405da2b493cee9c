/* Has the public functions for scripts. script_log.h keeps what they wait for. */
#include "core.h"

#include <string.h>

uint32_t cbp_script_play(struct cbp_session *session, const void *messages, uint64_t size)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (!messages && size != 0)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "messages must not be NULL");
    cbpi_mutex_lock(&session->control);
    if (cbp_load_u32(&session->state) != CBPI_STATE_ACTIVE)
        error = cbpi_fail(CBP_ERROR_NOT_READY, "the filter is not active");
    else if (!cbpi_driver_plays(session->driver))
        error = cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "the %s driver plays no scripts", session->driver->name);
    else
        error = session->driver->scripts->play(session->transport, messages, size);
    cbpi_mutex_unlock(&session->control);
    return error;
}

/* Waits for a change. The log's mutex is held. */
static uint32_t wait_until(struct cbpi_script_log *log, uint64_t deadline_ns)
{
    if (!log->is_open)
        return cbpi_fail(CBP_ERROR_NOT_READY, "no script is being played");
    if (cbpi_now_ns() >= deadline_ns)
        return cbpi_fail(CBP_ERROR_TIMEOUT, "the script is not that far yet");
    cbpi_condition_wait_until(&log->condition, &log->mutex, deadline_ns);
    return 0;
}

uint32_t cbp_script_wait(struct cbp_session *session, uint32_t slice_ms)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (cbpi_thread_session() == session)
        return cbpi_fail(CBP_ERROR_POSSIBLE_DEADLOCK, "a handler cannot wait until it has returned");
    struct cbpi_script_log *log = &session->script;
    uint64_t deadline_ns = cbpi_deadline_ns(slice_ms);
    cbpi_mutex_lock(&log->mutex);
    while (error == 0 && (log->unfinished_count > 0 || !log->is_open))
        error = wait_until(log, deadline_ns);
    cbpi_mutex_unlock(&log->mutex);
    return error;
}

uint32_t cbp_script_next_verdict(struct cbp_session *session, uint32_t slice_ms, void *verdict, uint64_t size)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (!verdict || size != sizeof(struct cbp_verdict))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "size is that of struct cbp_verdict");
    struct cbpi_script_log *log = &session->script;
    uint64_t deadline_ns = cbpi_deadline_ns(slice_ms);
    cbpi_mutex_lock(&log->mutex);
    while (error == 0 && log->count == 0)
        error = wait_until(log, deadline_ns);
    if (error == 0) {
        memcpy(verdict, &log->verdicts[log->first], sizeof *log->verdicts);
        log->first = (log->first + 1) % log->capacity;
        log->count--;
    }
    cbpi_mutex_unlock(&log->mutex);
    return error;
}
