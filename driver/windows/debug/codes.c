/* Error codes as exit statuses of processes that are refused. */
#include "debugger.h"

/* The exit status of a process whose creation is refused: always one of failure. */
UINT cbpd_refusal_status(uint32_t code)
{
    if (code == CBP_ERROR_ACCESS_DENIED)
        return 0xc0000022u; /* STATUS_ACCESS_DENIED */
    return 0xc0070000u | (code & 0xffffu);
}
