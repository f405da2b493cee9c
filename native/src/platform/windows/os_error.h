/* Says what a failed call of Windows means to the caller of the library. */
#ifndef CBPI_OS_ERROR_H
#define CBPI_OS_ERROR_H

#include "cbprocess.h"

/* Fails with the code for a GetLastError() value and a sentence that begins with what could not be done:
 * CBP_ERROR_NOT_ENOUGH_MEMORY, CBP_ERROR_NO_SYSTEM_RESOURCES, CBP_ERROR_ACCESS_DENIED where the system says
 * so, CBP_ERROR_GEN_FAILURE for anything else. */
uint32_t cbpi_fail_os(uint32_t os_error, const char *what);

#endif
