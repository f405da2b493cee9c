/* Implements transport.h for the simulated driver: a script that is played inside the core, with the
 * session's rules. It has no thread of its own: every thread that is inside - a worker, the dispatcher -
 * moves it on. */
#include "errors.h"
#include "event_message.h"
#include "platform.h"
#include "player.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPABILITIES                                                                                         \
    (uint32_t)(CBP_CAP_SEE_PROCESS_CREATION | CBP_CAP_HOLD_PROCESS_CREATION |                                \
               CBP_CAP_REFUSE_PROCESS_CREATION | CBP_CAP_KILL_PROCESS_CREATION |                             \
               CBP_CAP_SEE_PROCESS_TERMINATION | CBP_CAP_HOLD_PROCESS_TERMINATION |                          \
               CBP_CAP_SEE_THREAD_CREATION | CBP_CAP_HOLD_THREAD_CREATION | CBP_CAP_SEE_THREAD_TERMINATION | \
               CBP_CAP_HOLD_THREAD_TERMINATION | CBP_CAP_SEE_PROCESS_HANDLE | CBP_CAP_HOLD_PROCESS_HANDLE |  \
               CBP_CAP_STRIP_PROCESS_HANDLE | CBP_CAP_SEE_THREAD_HANDLE | CBP_CAP_HOLD_THREAD_HANDLE |       \
               CBP_CAP_STRIP_THREAD_HANDLE | CBP_CAP_DECIDE_BY_RULE)

struct simulated {
    struct cbpi_transport base;
    struct cbpi_mutex mutex;         /* guards the rest */
    struct cbpi_condition condition; /* something may be played, or nothing will be any more */
    struct cbpi_player player;
    uint32_t waiting_count; /* workers that wait on it */
    bool is_trouble_told;   /* what was wrong with the file */
};

/* Gives the transport's own structure, locked. */
static struct simulated *lock(struct cbpi_transport *transport)
{
    struct simulated *simulated = (struct simulated *) transport;
    cbpi_mutex_lock(&simulated->mutex);
    return simulated;
}

/* Unlocks the transport, and gives the result. */
static uint32_t unlock(struct simulated *transport, uint32_t result)
{
    cbpi_mutex_unlock(&transport->mutex);
    return result;
}

static uint32_t probe(char *reason, uint64_t size)
{
    (void) reason;
    (void) size;
    return CAPABILITIES;
}

/* ---- Life ---- */

static uint64_t time_of_first_event(const struct cbpi_source *source)
{
    for (uint64_t i = 0; i < source->count; i++)
        if (source->items[source->first + i].message->type == CBP_MESSAGE_EVENT)
            return ((const struct cbp_event_message *) (const void *) source->items[source->first + i]
                        .message)
                ->time_ns;
    return 0;
}

static uint32_t close_script(struct cbpi_transport *base)
{
    struct simulated *transport = lock(base);
    transport->player.is_closed = true;
    transport->player.again = NULL;
    cbpi_player_let_go(&transport->player);
    cbpi_script_log_close(transport->player.settings.script);
    cbpi_condition_broadcast(&transport->condition);
    return unlock(transport, 0);
}

static void release(struct cbpi_transport *base)
{
    struct simulated *transport = (struct simulated *) base;
    cbpi_player_free(&transport->player);
    cbpi_condition_destroy(&transport->condition);
    cbpi_mutex_destroy(&transport->mutex);
    free(transport);
}

/* ---- Requests ---- */

static uint32_t update(struct cbpi_transport *base, const struct cbpi_session_settings *settings)
{
    struct simulated *transport = lock(base);
    transport->player.settings = *settings;
    cbpi_population_update(&transport->player.population, settings);
    return unlock(transport, 0);
}

static uint32_t set_rules(struct cbpi_transport *base, const struct cbpi_rules_change *change)
{
    struct simulated *transport = lock(base);
    return unlock(transport, cbpi_population_set_rules(&transport->player.population, change));
}

static uint32_t process_capabilities(struct cbpi_transport *base, uint32_t process_id, uint32_t *capabilities)
{
    struct simulated *transport = lock(base);
    bool lives = cbpd_find_process(&transport->player.population.policy, process_id);
    cbpi_mutex_unlock(&transport->mutex);
    if (!lives)
        return cbpi_fail(CBP_ERROR_NOT_FOUND, "the script has no living process %u", process_id);
    *capabilities = CAPABILITIES;
    return 0;
}

static uint32_t trouble(struct cbpi_transport *base, char *text, uint64_t size)
{
    uint32_t code = 0;
    struct simulated *transport = lock(base);
    const struct cbpi_player *player = &transport->player;
    /* The messages before the trouble are played first. */
    if (!transport->is_trouble_told && (player->source.paced_count == 0 || player->is_closed)) {
        transport->is_trouble_told = true;
        code = player->source.trouble_code;
        snprintf(text, (size_t) size, "%s", player->source.trouble);
    }
    return unlock(transport, code);
}

/* ---- Deliveries ---- */

/* Waits for something to be played, or until the time of the machine's clock. The mutex is held. */
static void wait_until(struct simulated *transport, uint64_t until_ns)
{
    const struct cbpi_player *player = &transport->player;
    if (player->next_deadline_ns != 0 && player->next_deadline_ns - player->skipped_ns < until_ns)
        until_ns = player->next_deadline_ns - player->skipped_ns;
    transport->waiting_count++;
    cbpi_condition_wait_until(&transport->condition, &transport->mutex, until_ns);
    transport->waiting_count--;
}

/* Wakes the next worker, if there is something for it, too. */
static void wake_another(struct simulated *transport)
{
    if (transport->waiting_count > 0 && cbpi_player_is_ready(&transport->player))
        cbpi_condition_signal(&transport->condition);
}

static uint32_t next_operation(struct simulated *transport, uint32_t timeout_ms,
                               struct cbpi_operation **operation)
{
    struct cbpi_player *player = &transport->player;
    uint64_t limit_ns =
        timeout_ms == CBPI_WAIT_FOREVER ? UINT64_MAX : cbpi_now_ns() + timeout_ms * CBP_NS_PER_MS;
    for (;;) {
        uint64_t until_ns;
        if (player->is_closed)
            return CBP_ERROR_OPERATION_ABORTED;
        cbpi_player_expire(player);
        uint32_t error = cbpi_player_next(player, operation, &until_ns);
        if (error == CBP_ERROR_BROKEN_PIPE)
            cbpi_condition_broadcast(&transport->condition);
        if (error != CBP_ERROR_TIMEOUT || timeout_ms == 0 || cbpi_now_ns() >= limit_ns)
            return error;
        wait_until(transport, until_ns < limit_ns ? until_ns : limit_ns);
    }
}

static uint32_t hand_over(const struct cbpi_operation *operation, struct cbpi_delivery *delivery)
{
    uint32_t needed = (cbpi_event_decoded_size(operation->message) + 7u) & ~7u;
    if (delivery->capacity < needed) {
        delivery->capacity = needed;
        return CBP_ERROR_INSUFFICIENT_BUFFER;
    }
    cbpi_operation_tell(operation, delivery);
    return 0;
}

static uint32_t receive(struct cbpi_transport *base, struct cbpi_delivery *delivery, uint32_t timeout_ms,
                        uint32_t *pending)
{
    struct cbpi_operation *operation;
    uint32_t error = 0;
    struct simulated *transport = lock(base);
    if (*pending)
        operation = transport->player.slots[*pending - 1];
    else
        error = next_operation(transport, timeout_ms, &operation);
    if (error == 0) {
        error = hand_over(operation, delivery);
        *pending = error == CBP_ERROR_INSUFFICIENT_BUFFER ? operation->slot + 1 : 0;
    }
    if (error == 0 || error == CBP_ERROR_INVALID_DATA)
        wake_another(transport);
    return unlock(transport, error);
}

static void skip(struct cbpi_transport *base, uint32_t *pending)
{
    struct simulated *transport = lock(base);
    cbpi_player_skip(&transport->player, transport->player.slots[*pending - 1]);
    *pending = 0;
    wake_another(transport);
    cbpi_mutex_unlock(&transport->mutex);
}

static uint32_t backlog(struct cbpi_transport *base)
{
    struct simulated *transport = lock(base);
    const struct cbpi_player *player = &transport->player;
    uint64_t count = !player->is_closed && cbpi_player_is_ready(player)
                         ? player->source.count + (player->again ? 1 : 0)
                         : 0;
    return unlock(transport, count < UINT32_MAX ? (uint32_t) count : UINT32_MAX);
}

static uint32_t answer(struct cbpi_transport *base, const struct cbpi_delivery *delivery)
{
    struct simulated *transport = lock(base);
    struct cbpi_player *player = &transport->player;
    cbpi_player_expire(player);
    uint32_t error = cbpi_player_answer(player, player->slots[delivery->slot], delivery);
    wake_another(transport);
    return unlock(transport, error);
}

static uint32_t check(struct cbpi_transport *base, const struct cbpi_delivery *delivery)
{
    struct simulated *transport = lock(base);
    cbpi_player_expire(&transport->player);
    const struct cbpi_operation *operation = transport->player.slots[delivery->slot];
    return unlock(transport, operation->was_held && !operation->is_open ? CBP_ERROR_TIMEOUT : 0);
}

static uint32_t extend(struct cbpi_transport *base, const struct cbpi_delivery *delivery, uint32_t timeout_ms)
{
    uint32_t error = 0;
    struct simulated *transport = lock(base);
    struct cbpi_player *player = &transport->player;
    cbpi_player_expire(player);
    struct cbpi_operation *operation = player->slots[delivery->slot];
    if (operation->was_held && !operation->is_open)
        error = CBP_ERROR_TIMEOUT;
    else if (operation->was_held)
        cbpi_player_set_deadline(player, operation, timeout_ms);
    return unlock(transport, error);
}

static uint32_t beat(struct cbpi_transport *base)
{
    struct simulated *transport = lock(base);
    cbpi_player_expire(&transport->player);
    wake_another(transport);
    return unlock(transport, transport->player.is_dead ? CBP_ERROR_BROKEN_PIPE : 0);
}

static void counts(struct cbpi_transport *base, struct cbp_statistics *counts)
{
    struct simulated *transport = lock(base);
    cbpi_player_expire(&transport->player);
    *counts = transport->player.counts;
    counts->supervised = transport->player.population.policy.process_count;
    cbpi_mutex_unlock(&transport->mutex);
}

static bool next_failed(struct cbpi_transport *base, uint64_t *seen_count,
                        struct cbpi_failed_execution *failed)
{
    struct simulated *transport = lock(base);
    const struct cbpi_player *player = &transport->player;
    bool is_there = cbpi_next_failed(player->failed, player->counts.failed_after, seen_count, failed);
    cbpi_mutex_unlock(&transport->mutex);
    return is_there;
}

static const struct cbpi_transport_ops transport_ops = {
    .close = close_script,
    .release = release,
    .update = update,
    .set_rules = set_rules,
    .process_capabilities = process_capabilities,
    .receive = receive,
    .skip = skip,
    .backlog = backlog,
    .answer = answer,
    .check = check,
    .extend = extend,
    .beat = beat,
    .trouble = trouble,
    .counts = counts,
    .next_failed = next_failed,
};

static uint32_t open_script(const struct cbpi_session_settings *settings, struct cbpi_transport **transport)
{
    struct simulated *made = calloc(1, sizeof *made);
    if (!made)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a session");
    struct cbpi_player *player = &made->player;
    player->settings = *settings;
    made->base.ops = &transport_ops;
    uint32_t error = cbpi_population_init(&player->population, settings);
    if (error == 0 && settings->script_path[0])
        error = cbpi_source_load(&player->source, settings->script_path, settings->keeps_verdicts);
    if (error != 0) {
        cbpi_population_free(&player->population);
        free(made);
        return error;
    }
    player->first_time_ns = time_of_first_event(&player->source);
    cbpi_mutex_init(&made->mutex);
    cbpi_condition_init(&made->condition);
    cbpi_script_log_open(settings->script);
    cbpi_script_log_expect(settings->script, player->source.count, 0);
    *transport = &made->base;
    return 0;
}

/* ---- Scripts ---- */

static void begin(struct cbpi_transport *base)
{
    struct simulated *transport = lock(base);
    transport->player.begun_ns = cbpi_player_now_ns(&transport->player);
    cbpi_condition_broadcast(&transport->condition);
    cbpi_mutex_unlock(&transport->mutex);
}

static void deferred(struct cbpi_transport *base, const struct cbpi_delivery *delivery, uint32_t item)
{
    struct simulated *transport = lock(base);
    transport->player.slots[delivery->slot]->deferred_items |= 1u << item;
    cbpi_mutex_unlock(&transport->mutex);
}

static uint32_t play(struct cbpi_transport *base, const void *messages, uint64_t size)
{
    uint64_t count, verdict_count;
    struct simulated *transport = lock(base);
    struct cbpi_source *source = &transport->player.source;
    uint32_t error = transport->player.is_dead
                         ? cbpi_fail(CBP_ERROR_BROKEN_PIPE, "the driver has died, as the script wanted")
                         : cbpi_source_append(source, messages, size, &count, &verdict_count);
    if (error == 0) {
        error = cbpi_script_log_expect(transport->player.settings.script, count, verdict_count);
        if (error != 0)
            cbpi_source_take_back(source, count);
    }
    cbpi_condition_signal(&transport->condition);
    return unlock(transport, error);
}

static const struct cbpi_script_ops script_ops = {.begin = begin, .deferred = deferred, .play = play};

/* ---- The script's processes ---- */

/* Accepts any id, since any may come in a script: see cbpi_population_set_rules(). */
static uint32_t process_start_time(uint32_t process_id, uint64_t *start_time)
{
    if (process_id == 0)
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "no process has the id 0");
    *start_time = 0;
    return 0;
}

/* Keeps every rule: the driver knows which process a rule without a start time belongs to. */
static bool process_lives(uint32_t process_id, uint64_t start_time)
{
    (void) process_id;
    (void) start_time;
    return true;
}

static bool is_of_earlier(struct cbpi_transport *base, uint32_t rule_id, uint32_t process_id)
{
    struct simulated *transport = lock(base);
    bool is = cbpi_population_is_of_earlier(&transport->player.population, rule_id, process_id);
    cbpi_mutex_unlock(&transport->mutex);
    return is;
}

/* Gives no token for a script's process: the machine may have another one with its id. */
static int64_t process_token(uint32_t process_id, uint64_t start_time)
{
    (void) process_id;
    (void) start_time;
    return -1;
}

static uint32_t process_name(struct cbpi_transport *base, uint32_t process_id, char *buffer, uint64_t size,
                             uint64_t *needed)
{
    struct simulated *transport = lock(base);
    const struct cbpd_process *process = cbpd_find_process(&transport->player.population.policy, process_id);
    const struct cbpd_image *image = process ? process->image : NULL;
    uint32_t error = cbpi_copy_text(image ? image->files[0].path : "", image ? image->files[0].path_size : 0,
                                    buffer, size, needed);
    return unlock(transport, error);
}

static const struct cbpi_process_ops process_ops = {
    .start_time = process_start_time,
    .lives = process_lives,
    .is_of_earlier = is_of_earlier,
    .name = process_name,
    .token = process_token,
};

const struct cbpi_driver cbpi_simulated_driver = {
    .name = "simulated",
    .probe = probe,
    .open = open_script,
    .scripts = &script_ops,
    .processes = &process_ops,
};
