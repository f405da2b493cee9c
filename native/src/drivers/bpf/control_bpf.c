/* Implements control_bpf.h. The guard is asked first, so rules are in force only once it can hold what they are
 * about. */
#include "control_bpf.h"

#include "demands_bpf.h"
#include "errors.h"
#include "masks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The guard ---- */

static bool has_same_marks(const struct cbpi_machine *machine, const struct cbpi_demands *demands)
{
    return machine->marks == demands->marks && machine->marked_paths_size == demands->paths_size &&
           (demands->paths_size == 0 ||
            memcmp(machine->marked_paths, demands->paths, demands->paths_size) == 0);
}

static uint32_t request_marks(struct cbpi_machine *machine, struct cbpi_demands *demands)
{
    if (has_same_marks(machine, demands))
        return 0;
    uint32_t error = cbpi_guard_request(&machine->guard, CBP_GUARD_MARKS, demands->marks, demands->paths,
                                        demands->paths_size);
    if (error != 0)
        return error;
    free(machine->marked_paths);
    machine->marks = demands->marks;
    machine->marked_paths = demands->paths;
    machine->marked_paths_size = demands->paths_size;
    demands->paths = NULL;
    return 0;
}

static uint32_t request_programs(struct cbpi_machine *machine, uint32_t programs)
{
    if (programs == machine->programs)
        return 0;
    uint32_t error = cbpi_guard_request(&machine->guard, CBP_GUARD_PROGRAMS, programs, NULL, 0);
    machine->programs = error == 0 ? programs : machine->programs;
    return error;
}

static uint32_t adjust(struct cbpi_machine *machine, const struct cbpi_coming_rules *coming)
{
    struct cbpi_demands demands;
    cbpi_mutex_lock(&machine->mutex);
    uint32_t error = cbpi_demands_of(machine, coming, &demands);
    cbpi_mutex_unlock(&machine->mutex);
    if (error != 0)
        return error;
    error = request_programs(machine, demands.programs);
    if (error == 0)
        error = request_marks(machine, &demands);
    free(demands.paths);
    return error;
}

/* Tells the guard how long operations may wait, and how long the controller may be silent. The mutex is held.
 */
static void set_limits(struct cbpi_machine *machine)
{
    const struct cbpd_policy *policy = &machine->policy;
    uint64_t timeout_ms = 0, silence_ms = CBP_HEARTBEAT_LIMIT_MS;
    bool has_limit = true;
    for (uint32_t i = 0; i < policy->session_count; i++) {
        uint32_t own_ms = policy->sessions[policy->order[i]].settings.timeout_ms;
        has_limit &= own_ms != 0;
        timeout_ms = own_ms > timeout_ms ? own_ms : timeout_ms;
        uint64_t limit_ms = cbpd_silence_limit_ms(policy, policy->order[i]);
        silence_ms = limit_ms < silence_ms ? limit_ms : silence_ms;
    }
    cbp_store_u32(&machine->guard.shared->timeout_ms, has_limit ? (uint32_t) timeout_ms : 0);
    cbp_store_u32(&machine->guard.shared->silence_ms, (uint32_t) silence_ms);
}

static uint64_t highest_altitude(const struct cbpi_machine *machine)
{
    const struct cbpd_policy *policy = &machine->policy;
    return policy->session_count > 0 ? policy->sessions[policy->order[0]].settings.altitude : 0;
}

static uint32_t request_altitude(struct cbpi_machine *machine)
{
    uint64_t altitude = highest_altitude(machine);
    if (altitude == machine->altitude)
        return 0;
    uint32_t error = cbpi_guard_request(&machine->guard, CBP_GUARD_ALTITUDE, altitude, NULL, 0);
    machine->altitude = error == 0 ? altitude : machine->altitude;
    return error;
}

/* ---- Settings and rules ---- */

static uint32_t fail_dead(void)
{
    return cbpi_fail(CBP_ERROR_BROKEN_PIPE, "cbprocess-guard has ended");
}

/* Puts what the sessions want now into force. */
static uint32_t refresh(struct cbpi_machine *machine)
{
    uint32_t error = adjust(machine, NULL);
    if (error == 0)
        error = request_altitude(machine);
    cbpi_mutex_lock(&machine->mutex);
    if (!machine->is_dead) {
        cbpi_machine_drain(machine);
        set_limits(machine);
        cbpi_masks_write_all(machine);
    }
    cbpi_mutex_unlock(&machine->mutex);
    return error;
}

void cbpi_machine_refresh(struct cbpi_machine *machine)
{
    (void) refresh(machine);
}

uint32_t cbpi_machine_update(struct cbpi_machine_session *session,
                             const struct cbpi_session_settings *settings)
{
    struct cbpi_machine *machine = session->machine;
    struct cbp_session_settings policy = settings->policy;
    uint32_t place;
    policy.session_id = session->place;
    cbpi_mutex_lock(&machine->control);
    cbpi_mutex_lock(&machine->mutex);
    if (!machine->is_dead) /* records of what happened before are under the settings of then */
        cbpi_machine_drain(machine);
    uint32_t error = machine->is_dead ? fail_dead() : cbpd_set_session(&machine->policy, 0, &policy, &place);
    snprintf(session->hold_paths, sizeof session->hold_paths, "%s", settings->hold_paths);
    cbpi_mutex_unlock(&machine->mutex);
    if (error == 0)
        error = refresh(machine);
    cbpi_mutex_unlock(&machine->control);
    return error;
}

/* Puts the set in force. control is held; the set belongs to the policy then, or to nobody. */
static uint32_t install(struct cbpi_machine_session *session, const struct cbp_rules *request,
                        struct cbpd_rule_set *set)
{
    struct cbpi_machine *machine = session->machine;
    const struct cbpi_coming_rules coming = {.place = session->place, .part = request->part, .set = set};
    cbpi_mutex_lock(&machine->mutex);
    uint32_t error =
        machine->is_dead ? fail_dead() : cbpd_can_install(&machine->policy, request, session->place, set);
    cbpi_mutex_unlock(&machine->mutex);
    if (error == 0)
        error = adjust(machine, &coming);
    if (error != 0) {
        cbpd_free_rule_set(set);
        return error;
    }
    cbpi_mutex_lock(&machine->mutex);
    if (!machine->is_dead)
        cbpi_machine_drain(machine);
    cbpd_install_rules(&machine->policy, request, session->place, set);
    if (!machine->is_dead)
        cbpi_masks_write_all(machine);
    cbpi_machine_ring_bells(machine);
    cbpi_mutex_unlock(&machine->mutex);
    /* A rule of the main part that has gone may have been the last one for some mark. */
    return request->gone_rule_id != 0 ? adjust(machine, NULL) : 0;
}

uint32_t cbpi_machine_set_rules(struct cbpi_machine_session *session, const struct cbpi_rules_change *change)
{
    const struct cbp_rules request = {.part = change->part, .gone_rule_id = change->gone_rule_id};
    struct cbpi_machine *machine = session->machine;
    struct cbpd_rule_set *set;
    void *block = malloc(change->size);
    if (!block)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for the rules");
    memcpy(block, change->set, change->size);
    uint32_t error = cbpd_make_rule_set(&cbpi_machine_host, block, change->size, &set);
    if (error != 0)
        return cbpi_fail(error, "the rules cannot be used");
    cbpi_mutex_lock(&machine->control);
    error = install(session, &request, set);
    cbpi_mutex_unlock(&machine->control);
    return error;
}
