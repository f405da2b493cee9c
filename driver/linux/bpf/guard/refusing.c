/* Makes the sentence of a request that fails, and its code. Knows no requests. */
#include "guard.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

uint32_t cbpd_refuse_request(struct guard *self, uint32_t code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void) vsnprintf(self->sentence, sizeof self->sentence, format, arguments);
    va_end(arguments);
    return code;
}

uint32_t cbpd_refuse_request_os(struct guard *self, int error, const char *what)
{
    uint32_t code = error == ENOMEM                      ? CBP_ERROR_NOT_ENOUGH_MEMORY
                    : error == EMFILE || error == ENFILE ? CBP_ERROR_TOO_MANY_OPEN_FILES
                    : error == EPERM                     ? CBP_ERROR_PRIVILEGE_NOT_HELD
                    : error == ENOSYS                    ? CBP_ERROR_NOT_SUPPORTED
                                                         : CBP_ERROR_GEN_FAILURE;
    return cbpd_refuse_request(self, code, "%s: %s", what, strerror(error));
}
