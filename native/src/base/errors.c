/* Keeps the error texts and the calling thread's last failure. */
#include "errors.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static CBP_THREAD_LOCAL char detail[512];
static CBP_THREAD_LOCAL uint64_t failed_sequence;
static CBP_THREAD_LOCAL uint32_t failed_os_error;

const char *cbp_error_message(uint32_t code)
{
#define MESSAGE_CASE(name, value, text)                                                                      \
    case value:                                                                                              \
        return text;
    switch (code) {
        CBP_ERROR_LIST(MESSAGE_CASE)
    default:
        return "unknown error";
    }
#undef MESSAGE_CASE
}

const char *cbp_error_detail(void)
{
    return detail;
}

uint64_t cbp_failed_execution(uint32_t *os_error)
{
    if (os_error)
        *os_error = failed_os_error;
    return failed_sequence;
}

void cbpi_set_failed_execution(uint64_t sequence, uint32_t os_error)
{
    failed_sequence = sequence;
    failed_os_error = os_error;
}

uint32_t cbpi_fail(uint32_t code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(detail, sizeof detail, format, arguments);
    va_end(arguments);
    return code;
}

uint32_t cbpi_copy_text(const char *text, size_t text_size, char *buffer, uint64_t size, uint64_t *needed)
{
    if (needed)
        *needed = text_size + 1;
    if (size <= text_size || !buffer)
        return cbpi_fail(CBP_ERROR_INSUFFICIENT_BUFFER, "the text takes %zu bytes with its NUL",
                         text_size + 1);
    memcpy(buffer, text, text_size);
    buffer[text_size] = '\0';
    return 0;
}
