/* Translates error codes to the errno of a refused system call. Knows no tasks. */
#include <errno.h>

#include "tracer.h"

/* A code without a counterpart becomes EPERM. Source: the meaning of the Win32 codes. */
int cbpd_errno_of_code(uint32_t code)
{
    static const struct {
        uint32_t code;
        int os_error;
    } rows[] = {
        {CBP_ERROR_FILE_NOT_FOUND, ENOENT},      {CBP_ERROR_PATH_NOT_FOUND, ENOENT},
        {CBP_ERROR_TOO_MANY_OPEN_FILES, EMFILE}, {CBP_ERROR_ACCESS_DENIED, EACCES},
        {CBP_ERROR_NOT_ENOUGH_MEMORY, ENOMEM},   {CBP_ERROR_BAD_FORMAT, ENOEXEC},
        {CBP_ERROR_INVALID_PARAMETER, EINVAL},   {CBP_ERROR_BUSY, EBUSY},
        {CBP_ERROR_NO_SYSTEM_RESOURCES, EAGAIN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].code == code)
            return rows[i].os_error;
    return EPERM;
}
