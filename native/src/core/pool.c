/* What workers tell the dispatcher about their pool. */
#include "core.h"

void cbpi_pool_watch(struct cbp_session *session)
{
    if (cbp_load_u32(&session->is_watched) ||
        cbp_load_u32(&session->worker_count) >= cbp_load_u32(&session->most_workers))
        return;
    cbpi_mutex_lock(&session->mutex);
    cbp_store_u32(&session->is_watched, 1);
    cbpi_condition_broadcast(&session->condition);
    cbpi_mutex_unlock(&session->mutex);
}
