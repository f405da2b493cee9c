/* Knows what a thread of the library is doing. "In a handler", the calls that work only there, and the first
 * check of every call stand on it. */
#include "core.h"

static CBP_THREAD_LOCAL struct {
    uint64_t generation; /* a fork's child runs no handler, even if the fork happened in one */
    struct cbp_session *session;
    struct cbp_worker *worker;
    bool has_entered; /* by cbp_handler_enter() */
} current;

void cbpi_thread_enter(struct cbp_session *session, struct cbp_worker *worker)
{
    current.generation = cbpi_process_generation();
    current.session = session;
    current.worker = worker;
}

void cbpi_thread_leave(void)
{
    current.session = NULL;
    current.worker = NULL;
}

struct cbp_session *cbpi_thread_session(void)
{
    return current.session && current.generation == cbpi_process_generation() ? current.session : NULL;
}

struct cbp_worker *cbpi_thread_worker(void)
{
    return cbpi_thread_session() ? current.worker : NULL;
}

struct cbp_worker *cbpi_thread_serving(void)
{
    struct cbp_worker *worker = cbpi_thread_worker();
    return worker && cbp_load_relaxed_u64(&worker->handling) != 0 ? worker : NULL;
}

uint32_t cbpi_session_check(const struct cbp_session *session)
{
    if (!session)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "session must not be NULL");
    if (session->generation != cbpi_process_generation())
        return cbpi_fail(CBP_ERROR_NOT_READY,
                         "the session belongs to the process that this one was forked from");
    return 0;
}

uint32_t cbp_in_handler(void)
{
    return cbpi_thread_session() ? 1 : 0;
}

uint32_t cbpi_check_outside_handler(const char *what)
{
    return cbp_in_handler() ? cbpi_fail(CBP_ERROR_POSSIBLE_DEADLOCK, "%s: not in a handler", what) : 0;
}

uint32_t cbpi_check_changeable(const struct cbp_session *session, const char *what)
{
    uint32_t error = cbpi_check_outside_handler(what);
    if (error == 0 && cbp_load_u32(&session->state) != CBPI_STATE_INACTIVE)
        error = cbpi_fail(CBP_ERROR_CONNECTION_ACTIVE, "%s: not while the filter is active", what);
    return error;
}

uint32_t cbp_handler_enter(struct cbp_session *session, const struct cbp_event *event)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (!event)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "event must not be NULL");
    if (cbpi_thread_session())
        return cbpi_fail(CBP_ERROR_POSSIBLE_DEADLOCK, "this thread is in a handler already");
    cbpi_mutex_lock(&session->mutex);
    struct cbp_worker *worker = session->workers;
    while (worker && cbp_load_relaxed_u64(&worker->handling) != (uintptr_t) event)
        worker = worker->next;
    cbpi_mutex_unlock(&session->mutex);
    if (!worker)
        return cbpi_fail(CBP_ERROR_NOT_FOUND, "no handler of this session has been called with this event");
    current.has_entered = true;
    cbpi_thread_enter(session, worker);
    return 0;
}

uint32_t cbp_handler_leave(void)
{
    if (!current.has_entered)
        return cbpi_fail(CBP_ERROR_NO_CALLBACK_ACTIVE, "this thread has not entered a handler");
    current.has_entered = false;
    cbpi_thread_leave();
    return 0;
}

uint32_t cbp_event_reset_timeout(uint32_t timeout_ms, uint32_t *accepted)
{
    struct cbp_worker *worker = cbpi_thread_serving();
    if (!worker)
        return cbpi_fail(CBP_ERROR_NO_CALLBACK_ACTIVE, "no event is being handled in this thread");
    if (!accepted)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "accepted must not be NULL");
    struct cbp_session *session = worker->session;
    uint32_t error = session->transport->ops->extend(session->transport, &worker->delivery, timeout_ms);
    if (error != 0 && error != CBP_ERROR_TIMEOUT)
        return error;
    *accepted = error == 0;
    return 0;
}

uint32_t cbp_event_originator_token(int64_t *token)
{
    const struct cbp_worker *worker = cbpi_thread_serving();
    if (!worker)
        return cbpi_fail(CBP_ERROR_NO_CALLBACK_ACTIVE, "no event is being handled in this thread");
    if (!token)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "token must not be NULL");
    const struct cbp_session *session = worker->session;
    const struct cbp_event *event = worker->delivery.event;
    *token = cbpi_driver_originator_token(session->driver, session->transport, &worker->delivery);
    if (*token != -1)
        return 0;
    bool is_end =
        event->type == CBP_PROC_EVT_PROCESS_TERMINATION || event->type == CBP_PROC_EVT_THREAD_TERMINATION;
    uint32_t process_id = is_end ? event->process_id : event->originator_process_id;
    /* An event tells enough only of its own process to know that one from a later one with the same id. */
    uint64_t start_time = process_id == event->process_id ? event->start_time : 0;
    *token = cbpi_driver_processes(session->driver)->token(process_id, start_time);
    return 0;
}
