/* Starts a program under a driver: prepares the launcher's conversation with the driver, waits for its end
 * and enters the new process's rule. Creates no process itself: the caller does, by its own means. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

struct cbp_launch_handle {
    struct cbp_session *session;
    uint64_t generation; /* of the process that began it */
    uint64_t epoch;      /* the session's start that it was begun in */
    uint32_t rule_id;    /* 0: no rule */
    bool is_by_caller;   /* cbp_launch_enter() began it */
    bool is_entered;     /* cbp_launch_leave() is still to come */
    struct cbpi_launch_channel *channel;
};

/* Begins what both ways have in common: checks that the driver can go this way, and gives the launch its
 * rule. control is held. */
static uint32_t prepare(struct cbp_launch_handle *launch, uint32_t way, uint32_t ask)
{
    struct cbp_session *session = launch->session;
    if (cbp_load_u32(&session->state) != CBPI_STATE_ACTIVE)
        return cbpi_fail(CBP_ERROR_NOT_READY, "the filter is not active");
    uint32_t error = cbpi_driver_check_launch(session->driver, way);
    if (error != 0)
        return error;
    launch->epoch = session->epoch;
    launch->rule_id = ask ? ++session->rules.last_id : 0;
    return 0;
}

/* Begins a launch by a launcher that gets the target, or by the caller (NULL, without a launcher_fd). */
static uint32_t begin(struct cbp_session *session, const struct cbpi_launch_target *target, uint32_t ask,
                      int32_t *launcher_fd, struct cbp_launch_handle **launch)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (!launch || (target && !launcher_fd) || ask > 1)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER,
                         "launch and launcher_fd must not be NULL; ask is 0 or 1");
    if (target && (!target->argument0 || !target->paths || target->paths_size == 0))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "a launch needs argument 0 and paths");
    if (target && target->paths[target->paths_size - 1] != '\0')
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "each of the paths ends with a NUL");
    error = cbpi_check_outside_handler("starting a program under the filter");
    if (error != 0)
        return error;
    struct cbp_launch_handle *made = calloc(1, sizeof *made);
    if (!made)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a launch");
    made->session = session;
    made->generation = cbpi_process_generation();
    made->is_by_caller = made->is_entered = !target;
    cbpi_mutex_lock(&session->control);
    error = prepare(made, target ? CBPI_LAUNCH_BY_LAUNCHER : CBPI_LAUNCH_BY_CALLER, ask);
    if (error == 0 && target)
        error = session->driver->launches->launch(session->transport, target, made->rule_id, &made->channel,
                                                  launcher_fd);
    else if (error == 0)
        error = session->driver->launches->enter(session->transport, made->rule_id, &made->channel);
    cbpi_mutex_unlock(&session->control);
    if (error == 0)
        *launch = made;
    else
        free(made);
    return error;
}

uint32_t cbp_launch_begin(struct cbp_session *session, const char *argument0, const char *paths,
                          uint64_t paths_size, uint32_t ask, int32_t *launcher_fd,
                          struct cbp_launch_handle **launch)
{
    struct cbpi_launch_target target = {.argument0 = argument0, .paths = paths, .paths_size = paths_size};
    return begin(session, &target, ask, launcher_fd, launch);
}

uint32_t cbp_launch_enter(struct cbp_session *session, uint32_t ask, struct cbp_launch_handle **launch)
{
    return begin(session, NULL, ask, NULL, launch);
}

uint32_t cbp_launch_creation_flags(const struct cbp_launch_handle *launch, uint32_t *flags)
{
    if (!launch || !flags)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "launch and flags must not be NULL");
    *flags = launch->channel->ops->creation_flags;
    return 0;
}

uint32_t cbp_launch_leave(struct cbp_launch_handle *launch, uint32_t process_id)
{
    if (!launch)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "launch must not be NULL");
    struct cbp_session *session = launch->session;
    if (launch->is_by_caller)
        launch->channel->ops->leave(launch->channel);
    launch->is_entered = false;
    uint32_t error = 0;
    cbpi_mutex_lock(&session->control);
    bool is_over = cbp_load_u32(&session->state) != CBPI_STATE_ACTIVE || session->epoch != launch->epoch;
    if (process_id == 0 && (is_over || !launch->is_by_caller))
        error = 0; /* there is nobody to be told that there was no process */
    else if (is_over)
        error = cbpi_fail(CBP_ERROR_NOT_READY, "the filter has been stopped");
    else if (!launch->is_by_caller)
        error = cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "this launch was not begun with cbp_launch_enter()");
    else
        error = launch->channel->ops->claim(session->transport, launch->channel, process_id, launch->rule_id);
    cbpi_mutex_unlock(&session->control);
    return error;
}

uint32_t cbp_launch_finish(struct cbp_launch_handle *launch, uint32_t started, uint32_t slice_ms,
                           uint32_t *os_error)
{
    struct cbp_launch_result result = {0};
    if (!launch || (started && !os_error))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "launch and os_error must not be NULL");
    uint32_t error = 0;
    /* The driver learns from the end of its conversation that a launcher has died, and this copy of the
     * launcher's end would keep that open. */
    if (!launch->is_by_caller)
        launch->channel->ops->close_launcher(launch->channel);
    if (launch->is_entered)
        (void) cbp_launch_leave(launch, 0); /* the driver waits for it */
    if (launch->generation != cbpi_process_generation())
        error =
            cbpi_fail(CBP_ERROR_NOT_READY, "the launch belongs to the process that this one was forked from");
    else if (started)
        error = launch->channel->ops->wait(launch->channel, slice_ms, &result);
    if (error == CBP_ERROR_TIMEOUT)
        return error;
    if (error == 0 && started && result.os_error == 0 && launch->rule_id != 0)
        error = cbpi_rules_adopt(launch->session, launch->rule_id, launch->epoch, result.process_id,
                                 result.start_time);
    if (error == 0 && started)
        *os_error = result.os_error;
    launch->channel->ops->close(launch->channel);
    free(launch);
    return error;
}

uint32_t cbp_launcher_path(char *buffer, uint64_t size, uint64_t *needed)
{
    char path[4096];
    uint32_t error = cbpi_helper_path("cbprocess-launch", path, sizeof path);
    return error ? error : cbpi_copy_text(path, strlen(path), buffer, size, needed);
}
