/* Fuzzes the texts that a controller passes: product GUIDs, names and values of settings, patterns of rules.
 * What is accepted has to read back, and the value read back to be accepted as itself. No driver is started.
 */
#include "cbprocess.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define GUID "{01234567-89AB-CDEF-0123-456789ABCDEF}"
#define VALUE_SIZE 2048

static struct cbp_session *session;

static void check_guid(const char *text)
{
    struct cbp_session *made = NULL;
    if (cbp_session_create(text, &made) != 0)
        return;
    if (strlen(text) != strlen(GUID))
        abort();
    for (size_t i = 0; GUID[i] != '\0'; i++)
        if (isxdigit((unsigned char) GUID[i]) ? !isxdigit((unsigned char) text[i]) : text[i] != GUID[i])
            abort();
    cbp_session_destroy(made);
}

static void check_setting(const char *name, const char *value)
{
    char first[VALUE_SIZE], second[VALUE_SIZE];
    uint64_t needed = 0;
    /* Texts come back as they are, so longer ones would not fit. */
    if (strlen(value) >= VALUE_SIZE || cbp_session_set_config(session, name, value) != 0)
        return;
    if (cbp_session_get_config(session, name, first, sizeof first, &needed) != 0 ||
        needed != strlen(first) + 1)
        abort();
    if (cbp_session_set_config(session, name, first) != 0 ||
        cbp_session_get_config(session, name, second, sizeof second, &needed) != 0 ||
        strcmp(first, second) != 0)
        abort();
}

static void check_rule(const char *pattern, size_t size)
{
    uint32_t matches = 2;
    uint32_t error = cbp_rule_add_name(session, pattern, size, 0, CBP_ACTION_ASK, 0);
    if (cbp_pattern_match(pattern, size, pattern, size, &matches) != error || (error == 0 && matches > 1))
        abort();
    if ((cbp_rule_remove_name(session, pattern, size, CBP_ACTION_ASK) == 0) != (error == 0))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (session == NULL && cbp_session_create(GUID, &session) != 0)
        abort();
    /* The machine's settings stay as they are: this is no folder. */
    if (setenv("CBPROCESS_CONFIG_DIR", "/dev/null", 1) != 0)
        abort();
    char *text = malloc(size + 1);
    if (text == NULL)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    char *value = memchr(text, '=', size);
    check_rule(text, size);
    check_guid(text);
    if (value != NULL) {
        *value = '\0';
        check_setting(text, value + 1);
    }
    free(text);
    return 0;
}
