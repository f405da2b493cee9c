/* What a thread of the library is doing: the basis of "in a handler", and the calls that work only there. */
#include "core.h"

static _Thread_local struct {
    uint64_t generation; /* a fork's child runs no handler, even if the fork happened in one */
    struct cbp_session *session;
    struct cbp_worker *worker;
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
    return worker && worker->is_serving ? worker : NULL;
}

uint32_t cbp_in_handler(void)
{
    return cbpi_thread_session() != NULL;
}

uint32_t cbp_event_reset_timeout(uint32_t timeout_ms, uint32_t *accepted)
{
    struct cbp_worker *worker = cbpi_thread_serving();
    if (!worker)
        return cbpi_fail(CBP_ERROR_NO_CALLBACK_ACTIVE, "no event is being handled in this thread");
    if (!accepted)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "accepted must not be NULL");
    struct cbp_session *session = worker->session;
    uint32_t error = session->ops->extend(session->transport, &worker->delivery, timeout_ms);
    if (error != 0 && error != CBP_ERROR_TIMEOUT)
        return error;
    *accepted = error == 0;
    return 0;
}
