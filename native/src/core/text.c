/* Answers questions about texts. Knows nothing of what they are for. */
#include "core.h"

#include "cbp_pattern.h"

#include <string.h>

char cbpi_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
}

bool cbpi_equal_without_case(const char *a, const char *b)
{
    while (*a && cbpi_lower(*a) == cbpi_lower(*b)) {
        a++;
        b++;
    }
    return cbpi_lower(*a) == cbpi_lower(*b);
}

/* Says whether the text is {8-4-4-4-12} hexadecimal digits. */
bool cbpi_is_guid(const char *text)
{
    static const char shape[] = "{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}";
    for (size_t i = 0; i < sizeof shape; i++) {
        char c = text[i];
        bool is_digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (shape[i] == 'x' ? !is_digit : c != shape[i])
            return false;
    }
    return true;
}

uint32_t cbpi_check_pattern(const char *pattern, uint64_t pattern_size)
{
    if (!pattern || pattern_size == 0 || pattern_size > CBP_PATTERN_SIZE_MAX)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "a pattern has 1 to %u bytes",
                         (unsigned) CBP_PATTERN_SIZE_MAX);
    if (memchr(pattern, 0, (size_t) pattern_size))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "a pattern has no NUL");
    return 0;
}
