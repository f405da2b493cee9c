/* Translates error codes to exit statuses of refused processes. Knows no processes. */
#include "debugger.h"

/* Gives the exit status of a process whose creation is refused. It is always one of failure. */
UINT cbpd_refusal_status(uint32_t code)
{
    if (code == CBP_ERROR_ACCESS_DENIED)
        return 0xc0000022u; /* STATUS_ACCESS_DENIED */
    return 0xc0070000u | (code & 0xffffu);
}
