/* Implements windows_api.h. */
#include "windows_api.h"

#include "errors.h"

#include <stdlib.h>
#include <string.h>

uint32_t cbpi_wide_text(const char *text, WCHAR **wide)
{
    size_t size = strlen(text);
    uint16_t *units = malloc((size + 1) * sizeof *units);
    if (!units)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for %.300s", text);
    size_t count = cbpd_wtf8_decode(text, size, units);
    if (count == SIZE_MAX) {
        free(units);
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "a text is not UTF-8");
    }
    units[count] = 0;
    *wide = (WCHAR *) units;
    return 0;
}

uint32_t cbpi_copy_wide_text(const WCHAR *units, size_t count, char *buffer, uint64_t size, uint64_t *needed)
{
    char *text = malloc(3 * count + 1);
    if (!text)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a path");
    size_t text_size = cbpd_wtf8_encode((const uint16_t *) units, count, text);
    uint32_t error = cbpi_copy_text(text, text_size, buffer, size, needed);
    free(text);
    return error;
}
