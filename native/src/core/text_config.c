/* The settings that are texts: paths of a script and of a recording. Fixed while active. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

#define PATH_SIZE_MAX 4096u

static const struct {
    const char *name;
    size_t offset; /* in struct cbpi_text_config */
} settings[] = {
    {"Script", offsetof(struct cbpi_text_config, script)},
    {"RecordTo", offsetof(struct cbpi_text_config, record_to)},
};

static char **place_of(struct cbpi_text_config *texts, uint32_t setting)
{
    return (char **) (void *) ((unsigned char *) texts + settings[setting - 1].offset);
}

uint32_t cbpi_text_config_find(const char *name)
{
    for (uint32_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (cbpi_equal_without_case(settings[i].name, name))
            return i + 1;
    return 0;
}

uint32_t cbpi_text_config_set(struct cbp_session *session, uint32_t setting, const char *value)
{
    size_t size = strlen(value);
    uint32_t error;
    if (size > PATH_SIZE_MAX)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "%s is longer than a path can be",
                         settings[setting - 1].name);
    char *copy = malloc(size + 1);
    if (!copy)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a setting");
    memcpy(copy, value, size + 1);
    if (size == 0) {
        free(copy);
        copy = NULL;
    }
    cbpi_mutex_lock(&session->control);
    cbpi_mutex_lock(&session->mutex);
    char **place = place_of(&session->texts, setting);
    error = cbpi_check_changeable(session, settings[setting - 1].name);
    if (error == 0) {
        char *before = *place;
        *place = copy;
        copy = before;
    }
    cbpi_mutex_unlock(&session->mutex);
    cbpi_mutex_unlock(&session->control);
    free(copy);
    return error;
}

uint32_t cbpi_text_config_get(struct cbp_session *session, uint32_t setting, char *buffer, uint64_t size,
                              uint64_t *needed)
{
    cbpi_mutex_lock(&session->mutex);
    const char *text = *place_of(&session->texts, setting);
    uint32_t error = cbpi_copy_text(text ? text : "", text ? strlen(text) : 0, buffer, size, needed);
    cbpi_mutex_unlock(&session->mutex);
    return error;
}

void cbpi_text_config_free(struct cbpi_text_config *texts)
{
    for (uint32_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        free(*place_of(texts, i + 1));
}
