/* The public functions for scripts, and the log that a transport keeps for them; see script.h. */
#include "script.h"

#include "core.h"

#include <stdlib.h>
#include <string.h>

#define NS_PER_MS 1000000u
#define FOREVER_NS (3600u * UINT64_C(1000000000))

void cbpi_script_log_init(struct cbpi_script_log *log)
{
    cbpi_mutex_init(&log->mutex);
    cbpi_condition_init(&log->condition);
}

void cbpi_script_log_destroy(struct cbpi_script_log *log)
{
    free(log->verdicts);
    cbpi_condition_destroy(&log->condition);
    cbpi_mutex_destroy(&log->mutex);
}

void cbpi_script_log_open(struct cbpi_script_log *log)
{
    cbpi_mutex_lock(&log->mutex);
    log->first = log->count = log->promised_count = log->unfinished_count = 0;
    log->is_open = 1;
    cbpi_mutex_unlock(&log->mutex);
}

void cbpi_script_log_close(struct cbpi_script_log *log)
{
    cbpi_mutex_lock(&log->mutex);
    log->is_open = 0;
    cbpi_condition_broadcast(&log->condition);
    cbpi_mutex_unlock(&log->mutex);
}

/* Room for so many verdicts in all. The mutex is held. */
static uint32_t reserve(struct cbpi_script_log *log, uint64_t wanted_count)
{
    if (wanted_count <= log->capacity)
        return 0;
    uint64_t capacity = 2 * wanted_count + 64;
    struct cbp_verdict *verdicts = malloc((size_t) capacity * sizeof *verdicts);
    if (!verdicts)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a script's verdicts");
    for (uint64_t i = 0; i < log->count; i++)
        verdicts[i] = log->verdicts[(log->first + i) % log->capacity];
    free(log->verdicts);
    log->verdicts = verdicts;
    log->capacity = capacity;
    log->first = 0;
    return 0;
}

uint32_t cbpi_script_log_expect(struct cbpi_script_log *log, uint64_t count, uint64_t verdict_count)
{
    cbpi_mutex_lock(&log->mutex);
    uint32_t error = reserve(log, log->count + log->promised_count + verdict_count);
    if (error == 0) {
        log->promised_count += verdict_count;
        log->unfinished_count += count;
    }
    cbpi_mutex_unlock(&log->mutex);
    return error;
}

void cbpi_script_log_add(struct cbpi_script_log *log, const struct cbp_verdict *verdict)
{
    cbpi_mutex_lock(&log->mutex);
    if (log->promised_count > 0) {
        log->promised_count--;
        log->verdicts[(log->first + log->count++) % log->capacity] = *verdict;
        cbpi_condition_broadcast(&log->condition);
    }
    cbpi_mutex_unlock(&log->mutex);
}

void cbpi_script_log_finish(struct cbpi_script_log *log)
{
    cbpi_mutex_lock(&log->mutex);
    if (--log->unfinished_count == 0)
        cbpi_condition_broadcast(&log->condition);
    cbpi_mutex_unlock(&log->mutex);
}

uint32_t cbp_script_play(struct cbp_session *session, const void *messages, uint64_t size)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (!messages && size != 0)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "messages must not be NULL");
    cbpi_mutex_lock(&session->control);
    if (cbp_load_u32(&session->state) != CBPI_STATE_ACTIVE)
        error = cbpi_fail(CBP_ERROR_NOT_READY, "the filter is not active");
    else if (!session->ops->play)
        error = cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "the %s driver plays no scripts", session->ops->name);
    else
        error = session->ops->play(session->transport, messages, size);
    cbpi_mutex_unlock(&session->control);
    return error;
}

/* Waits for a change. The log's mutex is held. */
static uint32_t wait_until(struct cbpi_script_log *log, uint64_t deadline_ns)
{
    if (!log->is_open)
        return cbpi_fail(CBP_ERROR_NOT_READY, "no script is being played");
    uint64_t now_ns = cbpi_now_ns();
    if (deadline_ns != 0 && now_ns >= deadline_ns)
        return cbpi_fail(CBP_ERROR_TIMEOUT, "the script is not that far yet");
    cbpi_condition_wait_until(&log->condition, &log->mutex, deadline_ns ? deadline_ns : now_ns + FOREVER_NS);
    return 0;
}

static uint64_t deadline_of(uint32_t slice_ms)
{
    return slice_ms ? cbpi_now_ns() + (uint64_t) slice_ms * NS_PER_MS : 0;
}

uint32_t cbp_script_wait(struct cbp_session *session, uint32_t slice_ms)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (cbpi_thread_session() == session)
        return cbpi_fail(CBP_ERROR_POSSIBLE_DEADLOCK, "a handler cannot wait until it has returned");
    struct cbpi_script_log *log = &session->script;
    uint64_t deadline_ns = deadline_of(slice_ms);
    cbpi_mutex_lock(&log->mutex);
    while (error == 0 && (log->unfinished_count > 0 || !log->is_open))
        error = wait_until(log, deadline_ns);
    cbpi_mutex_unlock(&log->mutex);
    return error;
}

uint32_t cbp_script_next_verdict(struct cbp_session *session, uint32_t slice_ms, void *verdict, uint64_t size)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (!verdict || size != sizeof(struct cbp_verdict))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "size is that of struct cbp_verdict");
    struct cbpi_script_log *log = &session->script;
    uint64_t deadline_ns = deadline_of(slice_ms);
    cbpi_mutex_lock(&log->mutex);
    while (error == 0 && log->count == 0)
        error = wait_until(log, deadline_ns);
    if (error == 0) {
        memcpy(verdict, &log->verdicts[log->first], sizeof *log->verdicts);
        log->first = (log->first + 1) % log->capacity;
        log->count--;
    }
    cbpi_mutex_unlock(&log->mutex);
    return error;
}
