/* Tells of executions that were told and then failed in the system. The error callback takes each back before
 * the next event that a worker takes, so before the next operation of its task. Where no event comes the
 * dispatcher tells of them. */
#include "core.h"
#include "errors.h"
#include "recorder.h"

#include <stdio.h>

/* Takes the next failed execution that has not been reported, of the first so many. */
static bool take(struct cbp_session *session, uint64_t limit, struct cbpi_failed_execution *failed)
{
    struct cbpi_transport *transport = session->transport;
    for (;;) {
        uint64_t seen_count = cbp_load_u64(&session->failed_seen), next_count = seen_count;
        if (seen_count >= limit || !transport->ops->next_failed(transport, &next_count, failed))
            return false;
        if (cbp_compare_swap_u64(&session->failed_seen, &seen_count, next_count))
            return true;
    }
}

static void report(const struct cbp_session *session, const struct cbpi_failed_execution *failed)
{
    char why[64] = "its errno is not known, or its process has ended in it";
    if (failed->os_error != 0)
        snprintf(why, sizeof why, "errno %u", (unsigned) failed->os_error);
    if (session->recorder && failed->sequence != 0)
        cbpi_recorder_write_failure(session->recorder, failed->sequence, failed->os_error);
    cbpi_set_failed_execution(failed->sequence, failed->os_error);
    if (failed->sequence != 0)
        cbpi_session_report(session, CBP_ERROR_GEN_FAILURE,
                            "the execution that event %llu has told of did not happen: %s",
                            (unsigned long long) failed->sequence, why);
    else
        cbpi_session_report(session, CBP_ERROR_GEN_FAILURE,
                            "an execution that was told of did not happen; too many have failed to say which "
                            "event that was");
    cbpi_set_failed_execution(0, 0);
}

void cbpi_failed_executions_report(struct cbp_session *session, uint64_t limit)
{
    struct cbpi_failed_execution failed;
    while (take(session, limit, &failed))
        report(session, &failed);
}
