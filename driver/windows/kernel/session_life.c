/* Opens and ends sessions with the books: in the policy, with their deliveries and their threads. Knows no
 * callback that is registered; arming.c stands above it. */
#include "cbp_time.h"
#include "kernel.h"

uint32_t cbpd_session_open(struct cbpd_policy *policy, struct cbpd_controller *controller,
                           const struct cbp_session_settings *settings)
{
    uint64_t id = cbpd_controller_id(controller);
    uint32_t place;
    bool is_new = cbpd_find_session(policy, id, settings->session_id, &place) != 0;
    if (!cbpd_controller_is_open(controller))
        return CBP_ERROR_OPERATION_ABORTED;
    uint32_t error = cbpd_set_session(policy, id, settings, &place);
    if (error == 0 && is_new) {
        error = cbpd_deliveries_open(controller, settings->session_id, place);
        if (error != 0)
            cbpd_close_session(policy, place);
    }
    if (error == 0)
        cbpd_deliveries_limit_silence(place, cbpd_silence_limit_ms(policy, place) * CBP_NS_PER_MS);
    return error;
}

void cbpd_session_end(struct cbpd_policy *policy, struct cbpd_controller *controller, uint32_t place)
{
    cbpd_workers_of_session_ended(controller, policy->sessions[place].settings.session_id);
    cbpd_close_session(policy, place);
    cbpd_deliveries_close(place);
}

void cbpd_sessions_end(struct cbpd_policy *policy, struct cbpd_controller *controller)
{
    for (uint32_t place = 0; place < CBP_SESSION_MAX; place++)
        if (policy->sessions[place].open &&
            policy->sessions[place].controller == cbpd_controller_id(controller))
            cbpd_session_end(policy, controller, place);
}

void cbpd_controllers_process_ended(uint32_t pid)
{
    struct cbpd_policy *policy = cbpd_books_lock();
    for (struct cbpd_controller *controller; (controller = cbpd_controller_forget_process(pid)) != NULL;)
        cbpd_sessions_end(policy, controller);
    cbpd_books_unlock();
}
