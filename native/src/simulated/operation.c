/* See operation.h. */
#include "operation.h"

#include "errors.h"
#include "event_decode.h"
#include "platform.h"

#include <string.h>

#define HANDLE_OPERATIONS                                                                                    \
    (uint32_t)(CBP_PROC_EVT_PROCESS_HANDLE_OPERATION | CBP_PROC_EVT_THREAD_HANDLE_OPERATION)

#define TERMINATIONS (uint32_t)(CBP_PROC_EVT_PROCESS_TERMINATION | CBP_PROC_EVT_THREAD_TERMINATION)

/* What a script's message says about an item, as opposed to what became of it when it was recorded. */
#define FACTS                                                                                                \
    (uint32_t)(CBP_EVENT_FLAG_DUPLICATION | CBP_EVENT_FLAG_CHANGED | CBP_EVENT_FLAG_ARGUMENTS_TRUNCATED |    \
               CBP_EVENT_FLAG_FORK)

/* ---- Whom it is about ---- */

static const struct cbp_event_item *item_of(const struct cbp_event_message *message, uint32_t type)
{
    const struct cbp_event_item *items = cbp_event_items_const(message);
    for (uint32_t i = 0; i < message->item_count; i++)
        if (items[i].type & type)
            return &items[i];
    return NULL;
}

static struct cbpi_image image_in(const struct cbp_event_message *message)
{
    const char *bytes = (const char *) message;
    return (struct cbpi_image){.path = bytes + message->process_name_offset,
                               .given = bytes + message->image_file_name_offset,
                               .path_size = message->process_name_size,
                               .given_size = message->image_file_name_size};
}

/* Whether the message tells of a process that begins: an execution, a fork, or its first thread. */
static int begins_process(const struct cbp_event_message *message)
{
    return item_of(message, CBP_PROC_EVT_PROCESS_CREATION) != NULL ||
           (item_of(message, CBP_PROC_EVT_THREAD_CREATION) && message->thread_id == message->process_id);
}

static struct cbpi_member *find_or_add(struct cbpi_population *population, uint32_t process_id)
{
    struct cbpi_member *member = cbpi_population_find(population, process_id);
    return member || process_id == 0 ? member : cbpi_population_add(population, process_id, 0, NULL);
}

static struct cbpi_member *find_subject(struct cbpi_population *population,
                                        const struct cbp_event_message *message,
                                        struct cbpi_member *originator)
{
    struct cbpi_member *member = cbpi_population_find(population, message->process_id);
    uint64_t start_time = message->start_time;
    int is_new = 0;
    int is_another = member && member->start_time != 0 && start_time != 0 && member->start_time != start_time;
    if (!member || (is_another && begins_process(message))) {
        struct cbpi_member *parent = NULL;
        /* Of one that nobody was told of before, its parent is the best guess at who has created it. */
        if (begins_process(message) && originator && originator->process_id != message->process_id)
            parent = originator;
        else
            parent = cbpi_population_find(population, message->parent_process_id);
        if (parent == member)
            parent = NULL;
        member = cbpi_population_add(population, message->process_id, start_time, parent);
        is_new = 1;
    }
    if (member && member->start_time == 0 && start_time != 0)
        cbpi_member_set_start_time(member, start_time);
    struct cbpi_image image = image_in(message);
    if (member && (is_new || member->image.path_size == 0) && image.path_size > 0 &&
        !item_of(message, CBP_PROC_EVT_PROCESS_CREATION))
        cbpi_member_execute(member, &image);
    return member;
}

uint32_t cbpi_operation_begin(struct cbpi_population *population, const struct cbp_event_message *message,
                              struct cbpi_operation *operation)
{
    struct cbpi_member *originator =
        cbpi_member_hold(find_or_add(population, message->originator_process_id));
    struct cbpi_member *subject = cbpi_member_hold(find_subject(population, message, originator));
    if (!subject || (!originator && message->originator_process_id != 0)) {
        cbpi_member_release(population, originator);
        cbpi_member_release(population, subject);
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a script's process");
    }
    memset(operation, 0, sizeof *operation);
    operation->message = message;
    operation->subject = subject;
    operation->originator = originator;
    operation->actor = item_of(message, HANDLE_OPERATIONS) && originator ? originator : subject;
    return 0;
}

/* ---- What rules make of it ---- */

/* Whether the originator of an operation has created its subject, or who did, and has been protected as it is
 * for as long (decision 5). */
static int is_by_protected_creator(const struct cbpi_operation *operation)
{
    const struct cbpi_member *descendant = operation->subject;
    while (descendant && descendant->parent != operation->originator)
        descendant = descendant->parent;
    return descendant && operation->originator && descendant->creator_tenure == operation->originator->tenure;
}

/* What the rules say about an item; strip_mask is what is lost of the access that is asked for. */
static struct cbp_decision ask_rules(const struct cbpi_population *population,
                                     const struct cbpi_operation *operation, uint32_t type)
{
    const struct cbp_event_message *message = operation->message;
    struct cbpi_image new_image = image_in(message);
    int is_creation = item_of(message, CBP_PROC_EVT_PROCESS_CREATION) && message->process_name_size > 0;
    struct cbp_stance subject = cbpi_population_stance(population, operation->subject,
                                                       is_creation ? &new_image : &operation->subject->image);
    struct cbp_stance asker = subject;
    if (type & HANDLE_OPERATIONS && operation->originator == operation->subject)
        return (struct cbp_decision){.outcome = CBP_OUTCOME_SILENT, .is_silent = 1}; /* on oneself */
    /* Who executes a program in its own place asks for it as what it still is. */
    if (!(type & TERMINATIONS))
        asker = cbpi_population_stance(population, operation->originator,
                                       operation->originator ? &operation->originator->image : NULL);
    if (type & HANDLE_OPERATIONS && is_by_protected_creator(operation))
        subject.strip_mask &= ~asker.strip_mask;
    uint32_t bits = type == CBP_PROC_EVT_PROCESS_CREATION ? CBP_OPERATION_REFUSABLE : 0, lost_access = 0;
    if (type == CBP_PROC_EVT_PROCESS_HANDLE_OPERATION)
        lost_access = message->original_desired_access & subject.strip_mask;
    else if (type == CBP_PROC_EVT_THREAD_HANDLE_OPERATION)
        lost_access = message->original_desired_access & cbp_thread_rights_of(subject.strip_mask);
    if (lost_access != 0)
        bits |= CBP_OPERATION_HAS_ACCESS;
    struct cbp_decision decision = cbp_decide(bits, &asker, &subject);
    decision.strip_mask = lost_access;
    return decision;
}

/* A decision that was recorded stands, unless the rules of today decide too. */
static struct cbp_decision decide_item(const struct cbpi_population *population,
                                       const struct cbpi_operation *operation,
                                       const struct cbp_event_item *item)
{
    uint32_t lost_access = operation->message->original_desired_access & ~item->desired_access;
    struct cbp_decision decision = ask_rules(population, operation, item->type);
    if (!(item->flags & CBP_EVENT_FLAG_DECIDED_BY_RULE) ||
        (decision.outcome != CBP_OUTCOME_ASK && decision.outcome != CBP_OUTCOME_ALLOW))
        return decision;
    decision.outcome = CBP_OUTCOME_ALLOW;
    /* Rules refuse no handle operation: the code of one is a handler's answer. */
    if (item->type & (CBP_PROC_EVT_PROCESS_CREATION | HANDLE_OPERATIONS) && item->result_code != 0) {
        decision.outcome = CBP_OUTCOME_DENY;
        decision.deny_code = item->result_code;
    } else if (item->type & HANDLE_OPERATIONS && lost_access != 0) {
        decision.outcome = CBP_OUTCOME_STRIP;
        decision.strip_mask = lost_access;
    }
    return decision;
}

static int is_wanted(const struct cbp_event_item *item, const struct cbpi_session_settings *settings)
{
    return (settings->events & item->type) != 0 &&
           (!(item->flags & CBP_EVENT_FLAG_FORK) || settings->fork_is_creation);
}

static void note_refusal(struct cbpi_operation *operation, enum cbp_outcome outcome, uint32_t deny_code)
{
    operation->refused_count++;
    if (outcome == CBP_OUTCOME_STRIP)
        operation->is_stripped = 1;
    else if (operation->refusal == 0)
        operation->refusal = deny_code;
}

/* Rules are in force whether the event is wanted or not; a fork that is no creation is nothing at all. */
static void select_item(const struct cbpi_population *population,
                        const struct cbpi_session_settings *settings, uint32_t position, uint32_t can_ask,
                        struct cbpi_operation *operation)
{
    const struct cbp_event_item *item = &cbp_event_items_const(operation->message)[position];
    const struct cbp_decision decision = decide_item(population, operation, item);
    const uint32_t access = operation->message->original_desired_access & ~decision.strip_mask;
    enum cbp_outcome outcome = decision.outcome;
    int is_refused = outcome == CBP_OUTCOME_DENY || outcome == CBP_OUTCOME_STRIP;
    int wanted = is_wanted(item, settings);
    if (outcome == CBP_OUTCOME_SILENT || (!wanted && (!is_refused || item->flags & CBP_EVENT_FLAG_FORK)))
        return;
    if (is_refused)
        note_refusal(operation, outcome, decision.deny_code);
    operation->is_decided |= outcome != CBP_OUTCOME_ASK;
    operation->decided_items |= (uint32_t) (outcome != CBP_OUTCOME_ASK) << position;
    operation->rule_codes[position] = decision.deny_code;
    operation->rule_access[position] = access;
    if (!wanted || decision.is_silent)
        return;
    operation->is_wanted = 1;
    if (!can_ask)
        return;
    uint32_t at = operation->item_count++;
    operation->positions[at] = position;
    operation->types[at] = item->type;
    operation->flags[at] = item->flags & FACTS;
    operation->result_codes[at] = decision.deny_code;
    operation->desired_access[at] = access;
    if (outcome == CBP_OUTCOME_ASK)
        operation->is_asked |= item->flags & (CBP_EVENT_FLAG_HELD | CBP_EVENT_FLAG_TIMED_OUT);
    else
        operation->flags[at] |= CBP_EVENT_FLAG_DECIDED_BY_RULE;
}

void cbpi_operation_decide(const struct cbpi_population *population,
                           const struct cbpi_session_settings *settings, uint32_t can_ask,
                           struct cbpi_operation *operation)
{
    for (uint32_t i = 0; i < operation->message->item_count; i++) {
        operation->rule_access[i] = operation->message->original_desired_access;
        select_item(population, settings, i, can_ask, operation);
    }
}

uint32_t cbpi_operation_can_wait(const struct cbpi_operation *operation)
{
    return operation->is_asked && operation->refusal == 0 && !operation->is_stripped;
}

/* ---- Answers and what follows ---- */

static int is_refusable(const struct cbpi_operation *operation, uint32_t item)
{
    return !(operation->flags[item] & CBP_EVENT_FLAG_DECIDED_BY_RULE) &&
           operation->types[item] & (HANDLE_OPERATIONS | CBP_PROC_EVT_PROCESS_CREATION);
}

void cbpi_operation_apply_answer(struct cbpi_operation *operation, const struct cbpi_delivery *answer)
{
    uint32_t asked_access = operation->message->original_desired_access;
    for (uint32_t i = 0; i < operation->item_count; i++) {
        if (!is_refusable(operation, i))
            continue;
        operation->result_codes[i] = answer->result_codes[i];
        operation->desired_access[i] = answer->desired_access[i] & asked_access;
        if (operation->result_codes[i] != 0)
            note_refusal(operation, CBP_OUTCOME_DENY, operation->result_codes[i]);
        else if (operation->types[i] & HANDLE_OPERATIONS && operation->desired_access[i] != asked_access)
            note_refusal(operation, CBP_OUTCOME_STRIP, 0);
    }
}

void cbpi_operation_apply_timeout(struct cbpi_operation *operation,
                                  const struct cbpi_session_settings *settings)
{
    if (settings->timeout_action != CBP_TIMEOUT_ACTION_DENY)
        return;
    for (uint32_t i = 0; i < operation->item_count; i++)
        if (operation->types[i] == CBP_PROC_EVT_PROCESS_CREATION && is_refusable(operation, i)) {
            operation->result_codes[i] = CBP_ERROR_TIMEOUT;
            note_refusal(operation, CBP_OUTCOME_DENY, CBP_ERROR_TIMEOUT);
        }
}

static void execute(const struct cbpi_population *population, struct cbpi_member *member,
                    const struct cbpi_image *image)
{
    uint32_t before = cbpi_population_stance(population, member, &member->image).strip_mask;
    cbpi_member_execute(member, image);
    uint32_t after = cbpi_population_stance(population, member, &member->image).strip_mask;
    member->tenure += before == 0 || before != after;
}

void cbpi_operation_take_effect(struct cbpi_population *population, struct cbpi_operation *operation)
{
    const struct cbp_event_message *message = operation->message;
    struct cbpi_image image = image_in(message);
    int happens = operation->refusal == 0 && !operation->modifiers.fails_after;
    if (happens && image.path_size > 0 && item_of(message, CBP_PROC_EVT_PROCESS_CREATION))
        execute(population, operation->subject, &image);
    if (item_of(message, CBP_PROC_EVT_PROCESS_TERMINATION))
        cbpi_population_end(population, operation->subject);
}

void cbpi_operation_tell(const struct cbpi_operation *operation, struct cbpi_delivery *delivery)
{
    struct cbp_event *event = delivery->event;
    cbpi_event_decode(operation->message, delivery);
    delivery->count = operation->item_count;
    delivery->slot = operation->slot;
    delivery->nobody_waits = !operation->was_held;
    for (uint32_t i = 0; i < operation->item_count; i++) {
        uint32_t flags = operation->flags[i];
        if (operation->was_held && !(flags & CBP_EVENT_FLAG_DECIDED_BY_RULE))
            flags |= CBP_EVENT_FLAG_HELD | (is_refusable(operation, i) ? CBP_EVENT_FLAG_REFUSABLE : 0);
        if (operation->is_late && !(flags & CBP_EVENT_FLAG_DECIDED_BY_RULE))
            flags |= CBP_EVENT_FLAG_TIMED_OUT;
        delivery->items[i][0] = operation->types[i];
        delivery->items[i][1] = flags;
        /* A handler is told what rules have decided, never what another copy was answered. */
        int is_decided = (flags & CBP_EVENT_FLAG_DECIDED_BY_RULE) != 0;
        delivery->result_codes[i] = is_decided ? operation->result_codes[i] : 0;
        delivery->desired_access[i] =
            is_decided ? operation->desired_access[i] : operation->message->original_desired_access;
    }
    event->type = delivery->items[0][0];
    event->flags = delivery->items[0][1];
    event->result_code = delivery->result_codes[0];
    event->desired_access = delivery->desired_access[0];
    event->sequence = operation->sequence;
    if (event->time_ns == 0)
        event->time_ns = cbpi_wall_ns();
}

void cbpi_operation_verdict(const struct cbpi_operation *operation, uint32_t state,
                            struct cbp_verdict *verdict)
{
    memset(verdict, 0, sizeof *verdict);
    uint32_t *result_codes = &verdict->result_code0, *desired_access = &verdict->desired_access0;
    verdict->header.size = (uint32_t) sizeof *verdict;
    verdict->header.type = CBP_MESSAGE_VERDICT;
    verdict->header.id = operation->message->header.id;
    verdict->sequence = operation->sequence;
    verdict->time_ns = cbpi_wall_ns();
    verdict->state = state;
    verdict->item_count = operation->message->item_count;
    verdict->decided_items = operation->decided_items;
    for (uint32_t i = 0; i < verdict->item_count; i++) {
        result_codes[i] = operation->rule_codes[i];
        desired_access[i] = operation->rule_access[i];
    }
    for (uint32_t i = 0; i < operation->item_count; i++) {
        uint32_t at = operation->positions[i];
        result_codes[at] = operation->result_codes[i];
        desired_access[at] = operation->desired_access[i];
        if (operation->deferred_items & 1u << i)
            verdict->deferred_items |= 1u << at;
    }
}

void cbpi_operation_release(struct cbpi_population *population, struct cbpi_operation *operation)
{
    cbpi_member_release(population, operation->subject);
    cbpi_member_release(population, operation->originator);
    cbpi_source_release_block(operation->block);
}
