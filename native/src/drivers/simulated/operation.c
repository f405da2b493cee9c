/* Implements operation.h. */
#include "operation.h"

#include "errors.h"
#include "event_message.h"
#include "platform.h"

#include <string.h>

#define TERMINATIONS (uint32_t)(CBP_PROC_EVT_PROCESS_TERMINATION | CBP_PROC_EVT_THREAD_TERMINATION)

/* A script's message says this about an item; its other flags tell what became of the item when it was
 * recorded. */
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

static struct cbpd_image_file image_in(const struct cbp_event_message *message)
{
    const char *bytes = (const char *) message;
    return (struct cbpd_image_file){.path = bytes + message->process_name_offset,
                                    .given = bytes + message->image_file_name_offset,
                                    .path_size = message->process_name_size,
                                    .given_size = message->image_file_name_size};
}

/* Says whether the message tells of a process that begins: an execution, a fork, or its first thread. */
static bool begins_process(const struct cbp_event_message *message)
{
    return item_of(message, CBP_PROC_EVT_PROCESS_CREATION) ||
           (item_of(message, CBP_PROC_EVT_THREAD_CREATION) && message->thread_id == message->process_id);
}

static struct cbpd_process *find_or_add(struct cbpi_population *population, uint32_t process_id)
{
    struct cbpd_process *process = cbpd_find_process(&population->policy, process_id);
    return process || process_id == 0 ? process : cbpi_population_add(population, process_id, 0, NULL);
}

static struct cbpd_process *find_subject(struct cbpi_population *population,
                                         const struct cbp_event_message *message,
                                         struct cbpd_process *originator)
{
    struct cbpd_process *process = cbpd_find_process(&population->policy, message->process_id);
    uint64_t start_time = message->start_time;
    bool is_another =
        process && process->start_time != 0 && start_time != 0 && process->start_time != start_time;
    bool is_new = !process || (is_another && begins_process(message));
    if (is_new) {
        /* The parent is the best guess at the creator of a process that has not been told of before. */
        bool is_created = begins_process(message) && originator && originator->pid != message->process_id;
        struct cbpd_process *parent =
            is_created ? originator : cbpd_find_process(&population->policy, message->parent_process_id);
        process = cbpi_population_add(population, message->process_id, start_time,
                                      parent != process ? parent : NULL);
    }
    if (!process)
        return NULL;
    if (process->start_time == 0 && start_time != 0) {
        process->start_time = start_time;
        cbpd_rename_standing(process);
    }
    struct cbpd_image_file image = image_in(message);
    if ((is_new || !process->image) && image.path_size > 0 &&
        !item_of(message, CBP_PROC_EVT_PROCESS_CREATION))
        cbpi_population_execute(population, process, &image);
    return process;
}

uint32_t cbpi_operation_begin(struct cbpi_population *population, const struct cbp_event_message *message,
                              struct cbpi_operation *operation)
{
    struct cbpd_process *originator = find_or_add(population, message->originator_process_id);
    if (originator)
        originator->reference_count++;
    struct cbpd_process *subject = find_subject(population, message, originator);
    if (!subject || (!originator && message->originator_process_id != 0)) {
        cbpd_release_process(&population->policy, originator);
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for a script's process");
    }
    subject->reference_count++;
    memset(operation, 0, sizeof *operation);
    operation->message = message;
    operation->subject = subject;
    operation->originator = originator;
    bool acts = originator && item_of(message, CBPD_HANDLE_OPERATIONS);
    operation->actor = (struct cbpi_member *) (acts ? originator : subject);
    return 0;
}

/* ---- What rules make of it ---- */

/* Keeps a decision that was recorded: it stands, unless the rules of today decide, too. */
static void put_recorded(const struct cbp_event_message *message, uint32_t position,
                         struct cbpd_request *request)
{
    const struct cbp_event_item *item = &cbp_event_items_const(message)[position];
    const uint32_t lost_access = message->original_desired_access & ~item->desired_access;
    struct cbp_decision *decision = &request->recorded[position];
    if (!(item->flags & CBP_EVENT_FLAG_DECIDED_BY_RULE))
        return;
    request->recorded_items |= 1u << position;
    decision->outcome = CBP_OUTCOME_ALLOW;
    /* Rules refuse no handle operation: the code of one is a handler's answer. */
    if (item->type & (CBP_PROC_EVT_PROCESS_CREATION | CBPD_HANDLE_OPERATIONS) && item->result_code != 0) {
        decision->outcome = CBP_OUTCOME_DENY;
        decision->deny_code = item->result_code;
    } else if (item->type & CBPD_HANDLE_OPERATIONS && lost_access != 0) {
        decision->outcome = CBP_OUTCOME_STRIP;
        decision->strip_mask = lost_access;
    }
}

/* Gives the subject's stances; for an execution, under the image that it will have. stances has room for
 * them. */
static const struct cbp_stance *subject_of(struct cbpi_population *population,
                                           const struct cbpi_operation *operation, struct cbp_stance *stances)
{
    struct cbpd_policy *policy = &population->policy;
    struct cbpd_process *process = operation->subject;
    const struct cbpd_image_file file = image_in(operation->message);
    struct cbpd_image *image = NULL;
    if (item_of(operation->message, CBP_PROC_EVT_PROCESS_CREATION) && file.path_size > 0)
        image = cbpd_make_image(policy, &file, 1, false);
    if (!image)
        return cbpd_stances_of(policy, process);
    cbpd_stances_under_image(policy, process, image, stances);
    cbpd_release_image(policy, image);
    return stances;
}

/* Puts the operation as a question to the rules. */
static void make_request(struct cbpi_population *population, const struct cbpi_operation *operation,
                         struct cbp_stance *stances, struct cbpd_request *request)
{
    const struct cbp_event_message *message = operation->message;
    const struct cbp_event_item *items = cbp_event_items_const(message);
    struct cbpd_policy *policy = &population->policy;
    struct cbpd_process *originator = operation->originator;
    *request =
        (struct cbpd_request){.item_count = message->item_count, .access = message->original_desired_access};
    request->subject = subject_of(population, operation, stances);
    for (uint32_t i = 0; i < message->item_count; i++) {
        request->types[i] = items[i].type;
        request->flags[i] = items[i].flags & FACTS;
        put_recorded(message, i, request);
    }
    if (item_of(message, TERMINATIONS))
        request->originator = request->subject;
    else if (originator) /* which, where it executes a program in its own place, is what it still is */
        request->originator = cbpd_stances_of(policy, originator);
    if (originator && item_of(message, CBPD_HANDLE_OPERATIONS)) {
        cbpd_begin_search(policy, originator);
        request->is_by_creator = cbpd_is_protected_creator(policy, originator, operation->subject);
    }
}

/* Notes what rules have decided about each item, and which of them a handler is told. */
static void note_decisions(const struct cbpd_request *request, bool can_ask, struct cbpi_operation *operation)
{
    struct cbpd_selection *told = &operation->told;
    for (uint32_t i = 0; i < request->item_count; i++) {
        const struct cbp_decision decision = cbpd_decide(request, CBPI_SCRIPT_SESSION, i);
        struct cbp_event_item *item = &operation->items[i];
        item->type = request->types[i];
        item->flags = request->flags[i];
        if (!(told->decided_items & 1u << i))
            continue;
        item->flags |= CBP_EVENT_FLAG_DECIDED_BY_RULE;
        item->result_code = decision.deny_code;
        item->desired_access = request->access & ~decision.strip_mask;
    }
    operation->is_wanted = told->item_count > 0;
    told->item_count = can_ask ? told->item_count : 0;
    for (uint32_t i = 0; i < told->item_count; i++) {
        uint32_t at = told->items[i];
        uint32_t recorded_flags = cbp_event_items_const(operation->message)[at].flags;
        operation->items[at].result_code = told->result_codes[i];
        operation->items[at].desired_access = request->access & ~told->strip_masks[i];
        if (!(told->flags[i] & CBP_EVENT_FLAG_DECIDED_BY_RULE))
            operation->is_asked |= (recorded_flags & (CBP_EVENT_FLAG_HELD | CBP_EVENT_FLAG_TIMED_OUT)) != 0;
    }
}

void cbpi_operation_decide(struct cbpi_population *population, bool can_ask, struct cbpi_operation *operation)
{
    struct cbp_stance stances[CBP_SESSION_MAX];
    struct cbpd_request request;
    struct cbpd_refusal refusal = {0};
    for (uint32_t i = 0; i < operation->message->item_count; i++)
        operation->items[i].desired_access = operation->message->original_desired_access;
    /* An operation of a process on itself is no operation on a handle. */
    if (item_of(operation->message, CBPD_HANDLE_OPERATIONS) && operation->originator == operation->subject)
        return;
    make_request(population, operation, stances, &request);
    cbpd_select(&population->policy, &request, CBPI_SCRIPT_SESSION, &operation->told, &refusal);
    cbpd_refuse_by_rules(&population->policy, &refusal, &operation->outcome);
    note_decisions(&request, can_ask, operation);
}

bool cbpi_operation_can_wait(const struct cbpi_operation *operation)
{
    return operation->is_asked && operation->outcome.result_code == 0 && !operation->outcome.is_stripped;
}

/* ---- Answers and what follows ---- */

static bool is_refusable(const struct cbpi_operation *operation, uint32_t number)
{
    return (operation->told.answerable.refusable_items & 1u << number) != 0;
}

/* Takes the items that are told as an answer or a deadline leaves them. */
static void settle(const struct cbpi_population *population, const struct cbp_event_item *answers,
                   struct cbpi_operation *operation)
{
    struct cbpd_selection *told = &operation->told;
    for (uint32_t i = 0; i < told->item_count; i++)
        if (is_refusable(operation, i)) {
            struct cbp_event_item *item = &operation->items[told->items[i]];
            item->result_code = answers[i].result_code;
            item->desired_access = answers[i].desired_access & operation->message->original_desired_access;
        }
    told->refused_count += cbpd_apply_answer(&population->policy, CBPI_SCRIPT_SESSION, &told->answerable,
                                             answers, &operation->outcome);
}

void cbpi_operation_apply_answer(const struct cbpi_population *population, const struct cbpi_delivery *answer,
                                 struct cbpi_operation *operation)
{
    settle(population, answer->items, operation);
}

void cbpi_operation_apply_timeout(const struct cbpi_population *population, struct cbpi_operation *operation)
{
    struct cbp_event_item answers[CBP_BATCH_MAX] = {0};
    for (uint32_t i = 0; i < operation->told.item_count; i++) {
        bool is_creation = operation->items[operation->told.items[i]].type == CBP_PROC_EVT_PROCESS_CREATION;
        answers[i].result_code = cbpd_timeout_code(&population->policy, CBPI_SCRIPT_SESSION, is_creation);
        answers[i].desired_access = operation->message->original_desired_access;
    }
    settle(population, answers, operation);
}

void cbpi_operation_take_effect(struct cbpi_population *population, struct cbpi_operation *operation)
{
    const struct cbp_event_message *message = operation->message;
    struct cbpd_image_file image = image_in(message);
    bool happens = operation->outcome.result_code == 0 && !operation->modifiers.fails_after;
    if (happens && image.path_size > 0 && item_of(message, CBP_PROC_EVT_PROCESS_CREATION))
        cbpi_population_execute(population, operation->subject, &image);
    if (item_of(message, CBP_PROC_EVT_PROCESS_TERMINATION))
        cbpi_population_end(population, operation->subject);
}

void cbpi_operation_tell(const struct cbpi_operation *operation, struct cbpi_delivery *delivery)
{
    struct cbp_event *event = delivery->event;
    cbpi_event_decode(operation->message, delivery);
    delivery->count = operation->told.item_count;
    delivery->slot = operation->slot;
    delivery->nobody_waits = !operation->was_held;
    for (uint32_t i = 0; i < delivery->count; i++) {
        struct cbp_event_item *item = &delivery->items[i];
        *item = operation->items[operation->told.items[i]];
        if (item->flags & CBP_EVENT_FLAG_DECIDED_BY_RULE)
            continue;
        if (operation->was_held)
            item->flags |= CBP_EVENT_FLAG_HELD | (is_refusable(operation, i) ? CBP_EVENT_FLAG_REFUSABLE : 0);
        if (operation->is_late)
            item->flags |= CBP_EVENT_FLAG_TIMED_OUT;
        /* A handler is told what rules have decided, never what another copy was answered. */
        item->result_code = 0;
        item->desired_access = operation->message->original_desired_access;
    }
    cbpi_event_take(event, &delivery->items[0]);
    event->sequence = operation->sequence;
    if (event->time_ns == 0)
        event->time_ns = cbpi_wall_ns();
}

void cbpi_operation_verdict(const struct cbpi_operation *operation, uint32_t state,
                            struct cbp_verdict *verdict)
{
    cbpi_verdict_fill(verdict, operation->message->header.id, operation->sequence, operation->items,
                      operation->message->item_count, state);
    for (uint32_t i = 0; i < operation->told.item_count; i++)
        if (operation->deferred_items & 1u << i)
            verdict->deferred_items |= 1u << operation->told.items[i];
}

void cbpi_operation_release(struct cbpi_population *population, struct cbpi_operation *operation)
{
    cbpd_release_process(&population->policy, operation->subject);
    cbpd_release_process(&population->policy, operation->originator);
    cbpi_source_release_block(operation->block);
}
