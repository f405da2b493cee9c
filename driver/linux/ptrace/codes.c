/* Translates error codes to the errno of a refused system call. Knows no tasks. */
#include <errno.h>

#include "tracer.h"

/* A code without a counterpart becomes EPERM. Source: the meaning of the Win32 codes. */
int cbpd_errno_of_code(uint32_t code)
{
    switch (code) {
    case CBP_ERROR_FILE_NOT_FOUND:
    case CBP_ERROR_PATH_NOT_FOUND:
        return ENOENT;
    case CBP_ERROR_TOO_MANY_OPEN_FILES:
        return EMFILE;
    case CBP_ERROR_ACCESS_DENIED:
        return EACCES;
    case CBP_ERROR_NOT_ENOUGH_MEMORY:
        return ENOMEM;
    case CBP_ERROR_BAD_FORMAT:
        return ENOEXEC;
    case CBP_ERROR_INVALID_PARAMETER:
        return EINVAL;
    case CBP_ERROR_BUSY:
        return EBUSY;
    case CBP_ERROR_NO_SYSTEM_RESOURCES:
        return EAGAIN;
    default:
        return EPERM;
    }
}
