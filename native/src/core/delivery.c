/* Keeps and gives the answers to a delivery, for workers and for deferred events. */
#include "core.h"
#include "recorder.h"

void cbpi_delivery_set_answer(struct cbpi_delivery *delivery, uint32_t item, uint32_t result_code,
                              uint32_t desired_access)
{
    if (delivery->items[item].flags & CBP_EVENT_FLAG_DECIDED_BY_RULE)
        return;
    delivery->items[item].result_code = result_code;
    delivery->items[item].desired_access &= desired_access;
}

uint32_t cbpi_delivery_answer(struct cbp_session *session, const struct cbpi_delivery *delivery)
{
    uint32_t error = session->transport->ops->answer(session->transport, delivery);
    /* An answer that is late because the session was stopped does not count as late. */
    bool is_stopped = cbp_load_u32(&session->state) != CBPI_STATE_ACTIVE;
    if (error == CBP_ERROR_TIMEOUT && !is_stopped)
        cbp_add_u64(&session->late, 1);
    if (session->recorder)
        cbpi_recorder_write_verdict(session->recorder, delivery,
                                    error != 0 && is_stopped ? CBP_ERROR_OPERATION_ABORTED : error);
    return error;
}
