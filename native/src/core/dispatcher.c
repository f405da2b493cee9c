/* Runs the dispatcher, one thread of each active session. It starts and joins the workers, gives the driver
 * signs of life, tells the error callback what was lost, and in the end takes everything down. Delivers no
 * event. */
#include "core.h"
#include "recorder.h"

#include <stdio.h>

#define BEAT_MS 250u
#define WATCH_MS 10u           /* how often the pool is looked at while no worker is idle */
#define FIRST_WORKER_MS 10000u /* how long the first worker may take to come up */
#define RETRY_MS 1000u         /* after a worker could not start or would not serve */

/* Follows a count of something bad. A burst is reported when it is first seen, and is over when a beat sees
 * nothing new. */
struct burst {
    uint64_t seen_count;
    bool is_on;
};

/* The dispatcher remembers this from one round to the next. */
struct round {
    uint64_t next_beat_ns;
    uint64_t next_growth_ns; /* not before this time */
    struct burst lost;
    struct burst malformed;
    struct burst guessed;
    uint64_t failed_count;  /* executions that had failed after they were told, a beat ago */
    bool is_short_reported; /* the error callback knows that workers cannot start */
};

static bool is_stopping(struct cbp_session *session)
{
    return cbp_load_u32(&session->state) == CBPI_STATE_STOPPING;
}

/* Starts the first worker and waits until it serves; gives the code of the startup. */
static uint32_t start_first_worker(struct cbp_session *session)
{
    uint32_t error = cbpi_worker_start(session);
    if (error != 0)
        return error;
    uint64_t deadline_ns = cbpi_now_ns() + FIRST_WORKER_MS * CBP_NS_PER_MS;
    cbpi_mutex_lock(&session->mutex);
    const struct cbp_worker *first = session->workers;
    while (first->state == CBPI_WORKER_STARTING && !is_stopping(session) && cbpi_now_ns() < deadline_ns)
        cbpi_condition_wait_until(&session->condition, &session->mutex, deadline_ns);
    bool has_failed = first->state == CBPI_WORKER_ENDED && !first->has_run;
    cbpi_mutex_unlock(&session->mutex);
    return has_failed ? cbpi_fail(CBP_ERROR_APP_INIT_FAILURE, "the first worker thread failed") : 0;
}

static void tell_startup(struct cbp_session *session, uint32_t code)
{
    cbpi_mutex_lock(&session->mutex);
    session->startup_code = code;
    snprintf(session->startup_detail, sizeof session->startup_detail, "%s", cbp_error_detail());
    session->is_started = true;
    cbpi_condition_broadcast(&session->condition);
    cbpi_mutex_unlock(&session->mutex);
}

/* Starts a worker, or reports once that it cannot be done. */
static uint32_t try_worker(struct cbp_session *session, struct round *round, uint64_t now_ns)
{
    uint32_t error = cbpi_worker_start(session);
    if (error != 0) {
        round->next_growth_ns = now_ns + RETRY_MS * CBP_NS_PER_MS;
        if (!round->is_short_reported)
            cbpi_session_report(session, error, "a worker thread could not start: %s", cbp_error_detail());
    }
    round->is_short_reported = error != 0;
    return error;
}

/* Brings the pool to its least size, and adds one where deliveries wait and nobody is free. */
static void tend_pool(struct cbp_session *session, struct round *round, uint64_t now_ns)
{
    uint32_t failed_count = cbpi_workers_join(session, false);
    if (failed_count > 0)
        round->next_growth_ns = now_ns + RETRY_MS * CBP_NS_PER_MS;
    session->failed_count += failed_count;
    if (now_ns < round->next_growth_ns)
        return;
    /* Workers are counted once: a worker that ends at once, because the filter stops, is no reason for
     * another. */
    uint32_t have_count = cbp_load_u32(&session->worker_count) + session->failed_count;
    for (; have_count < cbp_load_u32(&session->least_workers) && !is_stopping(session); have_count++)
        if (try_worker(session, round, now_ns) != 0)
            return;
    bool is_full = cbp_load_u32(&session->worker_count) >= cbp_load_u32(&session->most_workers);
    if (is_full || cbp_load_u32(&session->idle_count) > 0) {
        cbp_store_u32(&session->is_watched, 0);
        if (is_full || cbp_load_u32(&session->idle_count) > 0)
            return;
        cbp_store_u32(&session->is_watched, 1); /* the last one went to work in between */
    }
    if (session->transport->ops->backlog(session->transport) > 0)
        try_worker(session, round, now_ns);
}

static void report_burst(const struct cbp_session *session, struct burst *burst, uint64_t count,
                         uint32_t code, const char *what)
{
    bool grows = count > burst->seen_count;
    if (grows && !burst->is_on)
        cbpi_session_report(session, code, "%s: %llu so far", what, (unsigned long long) count);
    burst->is_on = grows;
    burst->seen_count = count;
}

/* Gives how many executions have failed after they were told. */
static uint64_t report_losses(struct cbp_session *session, struct round *round)
{
    struct cbp_statistics counts;
    session->transport->ops->counts(session->transport, &counts);
    report_burst(session, &round->lost, counts.lost, CBP_ERROR_NO_SYSTEM_RESOURCES,
                 "events were lost for want of room");
    report_burst(session, &round->malformed, cbp_load_u64(&session->malformed), CBP_ERROR_INVALID_DATA,
                 "malformed messages of the driver were dropped");
    report_burst(
        session, &round->guessed, counts.guessed, CBP_ERROR_NOT_FOUND,
        "processes whose creator ended while it created them have the rules of all that it may have been");
    return counts.failed_after;
}

static void report_troubles(struct cbp_session *session)
{
    struct cbpi_transport *transport = session->transport;
    char text[400];
    uint32_t code;
    while ((code = transport->ops->trouble(transport, text, sizeof text)) != 0)
        cbpi_session_report(session, code, "%s", text);
    if (session->recorder && (code = cbpi_recorder_flush(session->recorder, text, sizeof text)) != 0)
        cbpi_session_report(session, code, "%s", text);
}

/* Ends a session that cannot go on, then says why. */
static void give_up(struct cbp_session *session, uint32_t code, const char *text)
{
    if (is_stopping(session))
        return;
    cbpi_session_begin_stop(session);
    cbpi_session_report(session, code, "%s", text);
}

static void beat(struct cbp_session *session, struct round *round)
{
    struct cbpi_transport *transport = session->transport;
    uint64_t failed_count = report_losses(session, round);
    /* A worker has mostly told of them already, before the event that came after them. */
    cbpi_failed_executions_report(session, round->failed_count);
    round->failed_count = failed_count;
    report_troubles(session);
    if (transport->ops->beat(transport) == CBP_ERROR_BROKEN_PIPE)
        give_up(session, CBP_ERROR_BROKEN_PIPE,
                "the helper or the kernel driver has gone; the filter has stopped");
}

/* Sleeps until something is due. A worker that ends and a stop end the sleep. */
static void sleep_until_due(struct cbp_session *session, const struct round *round)
{
    uint64_t due_ns = round->next_beat_ns;
    cbpi_mutex_lock(&session->mutex);
    uint64_t look_ns = cbpi_now_ns() + WATCH_MS * CBP_NS_PER_MS;
    if (cbp_load_u32(&session->is_watched) && look_ns < due_ns)
        due_ns = look_ns;
    if (!is_stopping(session))
        cbpi_condition_wait_until(&session->condition, &session->mutex, due_ns);
    cbpi_mutex_unlock(&session->mutex);
}

static void run_rounds(struct cbp_session *session)
{
    struct round round = {0};
    while (!is_stopping(session)) {
        uint64_t now_ns = cbpi_now_ns();
        if (now_ns >= round.next_beat_ns) {
            beat(session, &round);
            round.next_beat_ns = now_ns + BEAT_MS * CBP_NS_PER_MS;
        }
        tend_pool(session, &round, now_ns);
        if (cbp_load_u32(&session->worker_count) == 0 && session->failed_count > 0)
            give_up(session, CBP_ERROR_APP_INIT_FAILURE, "no worker thread is left; the filter has stopped");
        if (!is_stopping(session))
            sleep_until_due(session, &round);
    }
    (void) report_losses(session, &round);
    cbpi_failed_executions_report(session, UINT64_MAX);
    report_troubles(session);
}

static void wait_until_closed(struct cbp_session *session)
{
    cbpi_mutex_lock(&session->mutex);
    while (!session->is_closed)
        cbpi_condition_wait_until(&session->condition, &session->mutex, cbpi_now_ns() + CBP_NS_PER_S);
    cbpi_mutex_unlock(&session->mutex);
}

static void log_end(struct cbp_session *session)
{
    struct cbp_statistics counts;
    if (cbp_session_get_statistics(session, &counts, sizeof counts) == 0)
        cbpi_log("%s the filter has stopped: %llu delivered, %llu lost, %llu timed out, %llu refused",
                 session->product_guid, (unsigned long long) counts.delivered,
                 (unsigned long long) counts.lost, (unsigned long long) counts.timed_out,
                 (unsigned long long) counts.refused);
}

static void take_down(struct cbp_session *session)
{
    wait_until_closed(session);
    cbpi_workers_join(session, true);
    cbpi_deferrals_drop(session);
    cbpi_mutex_lock(&session->mutex);
    struct cbpi_transport *transport = session->transport;
    transport->ops->counts(transport, &session->final_counts);
    session->final_counts.supervised = session->final_counts.queued = 0; /* from now on */
    session->transport = NULL;
    cbpi_mutex_unlock(&session->mutex);
    transport->ops->release(transport);
    cbpi_session_end_recording(session);
    log_end(session);

    cbpi_mutex_lock(&session->mutex);
    cbp_store_u32(&session->state, CBPI_STATE_INACTIVE);
    cbpi_condition_broadcast(&session->condition);
    cbpi_mutex_unlock(&session->mutex);
}

void cbpi_dispatcher_body(void *argument)
{
    struct cbp_session *session = argument;
    cbpi_thread_enter(session, NULL);
    uint32_t code = start_first_worker(session);
    tell_startup(session, code);
    if (code == 0)
        run_rounds(session);
    take_down(session);
    cbpi_thread_leave();
}
