/* Implements transport.h for the bpf driver: the whole machine, for root. Its sessions share one machine
 * (machine.h). */
#include "control_bpf.h"
#include "errors.h"
#include "installation_bpf.h"
#include "listing.h"
#include "masks.h"
#include "probe_bpf.h"
#include "serving.h"

#include <stdio.h>

static struct cbpi_machine_session *session_of(struct cbpi_transport *transport)
{
    return (struct cbpi_machine_session *) transport;
}

static uint32_t close_session(struct cbpi_transport *transport)
{
    return cbpi_machine_close(session_of(transport));
}

static void release(struct cbpi_transport *transport)
{
    cbpi_machine_release(session_of(transport));
}

static uint32_t update(struct cbpi_transport *transport, const struct cbpi_session_settings *settings)
{
    return cbpi_machine_update(session_of(transport), settings);
}

static uint32_t set_rules(struct cbpi_transport *transport, const struct cbpi_rules_change *change)
{
    return cbpi_machine_set_rules(session_of(transport), change);
}

static uint32_t process_capabilities(struct cbpi_transport *transport, uint32_t process_id,
                                     uint32_t *capabilities)
{
    struct cbpi_machine *machine = session_of(transport)->machine;
    cbpi_mutex_lock(&machine->mutex);
    if (!machine->is_dead)
        cbpi_machine_drain(machine);
    bool lives = cbpi_machine_find(machine, process_id);
    cbpi_mutex_unlock(&machine->mutex);
    if (!lives)
        return cbpi_fail(CBP_ERROR_NOT_FOUND, "there is no process %u", process_id);
    *capabilities = machine->capabilities;
    return 0;
}

static uint32_t receive(struct cbpi_transport *transport, struct cbpi_delivery *delivery, uint32_t timeout_ms,
                        uint32_t *pending)
{
    return cbpi_serving_receive(session_of(transport), delivery, timeout_ms, pending);
}

static void skip(struct cbpi_transport *transport, uint32_t *pending)
{
    cbpi_serving_skip(session_of(transport), pending);
}

static uint32_t backlog(struct cbpi_transport *transport)
{
    return cbpi_serving_backlog(session_of(transport));
}

static uint32_t answer(struct cbpi_transport *transport, const struct cbpi_delivery *delivery)
{
    return cbpi_serving_answer(session_of(transport), delivery);
}

static uint32_t check(struct cbpi_transport *transport, const struct cbpi_delivery *delivery)
{
    return cbpi_serving_check(session_of(transport), delivery);
}

static uint32_t extend(struct cbpi_transport *transport, const struct cbpi_delivery *delivery,
                       uint32_t timeout_ms)
{
    return cbpi_serving_extend(session_of(transport), delivery, timeout_ms);
}

static uint32_t beat(struct cbpi_transport *transport)
{
    return cbpi_serving_beat(session_of(transport));
}

/* Says once for each burst that answers about handle operations could not be applied. */
static uint32_t trouble(struct cbpi_transport *transport, char *text, uint64_t size)
{
    struct cbpi_machine_session *session = session_of(transport);
    cbpi_mutex_lock(&session->machine->mutex);
    uint64_t count = session->counts.not_applied, told = session->not_applied_told;
    session->not_applied_told = count;
    cbpi_mutex_unlock(&session->machine->mutex);
    if (count == told)
        return 0;
    snprintf(
        text, (size_t) size,
        "desired_access is not applied to handle operations that have happened already: %llu so far; the "
        "bpf driver can only observe them here",
        (unsigned long long) count);
    return CBP_ERROR_NOT_SUPPORTED;
}

static void counts(struct cbpi_transport *transport, struct cbp_statistics *counts)
{
    struct cbpi_machine_session *session = session_of(transport);
    struct cbpi_machine *machine = session->machine;
    cbpi_mutex_lock(&machine->mutex);
    const struct cbpi_machine_counts *own = &session->counts;
    bool is_open = !session->is_closed;
    counts->lost = own->lost + (is_open ? cbpi_machine_lost(machine) - session->lost_before : 0);
    counts->timed_out =
        own->timed_out + (is_open ? cbpi_machine_timed_out(machine) - session->timed_out_before : 0);
    counts->refused = own->refused;
    counts->decided_by_rule = own->decided;
    counts->failed_after = own->failed_after;
    counts->guessed = 0;
    counts->supervised = machine->policy.process_count;
    counts->queued = session->turns.waiting_count - session->turns.ready_count;
    cbpi_mutex_unlock(&machine->mutex);
}

static bool next_failed(struct cbpi_transport *transport, uint64_t *seen_count,
                        struct cbpi_failed_execution *failed)
{
    struct cbpi_machine_session *session = session_of(transport);
    cbpi_mutex_lock(&session->machine->mutex);
    bool is_there = cbpi_next_failed(session->failed, session->counts.failed_after, seen_count, failed);
    cbpi_mutex_unlock(&session->machine->mutex);
    return is_there;
}

static const struct cbpi_transport_ops transport_ops = {
    .close = close_session,
    .release = release,
    .update = update,
    .set_rules = set_rules,
    .process_capabilities = process_capabilities,
    .receive = receive,
    .skip = skip,
    .backlog = backlog,
    .answer = answer,
    .check = check,
    .extend = extend,
    .beat = beat,
    .trouble = trouble,
    .counts = counts,
    .next_failed = next_failed,
};

static uint32_t obstacle_code(void)
{
    if (cbpi_bpf_missing_capability())
        return CBP_ERROR_PRIVILEGE_NOT_HELD;
    return cbpi_bpf_missing_file() ? CBP_ERROR_FS_DRIVER_REQUIRED : CBP_ERROR_NOT_SUPPORTED;
}

static uint32_t open_session(const struct cbpi_session_settings *settings, struct cbpi_transport **transport)
{
    struct cbpi_machine_session *session;
    char reason[256];
    if (cbpi_bpf_probe(reason, sizeof reason) == 0)
        return cbpi_fail(obstacle_code(), "the bpf driver cannot run here: %s", reason);
    uint32_t error = cbpi_machine_open(settings, &session);
    if (error != 0)
        return error;
    session->base.ops = &transport_ops;
    *transport = &session->base;
    return 0;
}

/* ---- Workers ---- */

static uint32_t mark(struct cbpi_transport *transport, bool is_worker)
{
    struct cbpi_machine *machine = session_of(transport)->machine;
    cbpi_mutex_lock(&machine->mutex);
    uint32_t error = machine->is_dead ? 0 : cbpi_masks_mark_worker(machine, cbpi_thread_id(), is_worker);
    cbpi_mutex_unlock(&machine->mutex);
    return error;
}

static uint32_t enter(struct cbpi_transport *transport)
{
    return mark(transport, true) == 0
               ? 0
               : cbpi_fail(CBP_ERROR_NO_SYSTEM_RESOURCES, "the table of the machine's tasks is full");
}

static void leave(struct cbpi_transport *transport)
{
    (void) mark(transport, false);
}

static void forget_after_fork(void)
{
    cbpi_machine_forget();
    cbpi_bpf_listing_forget();
}

static const struct cbpi_worker_ops worker_ops = {.enter = enter, .leave = leave};

const struct cbpi_driver cbpi_bpf_driver = {
    .name = "bpf",
    .probe = cbpi_bpf_probe,
    .open = open_session,
    .is_automatic = cbpi_bpf_is_automatic,
    .forget_after_fork = forget_after_fork,
    .workers = &worker_ops,
    .installation = &cbpi_bpf_installation_ops,
    .list_processes = cbpi_bpf_list_processes,
};
