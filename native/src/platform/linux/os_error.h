/* Says what a failed system call means to the caller of the library. Knows errno and the limits of this
 * process, but no callers. */
#ifndef CBPI_OS_ERROR_H
#define CBPI_OS_ERROR_H

#include "cbprocess.h"

/* Fails with the code for an errno and a sentence that begins with what could not be done. Where a limit was
 * reached the sentence names it: CBP_ERROR_TOO_MANY_OPEN_FILES for descriptors, CBP_ERROR_NO_SYSTEM_RESOURCES
 * for processes and threads, CBP_ERROR_NOT_ENOUGH_MEMORY; CBP_ERROR_GEN_FAILURE for anything else. */
uint32_t cbpi_fail_os(int os_error, const char *what);

#endif
