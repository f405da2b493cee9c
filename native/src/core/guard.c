/* Whether a session can be used at all: what every call on one asks first. */
#include "core.h"

uint32_t cbpi_session_check(const struct cbp_session *session)
{
    if (!session)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "session must not be NULL");
    if (session->generation != cbpi_process_generation())
        return cbpi_fail(CBP_ERROR_NOT_READY,
                         "the session belongs to the process that this one was forked from");
    return 0;
}
