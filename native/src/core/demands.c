/* Says what settings and rules ask of a driver, in one table, and whether the driver can do it. A driver
 * takes nothing that it cannot carry out. Knows drivers by their capability bits alone. */
#include "core.h"

#define REFUSES_CREATION (uint32_t)(CBP_CAP_REFUSE_PROCESS_CREATION | CBP_CAP_KILL_PROCESS_CREATION)
#define STRIPS (uint32_t)(CBP_CAP_STRIP_PROCESS_HANDLE | CBP_CAP_STRIP_THREAD_HANDLE)

struct demand {
    uint32_t value;  /* of a setting or an action; of EventsToFire a bit */
    uint32_t any_of; /* CAP_ bits, one of which it takes */
    const char *name;
};

/* These events are asked for by name. -1 asks for all that there is, and 0 for nothing. */
static const struct demand events[] = {
    {CBP_PROC_EVT_PROCESS_CREATION, CBP_CAP_SEE_PROCESS_CREATION, "process creations in EventsToFire"},
    {CBP_PROC_EVT_PROCESS_TERMINATION, CBP_CAP_SEE_PROCESS_TERMINATION,
     "process terminations in EventsToFire"},
    {CBP_PROC_EVT_THREAD_CREATION, CBP_CAP_SEE_THREAD_CREATION, "thread creations in EventsToFire"},
    {CBP_PROC_EVT_THREAD_TERMINATION, CBP_CAP_SEE_THREAD_TERMINATION, "thread terminations in EventsToFire"},
    {CBP_PROC_EVT_PROCESS_HANDLE_OPERATION, CBP_CAP_SEE_PROCESS_HANDLE,
     "process handle operations in EventsToFire"},
    {CBP_PROC_EVT_THREAD_HANDLE_OPERATION, CBP_CAP_SEE_THREAD_HANDLE,
     "thread handle operations in EventsToFire"},
};

static const struct demand actions[] = {
    {CBP_ACTION_DENY, REFUSES_CREATION, "a rule that denies"},
    {CBP_ACTION_STRIP, STRIPS, "a rule that strips"},
};

/* The defaults ask for nothing: TimeoutAction=allow, and RefuseWith=errno as long as it has not been set. */
static const struct demand timeout_actions[] = {
    {CBP_TIMEOUT_ACTION_DENY, REFUSES_CREATION, "TimeoutAction=deny"},
};
static const struct demand refusals[] = {
    {CBP_REFUSE_WITH_ERRNO, CBP_CAP_REFUSE_PROCESS_CREATION, "RefuseWith=errno"},
    {CBP_REFUSE_WITH_KILL, CBP_CAP_KILL_PROCESS_CREATION, "RefuseWith=kill"},
};
static const struct demand own_requests[] = {{1, CBP_CAP_OWN_REQUESTS, "FilterOwnRequests=True"}};

/* Gives a setting that has no use for a driver that plays no script; NULL: there is none. */
static const char *replaying(const struct cbp_session *session)
{
    if (session->texts.script)
        return "Script";
    if (session->config.told.replay_speed != CBPI_REPLAY_MAX)
        return "ReplaySpeed=recorded";
    return session->config.told.keeps_verdicts ? "ReplayVerdicts=recorded" : NULL;
}

static uint32_t refuse(const struct cbpi_driver *driver, const char *what)
{
    return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "the %s driver cannot do this here: %s", driver->name, what);
}

static uint32_t check(const struct cbpi_driver *driver, uint32_t capabilities, const struct demand *demands,
                      size_t count, uint32_t value)
{
    for (size_t i = 0; i < count; i++)
        if (demands[i].value == value && (demands[i].any_of & capabilities) == 0)
            return refuse(driver, demands[i].name);
    return 0;
}

#define CHECK_VALUE(table, value) check(driver, capabilities, table, sizeof table / sizeof table[0], value)

uint32_t cbpi_demands_check_config(const struct cbpi_driver *driver, uint32_t capabilities,
                                   const struct cbpi_config *config)
{
    uint32_t error = CHECK_VALUE(timeout_actions, config->told.policy.timeout_action);
    if (error == 0 && config->is_refusal_chosen)
        error = CHECK_VALUE(refusals, config->told.policy.refuse_with);
    if (error == 0)
        error = CHECK_VALUE(own_requests, config->own_requests);
    for (uint32_t bit = 1; error == 0 && bit != 0 && config->told.policy.events != CBPI_ALL_EVENTS; bit <<= 1)
        if (config->told.policy.events & bit)
            error = CHECK_VALUE(events, bit);
    return error;
}

uint32_t cbpi_demands_check_action(const struct cbpi_driver *driver, uint32_t capabilities, uint32_t action)
{
    return CHECK_VALUE(actions, action);
}

bool cbpi_demands_are_due(const struct cbp_session *session)
{
    uint32_t state = cbp_load_u32(&session->state);
    return state == CBPI_STATE_STARTING || state == CBPI_STATE_ACTIVE;
}

uint32_t cbpi_demands_check_session(struct cbp_session *session)
{
    char reason[8];
    const struct cbpi_driver *driver = session->driver;
    session->capabilities = driver->probe(reason, sizeof reason);
    if (session->capabilities == 0)
        return 0; /* it cannot run at all: what is in the way it says itself */
    cbpi_mutex_lock(&session->mutex);
    const char *useless = cbpi_driver_plays(driver) ? NULL : replaying(session);
    struct cbpi_config config = session->config;
    cbpi_mutex_unlock(&session->mutex);
    if (useless)
        return refuse(driver, useless);
    uint32_t error = cbpi_demands_check_config(driver, session->capabilities, &config);
    for (uint32_t i = 0; error == 0 && i < session->rules.count; i++)
        error = cbpi_demands_check_action(driver, session->capabilities, session->rules.items[i].rule.action);
    return error;
}
