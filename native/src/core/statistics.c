/* Gives the counts of a session and of its driver. */
#include "core.h"

#include <string.h>

uint32_t cbp_session_get_statistics(struct cbp_session *session, struct cbp_statistics *statistics,
                                    uint64_t size)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (!statistics || size < sizeof(uint64_t) || size % sizeof(uint64_t) != 0)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "size is that of struct cbp_statistics");
    cbpi_mutex_lock(&session->mutex);
    struct cbp_statistics all = session->final_counts;
    if (session->transport) {
        session->transport->ops->counts(session->transport, &all);
        all.queued += session->transport->ops->backlog(session->transport);
    }
    all.delivered = session->ended_delivered;
    for (const struct cbp_worker *worker = session->workers; worker; worker = worker->next)
        all.delivered += cbp_load_relaxed_u64(&worker->delivered);
    all.workers = cbp_load_u32(&session->worker_count);
    cbpi_mutex_unlock(&session->mutex);

    all.lost += cbp_load_u64(&session->skipped);
    all.late = cbp_load_u64(&session->late);
    all.malformed = cbp_load_u64(&session->malformed);
    all.deferred = cbp_load_u64(&session->deferred);
    memcpy(statistics, &all, size < sizeof all ? (size_t) size : sizeof all);
    return 0;
}
