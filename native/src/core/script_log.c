/* Implements script_log.h. */
#include "script_log.h"

#include "errors.h"

#include <stdlib.h>

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
    log->is_open = true;
    cbpi_mutex_unlock(&log->mutex);
}

void cbpi_script_log_close(struct cbpi_script_log *log)
{
    cbpi_mutex_lock(&log->mutex);
    log->is_open = false;
    cbpi_condition_broadcast(&log->condition);
    cbpi_mutex_unlock(&log->mutex);
}

/* Makes room for so many verdicts in all. The mutex is held. */
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
