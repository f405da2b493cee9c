/* Implements player.h. */
#include "player.h"

#include "errors.h"
#include "memory.h"

#include <stdlib.h>
#include <string.h>

uint64_t cbpi_player_now_ns(const struct cbpi_player *player)
{
    return cbpi_now_ns() + player->skipped_ns;
}

/* ---- The end of an operation ---- */

/* Frees an operation that is not needed any more. */
static void free_if_done(struct cbpi_player *player, struct cbpi_operation *operation)
{
    if (operation->is_open || operation->handed_count > 0 || player->again == operation)
        return;
    player->slots[operation->slot] = NULL;
    if (operation->slot < player->free_slot)
        player->free_slot = operation->slot;
    player->live_count--;
    cbpi_operation_release(&player->population, operation);
    free(operation);
    cbpi_script_log_finish(player->settings.script);
}

/* Lets the operation happen, or be refused. */
static void conclude(struct cbpi_player *player, struct cbpi_operation *operation)
{
    player->counts.refused += operation->told.refused_count;
    /* A failure need not be taken back if no handler was told. */
    if (operation->modifiers.fails_after && operation->outcome.result_code == 0 && operation->sequence != 0)
        player->failed[player->counts.failed_after++ % CBPI_FAILED_MAX] =
            (struct cbpi_failed_execution){operation->sequence, operation->modifiers.os_error};
    cbpi_operation_take_effect(&player->population, operation);
}

static void log_verdict(struct cbpi_player *player, struct cbpi_operation *operation, uint32_t state)
{
    struct cbp_verdict verdict;
    operation->is_logged = true;
    if (operation->message->header.id == 0)
        return;
    cbpi_operation_verdict(operation, state, &verdict);
    cbpi_script_log_add(player->settings.script, &verdict);
}

static void settle(struct cbpi_player *player, struct cbpi_operation *operation, uint32_t state)
{
    operation->is_open = false;
    operation->actor->waiting_count--;
    *(operation->previous ? &operation->previous->next : &player->open) = operation->next;
    *(operation->next ? &operation->next->previous : &player->last_open) = operation->previous;
    if (state == CBP_VERDICT_TIMED_OUT) {
        player->counts.timed_out++;
        cbpi_operation_apply_timeout(&player->population, operation);
    }
    conclude(player, operation);
    log_verdict(player, operation, state);
}

/* Ends an operation whose handler was only told, and has returned. */
static void finish_unasked(struct cbpi_player *player, struct cbpi_operation *operation)
{
    operation->actor->waiting_count--;
    log_verdict(player, operation, operation->is_late ? CBP_VERDICT_TIMED_OUT : CBP_VERDICT_UNASKED);
}

void cbpi_player_expire(struct cbpi_player *player)
{
    uint64_t now_ns = cbpi_player_now_ns(player), next_ns = 0;
    if (player->next_deadline_ns == 0 || now_ns < player->next_deadline_ns)
        return;
    for (struct cbpi_operation *at = player->open, *next; at; at = next) {
        next = at->next;
        if (at->deadline_ns != 0 && now_ns >= at->deadline_ns) {
            settle(player, at, CBP_VERDICT_TIMED_OUT);
            free_if_done(player, at);
        } else if (at->deadline_ns != 0 && (next_ns == 0 || at->deadline_ns < next_ns)) {
            next_ns = at->deadline_ns;
        }
    }
    player->next_deadline_ns = next_ns;
}

void cbpi_player_let_go(struct cbpi_player *player)
{
    for (struct cbpi_operation *at = player->open, *next; at; at = next) {
        next = at->next;
        settle(player, at, CBP_VERDICT_LET_GO);
        free_if_done(player, at);
    }
}

uint32_t cbpi_player_answer(struct cbpi_player *player, struct cbpi_operation *operation,
                            const struct cbpi_delivery *delivery)
{
    uint64_t answered_ns = cbpi_player_now_ns(player) + operation->modifiers.delay_ns;
    uint32_t error = 0;
    operation->handed_count--;
    if (operation->is_open && operation->deadline_ns != 0 && answered_ns >= operation->deadline_ns) {
        settle(player, operation, CBP_VERDICT_TIMED_OUT);
        error = CBP_ERROR_TIMEOUT;
    } else if (operation->is_open) {
        cbpi_operation_apply_answer(&player->population, delivery, operation);
        settle(player, operation, CBP_VERDICT_ANSWERED);
    } else if (operation->was_held) {
        error = CBP_ERROR_TIMEOUT;
    } else if (!operation->is_logged) {
        finish_unasked(player, operation);
    }
    free_if_done(player, operation);
    return error;
}

void cbpi_player_skip(struct cbpi_player *player, struct cbpi_operation *operation)
{
    operation->handed_count--;
    if (operation->is_open)
        settle(player, operation, CBP_VERDICT_LET_GO);
    else if (!operation->is_logged)
        finish_unasked(player, operation);
    free_if_done(player, operation);
}

/* ---- The beginning of one ---- */

static uint32_t take_slot(struct cbpi_player *player, uint32_t *slot)
{
    uint32_t number = player->free_slot;
    while (number < player->slot_count && player->slots[number])
        number++;
    if (number == player->slot_count) {
        void *slots = cbpi_grow(player->slots, sizeof *player->slots, number + 1, &player->slot_capacity);
        if (!slots)
            return CBP_ERROR_NOT_ENOUGH_MEMORY;
        player->slots = slots;
        player->slots[player->slot_count++] = NULL;
    }
    player->free_slot = number;
    *slot = number;
    return 0;
}

void cbpi_player_set_deadline(struct cbpi_player *player, struct cbpi_operation *operation,
                              uint32_t timeout_ms)
{
    operation->deadline_ns = timeout_ms ? cbpi_player_now_ns(player) + timeout_ms * CBP_NS_PER_MS : 0;
    if (timeout_ms && (player->next_deadline_ns == 0 || operation->deadline_ns < player->next_deadline_ns))
        player->next_deadline_ns = operation->deadline_ns;
}

static void hold(struct cbpi_player *player, struct cbpi_operation *operation)
{
    operation->was_held = operation->is_open = true;
    operation->actor->waiting_count++;
    operation->previous = player->last_open;
    *(player->last_open ? &player->last_open->next : &player->open) = operation;
    player->last_open = operation;
    cbpi_player_set_deadline(player, operation, player->settings.policy.timeout_ms);
}

/* Decides what a new operation is: true if it is told. */
static bool classify(struct cbpi_player *player, struct cbpi_operation *operation)
{
    cbpi_operation_decide(&player->population, !player->has_no_controller, operation);
    player->counts.decided_by_rule += operation->told.decided_items != 0;
    if (operation->told.item_count > 0) {
        operation->sequence = player->sequence + 1;
        player->sequence += operation->told.item_count;
    }
    if (cbpi_operation_can_wait(operation) && !operation->modifiers.is_expired) {
        hold(player, operation);
        return true;
    }
    if (cbpi_operation_can_wait(operation)) {
        operation->is_late = true;
        player->counts.timed_out++;
        cbpi_operation_apply_timeout(&player->population, operation);
    }
    conclude(player, operation);
    if (operation->told.item_count == 0)
        return false;
    operation->actor->waiting_count++; /* so that handlers are told of a process in its order */
    return true;
}

/* Begins the operation of an event message whose turn it is. Gives it if a handler is to be told. */
static struct cbpi_operation *start_operation(struct cbpi_player *player, struct cbpi_source_item item)
{
    const struct cbp_event_message *message = (const void *) item.message;
    struct cbpi_operation *operation = malloc(sizeof *operation);
    uint32_t slot, error = operation ? take_slot(player, &slot) : CBP_ERROR_NOT_ENOUGH_MEMORY;
    if (error == 0)
        error = cbpi_operation_begin(&player->population, message, operation);
    if (error != 0) {
        player->counts.lost += message->item_count;
        player->sequence += message->item_count;
        free(operation);
        cbpi_source_release_block(item.block);
        cbpi_script_log_finish(player->settings.script);
        return NULL;
    }
    operation->block = item.block;
    operation->slot = slot;
    operation->modifiers = player->modifiers;
    operation->modifiers.is_expired |= item.is_expired;
    operation->modifiers.fails_after |= item.has_failed;
    operation->modifiers.os_error |= item.os_error;
    memset(&player->modifiers, 0, sizeof player->modifiers);
    player->slots[slot] = operation;
    player->live_count++;
    if (classify(player, operation))
        return operation;
    uint32_t state = operation->is_wanted ? CBP_VERDICT_LET_GO : CBP_VERDICT_SILENT;
    log_verdict(player, operation, operation->told.decided_items != 0 ? CBP_VERDICT_UNASKED : state);
    free_if_done(player, operation);
    return NULL;
}

/* ---- Steps ---- */

static void pass_time(struct cbpi_player *player, uint32_t ms)
{
    player->skipped_ns += ms * CBP_NS_PER_MS;
    cbpi_player_expire(player);
}

/* Takes a step; gives the code that next is to report, 0 for none. */
static uint32_t take_step(struct cbpi_player *player, const struct cbp_script_step *step)
{
    switch (step->kind) {
    case CBP_SCRIPT_SLOW_ANSWER:
        player->modifiers.delay_ns = step->value * CBP_NS_PER_MS;
        return 0;
    case CBP_SCRIPT_EXPIRED:
        player->modifiers.is_expired = true;
        return 0;
    case CBP_SCRIPT_DUPLICATE:
        player->modifiers.copy_count = step->value;
        return 0;
    case CBP_SCRIPT_FAILED_AFTER:
        player->modifiers.fails_after = true;
        return 0;
    case CBP_SCRIPT_MALFORMED:
        return CBP_ERROR_INVALID_DATA;
    case CBP_SCRIPT_LOSS:
        player->sequence += step->value;
        player->counts.lost += step->value;
        return 0;
    case CBP_SCRIPT_TIME:
        pass_time(player, step->value);
        return 0;
    case CBP_SCRIPT_CONTROLLER_DEATH:
        player->has_no_controller = true;
        cbpi_player_let_go(player);
        return 0;
    case CBP_SCRIPT_DRIVER_DEATH:
        player->is_dead = true;
        cbpi_player_let_go(player);
        return CBP_ERROR_BROKEN_PIPE;
    default:
        return 0; /* a barrier has done its work when it is taken */
    }
}

/* ---- What comes next ---- */

static bool is_waiting(const struct cbpi_population *population, uint32_t process_id)
{
    const struct cbpi_member *member =
        (const struct cbpi_member *) cbpd_find_process(&population->policy, process_id);
    return member && member->waiting_count > 0;
}

/* Says when the item may be played: 0 is now, UINT64_MAX after an answer, else a time of the machine's clock.
 */
static uint64_t due_ns(const struct cbpi_player *player, const struct cbpi_source_item *item)
{
    if (item->message->type == CBP_MESSAGE_SCRIPT_STEP) {
        const struct cbp_script_step *step = (const void *) item->message;
        return step->kind == CBP_SCRIPT_BARRIER && player->live_count > 0 ? UINT64_MAX : 0;
    }
    const struct cbp_event_message *message = (const void *) item->message;
    if (is_waiting(&player->population, message->process_id) ||
        is_waiting(&player->population, message->originator_process_id))
        return UINT64_MAX;
    if (!item->is_paced || player->settings.replay_speed == CBPI_REPLAY_MAX || player->first_time_ns == 0 ||
        message->time_ns < player->first_time_ns)
        return 0;
    uint64_t wanted_ns = player->begun_ns + (message->time_ns - player->first_time_ns);
    uint64_t now_ns = cbpi_player_now_ns(player);
    return now_ns >= wanted_ns ? 0 : wanted_ns - player->skipped_ns;
}

bool cbpi_player_is_ready(const struct cbpi_player *player)
{
    const struct cbpi_source_item *item = cbpi_source_peek(&player->source);
    if (player->begun_ns == 0 || player->is_dead)
        return false;
    return player->again || (item && due_ns(player, item) == 0);
}

/* Gives the last operation once more, if its message is to arrive again. */
static struct cbpi_operation *take_copy(struct cbpi_player *player)
{
    struct cbpi_operation *operation = player->again;
    if (operation && --operation->modifiers.copy_count == 0)
        player->again = NULL;
    return operation;
}

uint32_t cbpi_player_next(struct cbpi_player *player, struct cbpi_operation **operation, uint64_t *until_ns)
{
    struct cbpi_operation *found = take_copy(player);
    uint32_t error = 0;
    *until_ns = UINT64_MAX;
    while (!found && error == 0) {
        const struct cbpi_source_item *peeked = cbpi_source_peek(&player->source);
        if (player->is_dead)
            return CBP_ERROR_BROKEN_PIPE;
        if (player->begun_ns == 0 || !peeked)
            return CBP_ERROR_TIMEOUT;
        uint64_t due = due_ns(player, peeked);
        if (due != 0) {
            *until_ns = due;
            return CBP_ERROR_TIMEOUT;
        }
        struct cbpi_source_item item = cbpi_source_take(&player->source);
        if (item.message->type == CBP_MESSAGE_EVENT) {
            found = start_operation(player, item);
            if (found && found->modifiers.copy_count > 0)
                player->again = found;
        } else {
            error = take_step(player, (const void *) item.message);
            cbpi_source_release_block(item.block);
            cbpi_script_log_finish(player->settings.script);
        }
    }
    if (error != 0)
        return error;
    found->handed_count++;
    *operation = found;
    return 0;
}

void cbpi_player_free(struct cbpi_player *player)
{
    for (uint32_t i = 0; i < player->slot_count; i++)
        if (player->slots[i]) {
            cbpi_operation_release(&player->population, player->slots[i]);
            free(player->slots[i]);
        }
    free(player->slots);
    cbpi_source_free(&player->source);
    cbpi_population_free(&player->population);
}
