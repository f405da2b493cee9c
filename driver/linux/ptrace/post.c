/* Who is told what: from a report on a task to one message for each session that wants it. Knows sessions and
 * stances; how a message travels and how long it may take is slots.c's business. */
#include <stdlib.h>
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
    const struct process *process = report->process;
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
    message->parent_process_id = process->parent_pid;
    message->originator_process_id = report->originator_pid;
    message->originator_thread_id = report->originator_tid;
    message->user_id = report->user_id;
    message->exit_status = report->exit_status;
    message->capabilities =
        process->has_filter ? CBP_CAP_REFUSE_PROCESS_CREATION : CBP_CAP_KILL_PROCESS_CREATION;
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

static uint32_t operation_bits(uint32_t type)
{
    return type == CBP_PROC_EVT_PROCESS_CREATION ? CBP_OPERATION_REFUSABLE : 0;
}

static enum cbp_outcome outcome_of(const struct report *report, uint32_t session_id, uint32_t item,
                                   uint32_t *deny_code)
{
    static const struct cbp_stance nobody;
    const struct cbp_stance *subject = &report->subject[session_id];
    const struct cbp_stance *originator =
        report->originator != NULL ? &report->originator[session_id] : &nobody;
    uint32_t strip_mask;
    return cbp_outcome_of(operation_bits(report->types[item]), originator, subject, deny_code, &strip_mask);
}

static uint64_t deadline_of(uint32_t session_id, uint64_t now)
{
    uint32_t timeout_ms = self.sessions[session_id].timeout_ms;
    return timeout_ms != 0 ? now + timeout_ms * UINT64_C(1000000) : 0;
}

/* What one session is told of a report. */
struct selection {
    uint32_t session_id;
    uint32_t item_count;
    uint32_t items[CBP_BATCH_MAX]; /* indexes into the report */
    uint32_t flags[CBP_BATCH_MAX];
    uint32_t result_codes[CBP_BATCH_MAX]; /* with which a rule refuses */
    uint32_t refusable_items;
    bool asked;
    bool decided;
};

static void select_items(const struct report *report, uint32_t session_id, struct selection *selection,
                         uint32_t *refusal)
{
    memset(selection, 0, sizeof *selection);
    selection->session_id = session_id;
    for (uint32_t i = 0; i < report->item_count; i++) {
        uint32_t deny_code = 0;
        const struct session *session = &self.sessions[session_id];
        if ((session->events & report->types[i]) == 0)
            continue;
        if ((report->flags[i] & CBP_EVENT_FLAG_FORK) && !(session->flags & CBP_SESSION_FLAG_FORK_IS_CREATION))
            continue;
        enum cbp_outcome outcome = outcome_of(report, session_id, i, &deny_code);
        if (outcome == CBP_OUTCOME_SILENT)
            continue;
        uint32_t at = selection->item_count++;
        selection->items[at] = i;
        selection->flags[at] = report->flags[i];
        if (outcome == CBP_OUTCOME_ASK) {
            selection->asked = true;
            if (operation_bits(report->types[i]) & CBP_OPERATION_REFUSABLE)
                selection->refusable_items |= 1u << at;
            continue;
        }
        selection->decided = true;
        selection->flags[at] |= CBP_EVENT_FLAG_DECIDED_BY_RULE;
        selection->result_codes[at] = outcome == CBP_OUTCOME_DENY ? deny_code : 0;
        if (outcome == CBP_OUTCOME_DENY && *refusal == 0)
            *refusal = deny_code;
        if (outcome == CBP_OUTCOME_DENY)
            cbp_add_u64(&channel_of(session_id)->refused, 1);
    }
    if (selection->decided)
        cbp_add_u64(&channel_of(session_id)->decided, 1);
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
        if ((flags & CBP_EVENT_FLAG_DECIDED_BY_RULE) == 0)
            flags |= added_flags;
        if ((added_flags & CBP_EVENT_FLAG_HELD) != 0 && (selection->refusable_items & (1u << i)) != 0)
            flags |= CBP_EVENT_FLAG_REFUSABLE;
        items[i].type = report->types[selection->items[i]];
        items[i].flags = flags;
        items[i].result_code = selection->result_codes[i];
    }
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
        fill_message(message, report, session_id, operation != NULL ? deadline_of(session_id, now) : 0);
        put_items(message, report, selection, added_flags);
        sent = commit_message(message, slot, operation, selection->refusable_items);
    } else {
        self.sessions[session_id].sequence += selection->item_count;
    }
    if (!sent)
        cbp_add_u64(&channel_of(session_id)->lost, selection->item_count);
    return sequence;
}

struct operation *post_report(const struct report *report, uint32_t *refusal, uint64_t *sequences)
{
    struct selection selections[CBP_SESSION_MAX];
    uint32_t count = 0;
    bool asked = false;
    uint64_t now = now_ns();
    *refusal = 0;
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++) {
        if (sequences != NULL)
            sequences[id] = 0;
        if (!self.sessions[id].open || self.leaving)
            continue;
        select_items(report, id, &selections[count], refusal);
        asked |= selections[count].asked;
        count += selections[count].item_count > 0;
    }
    struct operation *operation = NULL;
    if (asked && *refusal == 0 && !report->is_past)
        operation = calloc(1, sizeof *operation);
    for (uint32_t i = 0; i < count; i++) {
        struct selection *selection = &selections[i];
        struct operation *waits = selection->asked ? operation : NULL;
        uint32_t added_flags = waits != NULL ? CBP_EVENT_FLAG_HELD : 0;
        if (waits != NULL && session_is_stale(selection->session_id, now)) {
            count_timeout(selection->session_id, selection->refusable_items != 0, refusal);
            waits = NULL;
            added_flags = CBP_EVENT_FLAG_TIMED_OUT;
        }
        uint64_t sequence = send_selection(report, selection, waits, added_flags, now);
        if (sequences != NULL)
            sequences[selection->session_id] = sequence;
    }
    if (operation != NULL && operation->unanswered_count == 0) {
        free(operation);
        operation = NULL;
    }
    if (operation != NULL)
        operation->result_code = *refusal;
    return operation;
}
