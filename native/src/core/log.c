/* Writes the extended log that LoggingEnabled switches, and calls the error callback, whose reports are
 * logged, too. The platform says where lines go. */
#include "core.h"

#include <stdarg.h>
#include <stdio.h>

#define LINE_SIZE 768

static uint32_t enabled; /* atomic; what this process knows of the machine's setting */

bool cbpi_log_refresh(void)
{
    bool is_enabled = cbpi_logging_read();
    cbp_store_u32(&enabled, is_enabled);
    return is_enabled;
}

uint32_t cbpi_log_enable(bool is_enabled)
{
    uint32_t error = cbpi_logging_write(is_enabled);
    if (error == 0)
        cbp_store_u32(&enabled, is_enabled);
    return error;
}

void cbpi_log(const char *format, ...)
{
    char line[LINE_SIZE];
    if (!cbp_load_relaxed_u32(&enabled))
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    cbpi_log_line(line);
}

void cbpi_session_report(const struct cbp_session *session, uint32_t code, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cbpi_log("%s error %u: %s", session->product_guid, (unsigned) code, text);
    if (session->callbacks.error)
        session->callbacks.error(session->callbacks.context, code, text);
}
