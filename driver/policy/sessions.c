/* Keeps the controllers' sessions: their settings, and the order in which they are told. */
#include "lists.h"

bool cbpd_policy_init(struct cbpd_policy *policy, const struct cbpd_host *host)
{
    static const struct cbpd_image_file unknown = {.path = "", .given = ""};
    policy->host = host;
    policy->rules_generation = 1;
    policy->nameless = cbpd_make_image(policy, &unknown, 1, true);
    return policy->nameless;
}

void cbpd_policy_free(struct cbpd_policy *policy)
{
    for (uint32_t place = 0; place < CBP_SESSION_MAX; place++)
        cbpd_remove_session_rules(policy, place);
    cbpd_release_image(policy, policy->nameless);
    policy->host->release(policy->gathered.refs);
}

bool cbpd_session_is_above(const struct cbpd_policy *policy, uint32_t place, uint32_t other)
{
    const struct cbpd_session *one = &policy->sessions[place], *another = &policy->sessions[other];
    uint64_t altitude = one->settings.altitude, other_altitude = another->settings.altitude;
    return altitude != other_altitude ? altitude > other_altitude : one->opened < another->opened;
}

bool cbpd_any_session_wants(const struct cbpd_policy *policy, uint32_t events)
{
    for (uint32_t i = 0; i < policy->session_count; i++)
        if ((policy->sessions[policy->order[i]].settings.events & events) != 0)
            return true;
    return false;
}

static void order_sessions(struct cbpd_policy *policy)
{
    uint32_t count = 0;
    for (uint32_t place = 0; place < CBP_SESSION_MAX; place++) {
        if (!policy->sessions[place].open)
            continue;
        uint32_t at = count++;
        for (; at > 0 && cbpd_session_is_above(policy, place, policy->order[at - 1]); at--)
            policy->order[at] = policy->order[at - 1];
        policy->order[at] = place;
    }
    policy->session_count = count;
}

uint32_t cbpd_find_session(const struct cbpd_policy *policy, uint64_t controller, uint32_t session_id,
                           uint32_t *place)
{
    for (uint32_t i = 0; i < policy->session_count; i++) {
        const struct cbpd_session *session = &policy->sessions[policy->order[i]];
        if (session->controller != controller || session->settings.session_id != session_id)
            continue;
        *place = policy->order[i];
        return 0;
    }
    return CBP_ERROR_NOT_FOUND;
}

static uint32_t open_session(struct cbpd_policy *policy, uint64_t controller, uint32_t session_id,
                             uint32_t *place)
{
    uint32_t at = session_id;
    if (at >= CBP_SESSION_MAX || policy->sessions[at].open)
        for (at = 0; at < CBP_SESSION_MAX && policy->sessions[at].open;)
            at++;
    if (at == CBP_SESSION_MAX)
        return CBP_ERROR_NO_SYSTEM_RESOURCES;
    policy->sessions[at] =
        (struct cbpd_session){.open = true, .controller = controller, .opened = ++policy->opened_count};
    *place = at;
    return 0;
}

uint32_t cbpd_set_session(struct cbpd_policy *policy, uint64_t controller,
                          const struct cbp_session_settings *settings, uint32_t *place)
{
    uint32_t error = cbpd_find_session(policy, controller, settings->session_id, place);
    if (error != 0)
        error = open_session(policy, controller, settings->session_id, place);
    if (error != 0)
        return error;
    policy->sessions[*place].settings = *settings;
    order_sessions(policy);
    return 0;
}

void cbpd_close_session(struct cbpd_policy *policy, uint32_t place)
{
    policy->sessions[place].open = false;
    order_sessions(policy);
    cbpd_remove_session_rules(policy, place);
}
