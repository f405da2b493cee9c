/* Who is told what: from a report on a task to one message for each session that wants it. Knows sessions and
 * stances; how a message travels and how long it may take is slots.c's business. */
#include <string.h>

#include "cbp_atomic.h"
#include "cbp_message_check.h"
#include "supervisor.h"

/* ---- Messages ---- */

static uint32_t put_text(struct cbp_event_message *message, uint32_t *offset, const char *text, uint32_t size)
{
    *offset = size > 0 ? message->header.size : 0;
    if (size > 0)
        memcpy((char *) message + message->header.size, text, size);
    message->header.size += size;
    return size;
}

static uint32_t message_size_of(const struct report *report)
{
    const struct image *image = report->image;
    uint32_t names_size = image != NULL ? image->path_size + image->given_size : 0;
    return (uint32_t) sizeof(struct cbp_event_message) + names_size + report->arguments_size;
}

static void fill_message(struct cbp_event_message *message, const struct report *report, uint32_t session_id,
                         uint64_t deadline_ns)
{
    struct process *process = report->process;
    const struct image *image = report->image;
    memset(message, 0, sizeof *message);
    message->header.size = sizeof *message;
    message->header.type = CBP_MESSAGE_EVENT;
    message->header.deadline_ns = deadline_ns;
    message->time_ns = wall_ns();
    message->start_time = process->start_time;
    message->session_id = session_id;
    message->process_id = process->pid;
    message->thread_id = report->thread_id;
    message->parent_process_id = parent_of(process);
    message->originator_process_id = report->originator_pid;
    message->originator_thread_id = report->originator_tid;
    message->source_process_id = report->source_pid;
    message->target_process_id = report->target_pid;
    message->original_desired_access = report->access;
    message->user_id = report->user_id;
    message->exit_status = report->exit_status;
    message->capabilities = capabilities_of(process);
    if (image != NULL) {
        message->process_name_size =
            put_text(message, &message->process_name_offset, image->path, image->path_size);
        message->image_file_name_size =
            put_text(message, &message->image_file_name_offset, image->given, image->given_size);
    }
    message->arguments_size =
        put_text(message, &message->arguments_offset, report->arguments, report->arguments_size);
}

/* ---- Telling the sessions ---- */

/* strip_mask is what is lost of the access that is asked for. */
static struct cbp_decision decide(const struct report *report, uint32_t session_id, uint32_t type)
{
    static const struct cbp_stance nobody;
    const struct cbp_stance *subject = report->subject != NULL ? &report->subject[session_id] : &nobody;
    const struct cbp_stance *originator =
        report->originator != NULL ? &report->originator[session_id] : &nobody;
    /* What is protected keeps its rights to what it has created while it was: its forks above all, which have
     * its name. */
    uint32_t lost = 0, stripped = subject->strip_mask & ~(report->is_by_creator ? originator->strip_mask : 0);
    if (type == CBP_PROC_EVT_PROCESS_HANDLE_OPERATION)
        lost = report->access & stripped;
    else if (type == CBP_PROC_EVT_THREAD_HANDLE_OPERATION)
        lost = report->access & cbp_thread_rights_of(stripped);
    uint32_t operation = type == CBP_PROC_EVT_PROCESS_CREATION ? CBP_OPERATION_REFUSABLE : 0;
    if (lost != 0)
        operation |= CBP_OPERATION_HAS_ACCESS;
    struct cbp_decision decision = cbp_decide(operation, originator, subject);
    decision.strip_mask = lost;
    return decision;
}

static uint64_t deadline_of(const struct report *report, uint32_t session_id, uint64_t now)
{
    uint32_t timeout_ms = self.sessions[session_id].timeout_ms;
    uint64_t since_ns = report->since_ns != 0 ? report->since_ns : now;
    return timeout_ms != 0 ? since_ns + timeout_ms * UINT64_C(1000000) : 0;
}

/* An operation that has waited for memory until its deadline. */
static bool is_overdue(const struct report *report, uint32_t session_id, uint64_t now)
{
    uint64_t deadline_ns = deadline_of(report, session_id, now);
    return deadline_ns != 0 && now >= deadline_ns;
}

/* What one session is told of a report. */
struct selection {
    uint32_t session_id;
    uint32_t item_count;
    uint32_t items[CBP_BATCH_MAX]; /* indexes into the report */
    uint32_t flags[CBP_BATCH_MAX];
    uint32_t result_codes[CBP_BATCH_MAX]; /* with which a rule refuses */
    uint32_t strip_masks[CBP_BATCH_MAX];  /* what rules take away */
    struct answerable answerable;
    bool asked;
    bool decided;
};

/* What rules refuse or take away, for the operation as a whole. */
struct refusal {
    uint32_t code;
    bool is_stripped;
};

/* Whether the session's handlers want to know. Rules are in force whether they do or not. */
static bool is_wanted(const struct report *report, const struct session *session, uint32_t item)
{
    return (session->events & report->types[item]) != 0 &&
           ((report->flags[item] & CBP_EVENT_FLAG_FORK) == 0 ||
            (session->flags & CBP_SESSION_FLAG_FORK_IS_CREATION) != 0);
}

static void select_item(const struct report *report, uint32_t item, struct selection *selection,
                        struct refusal *refusal)
{
    uint32_t type = report->types[item];
    struct cbp_decision decision = decide(report, selection->session_id, type);
    enum cbp_outcome outcome = decision.outcome;
    bool refused = outcome == CBP_OUTCOME_DENY || outcome == CBP_OUTCOME_STRIP;
    bool wanted = is_wanted(report, &self.sessions[selection->session_id], item);
    if (outcome == CBP_OUTCOME_SILENT || (!wanted && !refused) ||
        (report->flags[item] & CBP_EVENT_FLAG_FORK && !wanted))
        return;
    if (refused) {
        cbp_add_u64(&channel_of(selection->session_id)->refused, 1);
        refusal->is_stripped |= outcome == CBP_OUTCOME_STRIP;
        if (outcome == CBP_OUTCOME_DENY && refusal->code == 0)
            refusal->code = decision.deny_code;
    }
    selection->decided |= outcome != CBP_OUTCOME_ASK;
    if (!wanted || decision.is_silent)
        return;
    uint32_t at = selection->item_count++;
    selection->items[at] = item;
    selection->flags[at] = report->flags[item];
    selection->strip_masks[at] = outcome == CBP_OUTCOME_STRIP ? decision.strip_mask : 0;
    selection->result_codes[at] = outcome == CBP_OUTCOME_DENY ? decision.deny_code : report->result_code;
    if (outcome != CBP_OUTCOME_ASK) {
        selection->flags[at] |= CBP_EVENT_FLAG_DECIDED_BY_RULE;
        return;
    }
    selection->asked = true;
    selection->answerable.is_creation |= type == CBP_PROC_EVT_PROCESS_CREATION;
    if (type == CBP_PROC_EVT_PROCESS_CREATION || (type & HANDLE_OPERATIONS) != 0)
        selection->answerable.refusable_items |= 1u << at;
    if (type & HANDLE_OPERATIONS)
        selection->answerable.access = report->access;
}

static void select_items(const struct report *report, uint32_t session_id, struct selection *selection,
                         struct refusal *refusal)
{
    memset(selection, 0, sizeof *selection);
    selection->session_id = session_id;
    for (uint32_t i = 0; i < report->item_count; i++)
        select_item(report, i, selection, refusal);
    if (selection->decided)
        cbp_add_u64(&channel_of(session_id)->decided, 1);
}

/* Whether the file of the program was gone when it was executed, or attached to. */
static bool is_deleted(const struct image *image)
{
    return image != NULL && image->file_count > 0 && image->files[image->file_count - 1].is_deleted;
}

static void put_items(struct cbp_event_message *message, const struct report *report,
                      const struct selection *selection, uint32_t added_flags)
{
    struct cbp_event_item *items = cbp_event_items(message);
    struct session *session = &self.sessions[selection->session_id];
    message->item_count = selection->item_count;
    message->sequence = session->sequence + 1;
    session->sequence += selection->item_count;
    for (uint32_t i = 0; i < selection->item_count; i++) {
        uint32_t flags = selection->flags[i];
        if (is_deleted(report->image))
            flags |= CBP_EVENT_FLAG_IMAGE_DELETED;
        if ((flags & CBP_EVENT_FLAG_DECIDED_BY_RULE) == 0)
            flags |= added_flags;
        if ((added_flags & CBP_EVENT_FLAG_HELD) != 0 &&
            (selection->answerable.refusable_items & (1u << i)) != 0)
            flags |= CBP_EVENT_FLAG_REFUSABLE;
        items[i].type = report->types[selection->items[i]];
        items[i].flags = flags;
        items[i].result_code = selection->result_codes[i];
        items[i].desired_access = report->access & ~selection->strip_masks[i];
    }
}

/* There is no memory to ask a session: its events are lost, and what it could have refused is refused. */
static void lose_selection(const struct selection *selection, struct refusal *refusal)
{
    self.sessions[selection->session_id].sequence += selection->item_count;
    cbp_add_u64(&channel_of(selection->session_id)->lost, selection->item_count);
    if (selection->answerable.refusable_items != 0 && refusal->code == 0)
        refusal->code = CBP_ERROR_NOT_ENOUGH_MEMORY;
}

/* Sends one session's message. Gives its first sequence number. */
static uint64_t send_selection(const struct report *report, const struct selection *selection,
                               struct operation *operation, uint32_t added_flags, uint64_t now)
{
    uint32_t session_id = selection->session_id, slot;
    uint64_t sequence = self.sessions[session_id].sequence + 1;
    struct cbp_event_message *message = begin_message(message_size_of(report), &slot);
    bool sent = false;
    if (message != NULL) {
        fill_message(message, report, session_id,
                     operation != NULL ? deadline_of(report, session_id, now) : 0);
        put_items(message, report, selection, added_flags);
        sent = commit_message(message, slot, operation, &selection->answerable);
    } else {
        self.sessions[session_id].sequence += selection->item_count;
    }
    if (!sent)
        cbp_add_u64(&channel_of(session_id)->lost, selection->item_count);
    return sequence;
}

void post_report(const struct report *report, struct operation **operation, uint32_t *refusal,
                 bool *is_stripped, uint64_t *sequences)
{
    struct selection selections[CBP_SESSION_MAX];
    struct refusal by_rule = {.code = *refusal};
    uint32_t count = 0;
    bool asked = false;
    uint64_t now = now_ns();
    if (sequences != NULL)
        memset(sequences, 0, CBP_SESSION_MAX * sizeof *sequences);
    for (uint32_t i = 0; i < self.session_count && !self.leaving; i++) {
        select_items(report, self.order[i], &selections[count], &by_rule);
        asked |= selections[count].asked;
        count += selections[count].item_count > 0;
    }
    bool is_new = *operation == NULL;
    bool is_needed = is_new && asked && by_rule.code == 0 && !by_rule.is_stripped && !report->is_past;
    if (is_needed)
        *operation = allocate_surely(sizeof **operation);
    for (uint32_t i = 0; i < count; i++) {
        struct selection *selection = &selections[i];
        if (is_needed && *operation == NULL && selection->asked) {
            lose_selection(selection, &by_rule);
            continue;
        }
        struct operation *waits = selection->asked && !report->is_past ? *operation : NULL;
        uint32_t added_flags = waits != NULL ? CBP_EVENT_FLAG_HELD : 0;
        if (waits != NULL && (session_is_stale(selection->session_id, now) ||
                              is_overdue(report, selection->session_id, now))) {
            count_timeout(selection->session_id, selection->answerable.is_creation, &by_rule.code);
            waits = NULL;
            added_flags = CBP_EVENT_FLAG_TIMED_OUT;
        }
        uint32_t asked_count = waits != NULL ? waits->unanswered_count : 0;
        uint64_t sequence = send_selection(report, selection, waits, added_flags, now);
        if (waits != NULL && waits->unanswered_count == asked_count &&
            selection->answerable.refusable_items != 0 && by_rule.code == 0)
            by_rule.code = CBP_ERROR_NOT_ENOUGH_MEMORY;    /* lost */
        if (sequences != NULL && selection->items[0] == 0) /* else not of the first item */
            sequences[selection->session_id] = sequence;
    }
    if (is_new && *operation != NULL && (*operation)->unanswered_count == 0) {
        free_surely(*operation);
        *operation = NULL;
    }
    *refusal = by_rule.code;
    if (is_stripped != NULL)
        *is_stripped |= by_rule.is_stripped;
    if (*operation != NULL) {
        if ((*operation)->result_code == 0) {
            /* Nobody's answer goes before what is refused already. */
            (*operation)->result_code = *refusal;
            (*operation)->refuser_id = self.order[0];
        }
        (*operation)->is_stripped |= by_rule.is_stripped;
    }
}

void tell_past(struct report *report)
{
    struct operation *nobody_waits = NULL;
    uint32_t refusal = 0;
    report->is_past = true;
    post_report(report, &nobody_waits, &refusal, NULL, NULL);
}
