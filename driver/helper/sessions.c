/* Opens, changes and closes the one controller's sessions at its request. */
#include "cbp_atomic.h"
#include "helper.h"

uint32_t cbpd_serve_session(struct cbpd_helper *helper, const struct cbp_session_settings *settings)
{
    uint32_t place;
    bool is_new = cbpd_find_session(&helper->policy, CBPD_ONLY_CONTROLLER, settings->session_id, &place) != 0;
    uint32_t error = cbpd_set_session(&helper->policy, CBPD_ONLY_CONTROLLER, settings, &place);
    if (error == 0 && is_new)
        cbp_store_u64(&cbpd_channel_of(helper, place)->heartbeat_ns, helper->host->now_ns());
    return error;
}

uint32_t cbpd_serve_session_close(struct cbpd_helper *helper, uint32_t session_id)
{
    uint32_t place, error = cbpd_find_session(&helper->policy, CBPD_ONLY_CONTROLLER, session_id, &place);
    if (error != 0)
        return error;
    cbpd_release_session_slots(helper, place);
    cbpd_close_session(&helper->policy, place);
    helper->host->let_released_go(helper);
    return 0;
}
