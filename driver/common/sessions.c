/* The sessions of a controller: their settings, and who is told before whom. */
#include <string.h>

#include "cbp_atomic.h"
#include "supervisor.h"

static uint64_t opened_count;

bool session_is_above(uint32_t session_id, uint32_t other_id)
{
    const struct session *session = &self.sessions[session_id], *other = &self.sessions[other_id];
    return session->altitude != other->altitude ? session->altitude > other->altitude
                                                : session->opened < other->opened;
}

bool any_session_wants(uint32_t events)
{
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        if (self.sessions[id].open && (self.sessions[id].events & events) != 0)
            return true;
    return false;
}

static void order_sessions(void)
{
    uint32_t count = 0;
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++) {
        if (!self.sessions[id].open)
            continue;
        uint32_t at = count++;
        for (; at > 0 && session_is_above(id, self.order[at - 1]); at--)
            self.order[at] = self.order[at - 1];
        self.order[at] = id;
    }
}

uint32_t set_session(const struct cbp_session_settings *settings)
{
    struct session *session = &self.sessions[settings->session_id];
    if (!session->open) {
        memset(session, 0, sizeof *session);
        session->open = true;
        session->opened = ++opened_count;
        self.session_count++;
        cbp_store_u64(&self.channel->sessions[settings->session_id].heartbeat_ns, now_ns());
    }
    session->events = settings->events;
    session->timeout_ms = settings->timeout_ms;
    session->timeout_action = settings->timeout_action;
    session->refuse_with = settings->refuse_with;
    session->flags = settings->flags;
    session->altitude = settings->altitude;
    order_sessions();
    return 0;
}

uint32_t close_session(uint32_t session_id)
{
    if (!self.sessions[session_id].open)
        return CBP_ERROR_NOT_FOUND;
    release_session_slots(session_id);
    self.sessions[session_id].open = false;
    self.session_count--;
    order_sessions();
    remove_session_rules(session_id);
    return 0;
}
