/* Runs worker threads: they take a delivery, call the handler for each of its events, and answer it. The path
 * from receive to answer allocates nothing (except for huge events) and makes no system call of its own. */
#include "core.h"
#include "recorder.h"

#include <stdlib.h>
#include <string.h>

/* A worker above the least number ends after it has had nothing to do for this long. */
#define IDLE_LIMIT_MS 10000u

/* Leaves the pool's count. The session's mutex is held. */
static void leave(struct cbp_worker *worker)
{
    if (!worker->has_left)
        cbp_subtract_u32(&worker->session->worker_count, 1);
    worker->has_left = true;
}

static void worker_body(void *argument)
{
    struct cbp_worker *worker = argument;
    struct cbp_session *session = worker->session;
    cbpi_thread_enter(session, worker);
    uint32_t error = cbpi_driver_enter_worker(session->driver, session->transport);
    if (error != 0)
        cbpi_session_report(session, error, "a worker thread could not serve: %s", cbp_error_detail());
    else if (session->callbacks.worker)
        session->callbacks.worker(session->callbacks.context, worker);
    else
        cbp_worker_run(worker);
    if (!cbpi_thread_session())
        return; /* a fork's child that returned from a handler: the session is the parent's */
    if (error == 0)
        cbpi_driver_leave_worker(session->driver, session->transport);
    cbpi_thread_leave();
    cbpi_mutex_lock(&session->mutex);
    leave(worker);
    worker->state = CBPI_WORKER_ENDED;
    cbpi_condition_broadcast(&session->condition);
    cbpi_mutex_unlock(&session->mutex);
}

uint32_t cbpi_worker_start(struct cbp_session *session)
{
    struct cbp_worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a worker");
    worker->session = session;
    worker->delivery.turn = &worker->turn;
    cbpi_mutex_lock(&session->mutex);
    worker->next = session->workers;
    session->workers = worker;
    cbp_add_u32(&session->worker_count, 1);
    cbpi_mutex_unlock(&session->mutex);

    uint32_t error = cbpi_thread_start(&worker->thread, worker_body, worker, cbpi_config_stack_size(session));
    if (error != 0) {
        cbpi_mutex_lock(&session->mutex);
        session->workers = worker->next; /* the dispatcher alone adds to the list and takes from it */
        leave(worker);
        cbpi_mutex_unlock(&session->mutex);
        free(worker);
    }
    return error;
}

/* Removes a worker that has ended from the list; NULL if there is none. With wait set NULL means that the
 * list is empty. */
static struct cbp_worker *take_ended(struct cbp_session *session, bool wait)
{
    cbpi_mutex_lock(&session->mutex);
    for (;;) {
        struct cbp_worker **at = &session->workers;
        while (*at && (*at)->state != CBPI_WORKER_ENDED)
            at = &(*at)->next;
        struct cbp_worker *ended = *at;
        if (ended) {
            *at = ended->next;
            session->ended_delivered += cbp_load_relaxed_u64(&ended->delivered);
        }
        if (ended || !wait || !session->workers) {
            cbpi_mutex_unlock(&session->mutex);
            return ended;
        }
        cbpi_condition_wait_until(&session->condition, &session->mutex, cbpi_now_ns() + CBP_NS_PER_S);
    }
}

uint32_t cbpi_workers_join(struct cbp_session *session, bool all)
{
    uint32_t failed_count = 0;
    struct cbp_worker *worker;
    while ((worker = take_ended(session, all))) {
        cbpi_thread_join(&worker->thread);
        failed_count += !worker->has_run;
        free(worker->grown);
        free(worker);
    }
    return failed_count;
}

static void use_own_block(struct cbp_worker *worker)
{
    free(worker->grown);
    worker->grown = NULL;
    worker->delivery.event = (struct cbp_event *) (void *) worker->block;
    worker->delivery.capacity = sizeof worker->block;
}

/* Provides memory for the pending delivery, which did not fit. Without memory the delivery goes on unseen. */
static void grow(struct cbp_worker *worker)
{
    struct cbp_session *session = worker->session;
    uint32_t wanted = worker->delivery.capacity;
    free(worker->grown);
    worker->grown = malloc(wanted);
    if (worker->grown) {
        worker->delivery.event = worker->grown;
        return;
    }
    use_own_block(worker);
    session->transport->ops->skip(session->transport, &worker->pending);
    cbp_add_u64(&session->skipped, 1);
    cbpi_session_report(session, CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for an event of %u bytes", wanted);
}

/* Tells the dispatcher that no worker is idle. */
static void watch_pool(struct cbp_session *session)
{
    if (cbp_load_u32(&session->is_watched) ||
        cbp_load_u32(&session->worker_count) >= cbp_load_u32(&session->most_workers))
        return;
    cbpi_mutex_lock(&session->mutex);
    cbp_store_u32(&session->is_watched, 1);
    cbpi_condition_broadcast(&session->condition);
    cbpi_mutex_unlock(&session->mutex);
}

static uint32_t wait_for_delivery(struct cbp_worker *worker)
{
    struct cbp_session *session = worker->session;
    bool is_spare = cbp_load_u32(&session->worker_count) > cbp_load_u32(&session->least_workers);
    cbp_add_u32(&session->idle_count, 1);
    uint32_t limit_ms = is_spare ? IDLE_LIMIT_MS : CBPI_WAIT_FOREVER;
    uint32_t error =
        session->transport->ops->receive(session->transport, &worker->delivery, limit_ms, &worker->pending);
    if (cbp_subtract_u32(&session->idle_count, 1) == 1)
        watch_pool(session);
    return error;
}

/* Says whether this worker is one too many; it has then left the count. */
static bool retires(struct cbp_worker *worker)
{
    struct cbp_session *session = worker->session;
    cbpi_mutex_lock(&session->mutex);
    bool is_spare = cbp_load_u32(&session->worker_count) > cbp_load_u32(&session->least_workers);
    if (is_spare)
        leave(worker);
    cbpi_mutex_unlock(&session->mutex);
    return is_spare;
}

/* Gives 0 with a delivery, or why the worker has to end. */
static uint32_t next_delivery(struct cbp_worker *worker)
{
    struct cbp_session *session = worker->session;
    struct cbpi_transport *transport = session->transport;
    for (;;) {
        uint32_t error = transport->ops->receive(transport, &worker->delivery, 0, &worker->pending);
        if (error == CBP_ERROR_TIMEOUT)
            error = wait_for_delivery(worker);
        switch (error) {
        case CBP_ERROR_TIMEOUT:
            if (retires(worker))
                return error;
            break;
        case CBP_ERROR_INSUFFICIENT_BUFFER:
            grow(worker);
            break;
        case CBP_ERROR_INVALID_DATA:
            cbp_add_u64(&session->malformed, 1);
            use_own_block(worker);
            break;
        default:
            if (error == 0)
                cbpi_failed_executions_report(session, UINT64_MAX);
            return error;
        }
    }
}

/* Makes event 0's block that of another event of the delivery. */
static void prepare_event(struct cbp_worker *worker, uint32_t item, uint64_t sequence)
{
    struct cbp_event *event = worker->delivery.event;
    cbpi_event_take(event, &worker->delivery.items[item]);
    event->sequence = sequence + item;
    worker->item = item;
}

static cbp_event_callback callback_for(const struct cbp_worker *worker)
{
    const struct cbp_event *event = worker->delivery.event;
    /* The block is larger than the part that the binding was told it may read. */
    if (!worker->callback || (const void *) event != worker->block || event->size > CBP_EVENT_SIZE_INLINE)
        return worker->session->callbacks.event;
    bool has_own = event->type <= CBPI_EVENT_TYPE_MAX && worker->type_callbacks[event->type];
    return has_own ? worker->type_callbacks[event->type] : worker->callback;
}

/* Calls the handler for each event and keeps the answers. False in a fork's child, where nothing belongs to
 * it. */
static bool handle_events(struct cbp_worker *worker)
{
    struct cbp_session *session = worker->session;
    struct cbpi_delivery *delivery = &worker->delivery;
    struct cbp_event *event = delivery->event;
    uint64_t sequence = event->sequence;
    event->context = session->callbacks.context;
    delivery->deferred_items = 0;
    delivery->sequence = sequence;
    if (session->recorder)
        delivery->record_id = cbpi_recorder_write_event(session->recorder, delivery);

    for (uint32_t i = 0; i < delivery->count; i++) {
        prepare_event(worker, i, sequence);
        callback_for(worker)(event);
        if (session->generation != cbpi_process_generation())
            return false;
        cbp_store_relaxed_u64(&worker->delivered, cbp_load_relaxed_u64(&worker->delivered) + 1);
        cbpi_delivery_set_answer(delivery, i, event->result_code, event->desired_access);
        if (cbp_load_relaxed_u32(&session->state) == CBPI_STATE_STOPPING)
            break; /* the handler ended delivery */
    }
    return true;
}

static bool serve(struct cbp_worker *worker)
{
    struct cbp_session *session = worker->session;
    cbp_store_relaxed_u64(&worker->handling, (uintptr_t) worker->delivery.event);
    if (!handle_events(worker))
        return false;
    cbp_store_relaxed_u64(&worker->handling, 0);
    if (worker->deferral)
        cbpi_deferral_settle(worker);
    else
        cbpi_delivery_answer(session, &worker->delivery);
    if (worker->grown)
        use_own_block(worker);
    return true;
}

static uint32_t check_bindable(const struct cbp_worker *worker)
{
    if (cbpi_thread_worker() != worker || worker->has_run)
        return cbpi_fail(CBP_ERROR_NO_CALLBACK_ACTIVE,
                         "only its worker callback can bind a worker, before it runs");
    return 0;
}

uint32_t cbp_worker_bind(struct cbp_worker *worker, cbp_event_callback callback, struct cbp_event **event)
{
    if (!worker || !callback || !event)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER,
                         "a worker, a callback and a place for the event are needed");
    uint32_t error = check_bindable(worker);
    if (error != 0)
        return error;
    worker->callback = callback;
    *event = (struct cbp_event *) (void *) worker->block;
    return 0;
}

uint32_t cbp_worker_bind_type(struct cbp_worker *worker, uint32_t type, cbp_event_callback callback)
{
    bool is_one_bit = type != 0 && (type & (type - 1)) == 0;
    if (!worker || !callback || !is_one_bit || type > CBPI_EVENT_TYPE_MAX)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER,
                         "a worker, the type of an event and a callback are needed");
    uint32_t error = check_bindable(worker);
    if (error == 0)
        worker->type_callbacks[type] = callback;
    return error;
}

void cbp_worker_run(struct cbp_worker *worker)
{
    if (!worker || cbpi_thread_worker() != worker || worker->has_run)
        return;
    struct cbp_session *session = worker->session;
    cbpi_mutex_lock(&session->mutex);
    worker->has_run = true;
    worker->state = CBPI_WORKER_RUNNING;
    cbpi_condition_broadcast(&session->condition);
    cbpi_mutex_unlock(&session->mutex);
    use_own_block(worker);
    while (next_delivery(worker) == 0 && serve(worker))
        continue;
}
