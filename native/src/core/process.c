/* Answers questions about processes. */
#include "core.h"

uint32_t cbp_process_name(uint32_t process_id, char *buffer, uint64_t size, uint64_t *needed)
{
    if (!buffer && size != 0)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "buffer must not be NULL");
    const struct cbp_worker *worker = cbpi_thread_serving();
    if (worker) {
        /* The system still shows the old image before the creation, and may show none at the end. */
        const struct cbp_event *event = worker->delivery.event;
        uint32_t type = event->type;
        if ((type == CBP_PROC_EVT_PROCESS_CREATION || type == CBP_PROC_EVT_PROCESS_TERMINATION) &&
            event->process_id == process_id)
            return cbpi_copy_text(cbp_event_process_name(event), event->process_name_size, buffer, size,
                                  needed);
        const struct cbp_session *session = worker->session;
        return cbpi_driver_processes(session->driver)
            ->name(session->transport, process_id, buffer, size, needed);
    }
    return cbpi_process_path(process_id, buffer, size, needed);
}

uint32_t cbp_session_process_capabilities(struct cbp_session *session, uint32_t process_id,
                                          uint32_t *capabilities)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (!capabilities)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "capabilities must not be NULL");
    cbpi_mutex_lock(&session->control);
    if (cbp_load_u32(&session->state) == CBPI_STATE_ACTIVE)
        error = session->transport->ops->process_capabilities(session->transport, process_id, capabilities);
    else
        error = cbpi_fail(CBP_ERROR_NOT_READY, "the filter is not active");
    cbpi_mutex_unlock(&session->control);
    return error;
}
