/* Starts the machine with its first session and ends it with the last one, and runs its reserve thread. That
 * thread waits behind the workers: while all of them are in handlers, it answers what nobody has to be asked
 * about, and queues the rest. */
#include "machine.h"

#include "abilities.h"
#include "control_bpf.h"
#include "errors.h"
#include "installation_bpf.h"
#include "serving.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define RESERVE_STACK_SIZE (1024u * 1024u)
#define ONLY_DESCENDANTS "CBPROCESS_TEST_ONLY_DESCENDANTS" /* a test sets it that must hold nobody else */

/* The machine of this process, and how many sessions use it; NULL: none does. */
static struct cbpi_mutex current_mutex = CBPI_MUTEX_INITIALIZER;
static struct cbpi_machine *current;

uint32_t cbpi_machine_abilities(void)
{
    cbpi_mutex_lock(&current_mutex);
    uint32_t abilities = current ? current->guard.abilities : 0;
    cbpi_mutex_unlock(&current_mutex);
    return abilities;
}

/* ---- The reserve thread ---- */

static void reserve_body(void *argument)
{
    struct cbpi_machine *machine = argument;
    bool is_over = false;
    while (!is_over) {
        uint32_t sources = cbpi_sources_wait(machine->reserve_epoll, CBPI_RESERVE_PERIOD_MS);
        cbpi_mutex_lock(&machine->mutex);
        cbpi_machine_serve(machine, sources);
        cbpi_machine_tend_operations(machine, cbpi_now_ns());
        cbpi_machine_ring_bells(machine);
        is_over = machine->is_closing || machine->is_dead;
        cbpi_mutex_unlock(&machine->mutex);
    }
}

static uint32_t start_reserve(struct cbpi_machine *machine)
{
    uint32_t error = cbpi_sources_open(&machine->guard, CBPI_SOURCES_OF_RESERVE, &machine->reserve_epoll,
                                       &machine->reserve_bell);
    if (error == 0)
        error = cbpi_thread_start(&machine->reserve, reserve_body, machine, RESERVE_STACK_SIZE);
    machine->has_reserve = error == 0;
    return error;
}

static void end_reserve(struct cbpi_machine *machine)
{
    const uint64_t one = 1;
    cbpi_mutex_lock(&machine->mutex);
    machine->is_closing = true;
    cbpi_mutex_unlock(&machine->mutex);
    if (machine->has_reserve) {
        (void) !write(machine->reserve_bell, &one, sizeof one);
        cbpi_thread_join(&machine->reserve);
    }
    machine->has_reserve = false;
    cbpi_sources_close(&machine->reserve_epoll, &machine->reserve_bell);
}

/* ---- The beginning and the end ---- */

static void free_machine(struct cbpi_machine *machine)
{
    cbpi_machine_let_all_go(machine);
    cbpi_machine_free_partial(machine);
    cbpi_machine_end_all(machine);
    if (machine->policy.nameless)
        cbpd_policy_free(&machine->policy);
    cbpi_executions_free(machine->executions);
    cbpi_mutex_destroy(&machine->mutex);
    cbpi_mutex_destroy(&machine->control);
    free(machine->marked_paths);
    free(machine);
}

/* Ends the guard; what is held goes on. The memory stays for workers that are still inside. */
static void stop_machine(struct cbpi_machine *machine)
{
    end_reserve(machine);
    cbpi_mutex_lock(&machine->mutex);
    machine->is_dead = true;
    cbpi_machine_let_all_go(machine);
    cbpi_ring_close(&machine->ring);
    cbpi_guard_stop(&machine->guard);
    cbpi_mutex_unlock(&machine->mutex);
}

static uint32_t watch(struct cbpi_machine *machine)
{
    uint32_t error =
        cbpi_guard_request(&machine->guard, CBP_GUARD_PROGRAMS, CBP_GUARD_PROGRAM_PROCESSES, NULL, 0);
    machine->programs = CBP_GUARD_PROGRAM_PROCESSES;
    if (error == 0)
        error = cbpi_machine_census(machine);
    return error;
}

static uint32_t start_machine(struct cbpi_machine **started)
{
    struct cbpi_machine *machine = calloc(1, sizeof *machine);
    if (!machine)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for the processes of the machine");
    cbpi_mutex_init(&machine->control);
    cbpi_mutex_init(&machine->mutex);
    machine->reserve_epoll = machine->reserve_bell = -1;
    machine->controller_pid = cbpi_process_id();
    machine->only_descendants = getenv(ONLY_DESCENDANTS) && getuid() == 0 && geteuid() == 0;
    uint32_t error = cbpi_guard_start(cbpi_bpf_guard_folder(), &machine->guard);
    if (error != 0) {
        free_machine(machine);
        return error;
    }
    error = cbpi_ring_open(&machine->ring, machine->guard.descriptors[CBP_GUARD_FD_RECORDS]);
    machine->executions = error == 0 ? cbpi_executions_make(&machine->guard) : NULL;
    if (error == 0 && (!machine->executions || !cbpd_policy_init(&machine->policy, &cbpi_machine_host)))
        error = cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for the processes of the machine");
    machine->capabilities = cbpi_bpf_capabilities_of(machine->guard.abilities);
    if (error == 0)
        error = watch(machine);
    if (error == 0)
        error = start_reserve(machine);
    if (error != 0) {
        stop_machine(machine);
        free_machine(machine);
        return error;
    }
    *started = machine;
    return 0;
}

/* ---- Sessions ---- */

static void free_session(struct cbpi_machine_session *session)
{
    for (uint32_t slot = 0; slot < CBPI_TURNS_SLOT_MAX; slot++)
        free(session->slots[slot]); /* those whose turn never came */
    cbpi_sources_close(&session->epoll, &session->bell);
    free(session);
}

static struct cbpi_machine_session *make_session(struct cbpi_machine *machine)
{
    struct cbpi_machine_session *session = calloc(1, sizeof *session);
    if (!session)
        return NULL;
    session->machine = machine;
    session->epoll = session->bell = -1;
    session->queue_tail = &session->queue_head;
    session->free_count = CBPI_TURNS_SLOT_MAX;
    for (uint32_t i = 0; i < CBPI_TURNS_SLOT_MAX; i++)
        session->free_slots[i] = (uint16_t) (CBPI_TURNS_SLOT_MAX - 1 - i);
    cbpi_serving_init(session);
    return session;
}

/* Gives the records that are events. Without its ARGUMENTS an execution is told all the same, and says so. */
static uint64_t lost_by_programs(const struct cbpi_machine *machine)
{
    static const uint32_t types[] = {CBP_MACHINE_FORK, CBP_MACHINE_EXEC, CBP_MACHINE_EXIT,
                                     CBP_MACHINE_HANDLE};
    uint64_t lost = 0;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        lost += cbp_load_u64(&machine->guard.settings->lost[types[i]]);
    return lost;
}

uint64_t cbpi_machine_lost(struct cbpi_machine *machine)
{
    if (!machine->is_dead)
        machine->lost = lost_by_programs(machine);
    return machine->lost;
}

/* What the guard read in place of this process had no deadline of its own; it went on for the same reason. */
uint64_t cbpi_machine_timed_out(struct cbpi_machine *machine)
{
    const struct cbp_machine_shared *shared = machine->guard.shared;
    if (!machine->is_dead)
        machine->guard_timed_out = cbp_load_u64(&shared->timed_out) + cbp_load_u64(&shared->let_go);
    return machine->guard_timed_out;
}

/* Gives the session a place in the policy. */
static uint32_t enter_policy(struct cbpi_machine *machine, const struct cbpi_session_settings *settings,
                             struct cbpi_machine_session *session)
{
    struct cbp_session_settings policy = settings->policy;
    uint32_t place = 0;
    while (place < CBP_SESSION_MAX && machine->sessions[place])
        place++;
    if (place == CBP_SESSION_MAX)
        return cbpi_fail(CBP_ERROR_NO_SYSTEM_RESOURCES, "more than %u filters cannot be active at once",
                         (unsigned) CBP_SESSION_MAX);
    policy.session_id = place;
    uint32_t error = cbpd_set_session(&machine->policy, 0, &policy, &session->place);
    if (error != 0)
        return cbpi_fail(error, "the filter has no place among the others");
    machine->sessions[place] = session;
    session->lost_before = cbpi_machine_lost(machine);
    session->timed_out_before = cbpi_machine_timed_out(machine);
    return 0;
}

static uint32_t join(struct cbpi_machine *machine, const struct cbpi_session_settings *settings,
                     struct cbpi_machine_session **session)
{
    struct cbpi_machine_session *made = make_session(machine);
    if (!made)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a session");
    uint32_t error = cbpi_sources_open(&machine->guard, CBPI_SOURCES_OF_WORKERS, &made->epoll, &made->bell);
    cbpi_mutex_lock(&machine->mutex);
    if (error == 0 && machine->is_dead)
        error = cbpi_fail(CBP_ERROR_BROKEN_PIPE, "cbprocess-guard has ended");
    if (error == 0)
        error = enter_policy(machine, settings, made);
    cbpi_mutex_unlock(&machine->mutex);
    if (error != 0) {
        free_session(made);
        return error;
    }
    cbpi_sources_move_behind(&machine->guard, machine->reserve_epoll);
    machine->reference_count++;
    *session = made;
    return 0;
}

static bool is_dead(struct cbpi_machine *machine)
{
    cbpi_mutex_lock(&machine->mutex);
    bool is = machine->is_dead;
    cbpi_mutex_unlock(&machine->mutex);
    return is;
}

uint32_t cbpi_machine_open(const struct cbpi_session_settings *settings,
                           struct cbpi_machine_session **session)
{
    struct cbpi_machine *machine;
    uint32_t error = 0;
    cbpi_mutex_lock(&current_mutex);
    if (current && is_dead(current))
        current = NULL; /* its sessions end it */
    machine = current;
    if (!machine)
        error = start_machine(&machine);
    if (error == 0)
        error = join(machine, settings, session);
    if (error == 0) {
        current = machine;
    } else if (machine && machine != current) {
        stop_machine(machine);
        free_machine(machine);
    }
    cbpi_mutex_unlock(&current_mutex);
    if (error != 0)
        return error;
    error = cbpi_machine_update(*session, settings);
    if (error != 0) {
        (void) cbpi_machine_close(*session);
        cbpi_machine_release(*session);
    }
    return error;
}

static bool has_sessions(const struct cbpi_machine *machine)
{
    for (uint32_t place = 0; place < CBP_SESSION_MAX; place++)
        if (machine->sessions[place])
            return true;
    return false;
}

uint32_t cbpi_machine_close(struct cbpi_machine_session *session)
{
    struct cbpi_machine *machine = session->machine;
    uint32_t error = 0;
    cbpi_mutex_lock(&current_mutex);
    cbpi_mutex_lock(&machine->control);
    cbpi_mutex_lock(&machine->mutex);
    if (!machine->is_dead)
        cbpi_machine_drain(machine);
    (void) cbpi_machine_lost(machine);
    (void) cbpi_machine_timed_out(machine);
    session->counts.lost += machine->lost - session->lost_before;
    session->counts.timed_out += machine->guard_timed_out - session->timed_out_before;
    session->is_closed = true;
    cbpi_session_let_go(session);
    cbpd_close_session(&machine->policy, session->place);
    machine->sessions[session->place] = NULL;
    bool is_last = !has_sessions(machine), was_dead = machine->is_dead;
    cbpi_mutex_unlock(&machine->mutex);
    if (!is_last && !was_dead)
        cbpi_machine_refresh(machine);
    if (is_last && current == machine)
        current = NULL;
    if (is_last)
        stop_machine(machine);
    error = was_dead ? CBP_ERROR_BROKEN_PIPE : 0;
    cbpi_session_ring_bell(session);
    cbpi_mutex_unlock(&machine->control);
    cbpi_mutex_unlock(&current_mutex);
    return error;
}

void cbpi_machine_release(struct cbpi_machine_session *session)
{
    struct cbpi_machine *machine = session->machine;
    cbpi_mutex_lock(&current_mutex);
    bool is_last = --machine->reference_count == 0;
    cbpi_mutex_unlock(&current_mutex);
    free_session(session);
    if (is_last)
        free_machine(machine);
}

/* Nothing is freed: other threads of the parent may have been in it. */
void cbpi_machine_forget(void)
{
    static const struct cbpi_mutex fresh = CBPI_MUTEX_INITIALIZER;
    struct cbpi_machine *machine = current;
    memcpy(&current_mutex, &fresh, sizeof fresh);
    current = NULL;
    if (!machine)
        return;
    cbpi_guard_forget(&machine->guard);
    cbpi_sources_close(&machine->reserve_epoll, &machine->reserve_bell);
    for (uint32_t place = 0; place < CBP_SESSION_MAX; place++)
        if (machine->sessions[place])
            cbpi_sources_close(&machine->sessions[place]->epoll, &machine->sessions[place]->bell);
}
