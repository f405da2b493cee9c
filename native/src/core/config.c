/* Keeps a session's settings: one table says what each is called, which values it takes and when it may
 * change. */
#include "altitude.h"
#include "core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_SIZE_MAX 4096u
#define LEAST_STACK_SIZE (1024u * 1024u)
#define WORKER_COUNT_MAX 1024u
#define LEAST_WORKERS 4u
#define WORKERS_PER_PROCESSOR 4u
#define KNOWN_EVENTS (2u * CBP_PROC_EVT_THREAD_HANDLE_OPERATION - 1u)

#define DEFAULT_ALTITUDE 400055u

enum setting_kind { BOOLEAN, NUMBER, EVENTS, CHOICE, ALTITUDE, TEXT };

struct setting {
    const char *name;
    enum setting_kind kind;
    uint32_t offset; /* in struct cbpi_config: a uint32_t, of ALTITUDE a uint64_t; else in the texts */
    uint32_t limit;  /* the greatest number */
    const char *const *choices; /* CHOICE: NULL at the end */
    bool is_fixed;              /* while active */
    bool is_numbered;           /* the indexes of the choices are public constants, which stand for them */
};

static const char logging_name[] = "LoggingEnabled"; /* the machine's: in no session's struct cbpi_config */
static const char *const boolean_texts[] = {"False", "True", "0", "1", "No", "Yes", NULL};
static const char *const timeout_actions[] = {"allow", "deny", NULL};
static const char *const refusals[] = {"errno", "kill", NULL};
static const char *const replay_speeds[] = {"max", "recorded", NULL};
static const char *const replay_verdicts[] = {"asked", "recorded", NULL};

#define AT(field) (uint32_t) offsetof(struct cbpi_config, field)
#define IN_TEXTS(field) (uint32_t) offsetof(struct cbpi_text_config, field)
static const struct setting settings_table[] = {
    {"EventsToFire", EVENTS, AT(told.policy.events), 0, NULL, false, false},
    {"FilterOwnRequests", BOOLEAN, AT(own_requests), 0, NULL, false, false},
    {"MinWorkerThreadCount", NUMBER, AT(min_worker_count), WORKER_COUNT_MAX, NULL, false, false},
    {"MaxWorkerThreadCount", NUMBER, AT(max_worker_count), WORKER_COUNT_MAX, NULL, false, false},
    {"WorkerInitialStackSize", NUMBER, AT(worker_stack_size), 1u << 30, NULL, true, false},
    {"SerializeEvents", NUMBER, AT(serialize_events), CBP_SERIALIZE_ON_ONE_WORKER_THREAD, NULL, true, false},
    {"Driver", CHOICE, AT(driver), 0, cbpi_driver_names, true, false},
    {"TimeoutAction", CHOICE, AT(told.policy.timeout_action), 0, timeout_actions, false, true},
    {"RefuseWith", CHOICE, AT(told.policy.refuse_with), 0, refusals, false, true},
    {"ForkIsCreation", BOOLEAN, AT(fork_is_creation), 0, NULL, false, false},
    {"HideController", BOOLEAN, AT(hide_controller), 0, NULL, true, false},
    {"ScopeSignals", BOOLEAN, AT(scope_signals), 0, NULL, false, false},
    {"ScopeProcFiles", BOOLEAN, AT(scope_proc_files), 0, NULL, false, false},
    {"Altitude", ALTITUDE, AT(told.policy.altitude), 0, NULL, false, false},
    {"StrictAltitude", BOOLEAN, AT(told.strict_altitude), 0, NULL, false, false},
    {"ReplaySpeed", CHOICE, AT(told.replay_speed), 0, replay_speeds, true, false},
    {"ReplayVerdicts", CHOICE, AT(told.keeps_verdicts), 0, replay_verdicts, true, false},
    {"Script", TEXT, IN_TEXTS(script), 0, NULL, true, false},
    {"RecordTo", TEXT, IN_TEXTS(record_to), 0, NULL, true, false},
    {"HoldPaths", TEXT, IN_TEXTS(hold_paths), 0, NULL, true, false},
};

static const struct setting *find_setting(const char *name)
{
    for (size_t i = 0; i < sizeof settings_table / sizeof settings_table[0]; i++)
        if (cbpi_equal_without_case(settings_table[i].name, name))
            return &settings_table[i];
    return NULL;
}

/* Gives the setting's field, and with is_new set writes it afterwards. The session's mutex is held. */
static uint64_t access_field(struct cbpi_config *config, const struct setting *setting, bool is_new,
                             uint64_t value)
{
    void *field = (unsigned char *) config + setting->offset;
    uint64_t before;
    if (setting->kind == ALTITUDE) {
        before = *(uint64_t *) field;
        if (is_new)
            *(uint64_t *) field = value;
    } else {
        before = *(uint32_t *) field;
        if (is_new)
            *(uint32_t *) field = (uint32_t) value;
    }
    return before;
}

/* Finds text among the choices and gives its index. False: it is not there, and *index is the number of
 * choices. */
static bool find_choice(const char *text, const char *const *choices, uint64_t *index)
{
    size_t i = 0;
    while (choices[i] && !cbpi_equal_without_case(text, choices[i]))
        i++;
    *index = i;
    return choices[i];
}

static bool parse_number(const char *text, uint64_t *number)
{
    bool is_hexadecimal = text[0] == '0' && cbpi_lower(text[1]) == 'x';
    text += is_hexadecimal ? 2 : 0;
    size_t digit_count = strspn(text, is_hexadecimal ? "0123456789abcdefABCDEF" : "0123456789");
    *number = strtoull(text, NULL, is_hexadecimal ? 16 : 10);
    return digit_count > 0 && !text[digit_count] && *number <= UINT32_MAX;
}

static bool parse_boolean(const char *text, uint64_t *value)
{
    bool is_one = find_choice(text, boolean_texts, value);
    *value &= 1u;
    return is_one;
}

/* An index stands for its choice where choices are numbered. */
static bool parse_choice(const struct setting *setting, const char *text, uint64_t *value)
{
    uint64_t count;
    if (find_choice(text, setting->choices, &count)) {
        *value = count;
        return true;
    }
    return setting->is_numbered && parse_number(text, value) && *value < count;
}

/* Parses a decimal number above 0, in billionths. */
static bool parse_altitude(const char *text, uint64_t *value)
{
    uint64_t whole = 0, part = 0;
    uint32_t places = 0;
    const char *first = text;
    for (; *text >= '0' && *text <= '9' && whole <= UINT32_MAX; text++)
        whole = whole * 10 + (uint64_t) (*text - '0');
    if (text == first || whole > UINT32_MAX)
        return false;
    if (*text == '.')
        for (text++; *text >= '0' && *text <= '9' && places < CBPI_ALTITUDE_PLACES; text++, places++)
            part = part * 10 + (uint64_t) (*text - '0');
    if (*text || text[-1] == '.')
        return false;
    for (; places < CBPI_ALTITUDE_PLACES; places++)
        part *= 10;
    *value = whole * CBPI_ALTITUDE_UNIT + part;
    return *value != 0;
}

static bool parse_value(const struct setting *setting, const char *text, uint64_t *value)
{
    switch (setting->kind) {
    case BOOLEAN:
        return parse_boolean(text, value);
    case NUMBER:
        return parse_number(text, value) && *value <= setting->limit;
    case EVENTS:
        if (strcmp(text, "-1") == 0) {
            *value = CBPI_ALL_EVENTS;
            return true;
        }
        return parse_number(text, value) && ((*value & ~KNOWN_EVENTS) == 0 || *value == CBPI_ALL_EVENTS);
    case CHOICE:
        return parse_choice(setting, text, value);
    case ALTITUDE:
        return parse_altitude(text, value);
    case TEXT:
        break;
    }
    return false;
}

void cbpi_config_init(struct cbpi_config *config)
{
    config->told.policy.altitude = (uint64_t) DEFAULT_ALTITUDE * CBPI_ALTITUDE_UNIT;
}

void cbpi_config_settings(struct cbp_session *session, struct cbpi_session_settings *settings)
{
    cbpi_mutex_lock(&session->mutex);
    const struct cbpi_config *config = &session->config;
    *settings = config->told;
    settings->policy.events &= KNOWN_EVENTS;
    settings->policy.timeout_ms = session->timeout_ms;
    settings->policy.flags = (config->fork_is_creation ? CBP_SESSION_FLAG_FORK_IS_CREATION : 0) |
                             (config->own_requests ? CBP_SESSION_FLAG_OWN_REQUESTS : 0) |
                             (config->scope_signals ? CBP_SESSION_FLAG_SCOPE_SIGNALS : 0) |
                             (config->scope_proc_files ? CBP_SESSION_FLAG_SCOPE_PROC_FILES : 0);
    settings->script_path = session->texts.script ? session->texts.script : "";
    settings->hold_paths = session->texts.hold_paths ? session->texts.hold_paths : "";
    settings->script = &session->script;
    cbpi_mutex_unlock(&session->mutex);
}

void cbpi_config_apply_worker_limit(struct cbp_session *session)
{
    uint32_t processors = cbpi_processor_count();
    cbpi_mutex_lock(&session->mutex);
    const struct cbpi_config *config = &session->config;
    uint32_t least = processors > LEAST_WORKERS ? processors : LEAST_WORKERS;
    uint32_t most = WORKERS_PER_PROCESSOR * processors;
    if (config->min_worker_count)
        least = config->min_worker_count;
    if (config->max_worker_count)
        most = config->max_worker_count;
    if (config->serialize_events == CBP_SERIALIZE_ON_ONE_WORKER_THREAD)
        most = 1;
    cbp_store_u32(&session->least_workers, least < most ? least : most);
    cbp_store_u32(&session->most_workers, most);
    cbpi_mutex_unlock(&session->mutex);
}

uint32_t cbpi_config_stack_size(struct cbp_session *session)
{
    cbpi_mutex_lock(&session->mutex);
    uint32_t size = session->config.worker_stack_size;
    cbpi_mutex_unlock(&session->mutex);
    /* The setting is the initial size, and elsewhere stacks grow: a small one must not make handlers overflow
     * it. */
    return size > LEAST_STACK_SIZE ? size : LEAST_STACK_SIZE;
}

/* Replaces the old settings, which *before gets, by those with that value. While active the driver must be
 * able to do what they say. control is held. */
static uint32_t exchange(struct cbp_session *session, const struct setting *setting, uint64_t value,
                         struct cbpi_config *before)
{
    struct cbpi_config changed;
    uint32_t error = 0;
    cbpi_mutex_lock(&session->mutex);
    *before = changed = session->config;
    access_field(&changed, setting, true, value);
    changed.is_refusal_chosen |= setting->choices == refusals;
    if (cbpi_demands_are_due(session))
        error = cbpi_demands_check_config(session->driver, session->capabilities, &changed);
    if (error == 0)
        session->config = changed;
    cbpi_mutex_unlock(&session->mutex);
    return error;
}

/* Sets the value and tells the driver; restores the old one if the driver cannot be told. control is held. */
static uint32_t apply(struct cbp_session *session, const struct setting *setting, uint64_t value)
{
    struct cbpi_config before;
    uint32_t error = setting->is_fixed ? cbpi_check_changeable(session, setting->name) : 0;
    if (error != 0)
        return error;
    if (setting->choices == cbpi_driver_names && !cbpi_driver_find(cbpi_driver_names[value], ""))
        return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "the %s driver is not part of this build",
                         cbpi_driver_names[value]);
    error = exchange(session, setting, value, &before);
    if (error != 0)
        return error;
    cbpi_config_apply_worker_limit(session);
    if (cbp_load_u32(&session->state) != CBPI_STATE_ACTIVE)
        return 0;
    struct cbpi_session_settings settings;
    cbpi_config_settings(session, &settings);
    error = session->transport->ops->update(session->transport, &settings);
    if (error != 0) {
        cbpi_mutex_lock(&session->mutex);
        session->config = before;
        cbpi_mutex_unlock(&session->mutex);
    }
    return error;
}

static char **text_of(struct cbpi_text_config *texts, const struct setting *setting)
{
    return (char **) (void *) ((unsigned char *) texts + setting->offset);
}

/* Copies a text; an empty text, and a missing one, become NULL. */
static uint32_t copy_setting(const char *text, char **copy)
{
    size_t size = text && *text ? strlen(text) + 1 : 0;
    *copy = size != 0 ? malloc(size) : NULL;
    if (*copy)
        memcpy(*copy, text, size);
    return *copy || size == 0 ? 0 : cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a setting");
}

static uint32_t set_text(struct cbp_session *session, const struct setting *setting, const char *value)
{
    char *text;
    if (strlen(value) > PATH_SIZE_MAX)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "%s is longer than a path can be", setting->name);
    uint32_t error = copy_setting(value, &text);
    if (error != 0)
        return error;
    cbpi_mutex_lock(&session->control);
    cbpi_mutex_lock(&session->mutex);
    error = cbpi_check_changeable(session, setting->name);
    if (error == 0) {
        char **place = text_of(&session->texts, setting), *before = *place;
        *place = text;
        text = before;
    }
    cbpi_mutex_unlock(&session->mutex);
    cbpi_mutex_unlock(&session->control);
    free(text);
    return error;
}

static uint32_t set_logging(const char *value)
{
    uint64_t is_enabled;
    if (!parse_boolean(value, &is_enabled))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "%.100s is not a value of %s", value, logging_name);
    return cbpi_log_enable(is_enabled != 0);
}

uint32_t cbp_session_set_config(struct cbp_session *session, const char *name, const char *value)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (!name || !value)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "name and value must not be NULL");
    if (cbpi_equal_without_case(name, logging_name))
        return set_logging(value);
    const struct setting *setting = find_setting(name);
    uint64_t number;
    if (!setting)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "there is no setting %.100s", name);
    if (setting->kind == TEXT)
        return set_text(session, setting, value);
    if (!parse_value(setting, value, &number))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "%.100s is not a value of %s", value, setting->name);
    cbpi_mutex_lock(&session->control);
    error = apply(session, setting, number);
    cbpi_mutex_unlock(&session->control);
    return error;
}

/* Reads the settings of other, which may belong to the process that this one was forked from: no thread
 * changes them here then, and none would unlock them. *script and *hold_paths are the caller's.
 */
static uint32_t read_other(struct cbp_session *other, struct cbpi_config *config, char **script,
                           char **hold_paths)
{
    bool is_own = other->generation == cbpi_process_generation();
    if (is_own)
        cbpi_mutex_lock(&other->mutex);
    *config = other->config;
    uint32_t error = copy_setting(other->texts.script, script);
    if (error == 0)
        error = copy_setting(other->texts.hold_paths, hold_paths);
    if (is_own)
        cbpi_mutex_unlock(&other->mutex);
    return error;
}

uint32_t cbp_session_copy_config(struct cbp_session *session, struct cbp_session *other)
{
    struct cbpi_config config;
    char *script = NULL, *hold_paths = NULL;
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (!other)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "other must not be NULL");
    error = read_other(other, &config, &script, &hold_paths);
    if (error != 0) {
        free(script);
        return error;
    }
    cbpi_mutex_lock(&session->control);
    cbpi_mutex_lock(&session->mutex);
    if (cbp_load_u32(&session->state) == CBPI_STATE_INACTIVE) {
        const struct cbpi_text_config before = session->texts;
        session->config = config;
        session->texts.script = script;
        session->texts.hold_paths = hold_paths;
        script = before.script;
        hold_paths = before.hold_paths;
    } else {
        error = cbpi_fail(CBP_ERROR_CONNECTION_ACTIVE, "settings are not copied while the filter is active");
    }
    cbpi_mutex_unlock(&session->mutex);
    cbpi_mutex_unlock(&session->control);
    free(script);
    free(hold_paths);
    return error;
}

static uint32_t copy_build_info(char *buffer, uint64_t size, uint64_t *needed)
{
    char text[256];
    int used = snprintf(text, sizeof text, "cbprocess %s; %s; compiler %.60s; drivers", CBP_VERSION,
                        cbpi_platform_name(), __VERSION__);
    for (const struct cbpi_driver *const *driver = cbpi_drivers; *driver; driver++)
        used += snprintf(text + used, sizeof text - (size_t) used, " %s", (*driver)->name);
    return cbpi_copy_text(text, (size_t) used, buffer, size, needed);
}

/* Gives a number's text: a constant, or one made in room. */
static const char *text_of_number(const struct setting *setting, uint64_t value, char *room, size_t size)
{
    if (setting->kind == BOOLEAN)
        return boolean_texts[value];
    if (setting->kind == CHOICE)
        return setting->choices[value];
    if (setting->kind == EVENTS && value == CBPI_ALL_EVENTS)
        return "-1";
    if (setting->kind == ALTITUDE)
        cbpi_altitude_format(value, room, size);
    else
        snprintf(room, size, "%u", (unsigned) value);
    return room;
}

static uint32_t get_setting(struct cbp_session *session, const struct setting *setting, char *buffer,
                            uint64_t size, uint64_t *needed)
{
    char room[CBPI_ALTITUDE_SIZE];
    cbpi_mutex_lock(&session->mutex);
    const char *text =
        setting->kind == TEXT
            ? *text_of(&session->texts, setting)
            : text_of_number(setting, access_field(&session->config, setting, false, 0), room, sizeof room);
    uint32_t error = cbpi_copy_text(text ? text : "", text ? strlen(text) : 0, buffer, size, needed);
    cbpi_mutex_unlock(&session->mutex);
    return error;
}

uint32_t cbp_session_get_config(struct cbp_session *session, const char *name, char *buffer, uint64_t size,
                                uint64_t *needed)
{
    uint32_t error = cbpi_session_check(session);
    if (error != 0)
        return error;
    if (!name || (!buffer && size != 0))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "name and buffer must not be NULL");
    if (cbpi_equal_without_case(name, "BuildInfo"))
        return copy_build_info(buffer, size, needed);
    if (cbpi_equal_without_case(name, logging_name)) {
        const char *text = boolean_texts[cbpi_log_refresh() ? 1 : 0];
        return cbpi_copy_text(text, strlen(text), buffer, size, needed);
    }
    const struct setting *setting = find_setting(name);
    if (!setting)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "there is no setting %.100s", name);
    return get_setting(session, setting, buffer, size, needed);
}
