/* Tells and asks sessions: a report on a task becomes one message for each session that wants it. Knows what
 * the policy makes of a report. How a message travels and how long it may take is left to slots.c. */
#include <string.h>

#include "cbp_atomic.h"
#include "helper.h"

bool cbpd_helper_init(struct cbpd_helper *helper, const struct cbpd_helper_host *host,
                      const struct cbpd_host *policy_host)
{
    helper->host = host;
    helper->settled_tail = &helper->settled;
    cbpd_slots_init(&helper->slots);
    return cbpd_policy_init(&helper->policy, policy_host);
}

void cbpd_count_for_all(struct cbpd_helper *helper, size_t offset)
{
    for (uint32_t i = 0; i < helper->policy.session_count; i++) {
        struct cbp_channel_session *session = cbpd_channel_of(helper, helper->policy.order[i]);
        cbp_add_u64((uint64_t *) (void *) ((unsigned char *) session + offset), 1);
    }
}

void cbpd_count_lost(struct cbpd_helper *helper)
{
    cbpd_count_for_all(helper, offsetof(struct cbp_channel_session, lost));
}

/* ---- Telling the sessions ---- */

static uint64_t deadline_of(const struct cbpd_helper *helper, const struct cbpd_report *report,
                            uint32_t session_id, uint64_t now)
{
    return cbpd_deadline_of(&helper->policy, session_id, report->since_ns != 0 ? report->since_ns : now);
}

/* Says whether the deadline passed before the question, because the session or memory was waited for. */
static bool is_overdue(const struct cbpd_helper *helper, const struct cbpd_report *report,
                       uint32_t session_id, uint64_t now)
{
    uint64_t deadline_ns = deadline_of(helper, report, session_id, now);
    return (deadline_ns != 0 && now >= deadline_ns) || cbpd_session_is_stale(helper, session_id, now);
}

/* Sends one session's message. False: there is no memory for it. */
static bool send_selection(struct cbpd_helper *helper, const struct cbpd_report *report,
                           const struct cbpd_selection *selection, struct cbpd_held *held,
                           uint32_t added_flags, uint64_t sequence, uint64_t now)
{
    uint32_t slot;
    const struct cbpd_telling telling = {
        .selection = selection,
        .session_id = selection->place,
        .parent_pid = helper->host->parent_pid_of(helper, report->process),
        .added_flags = added_flags,
        .sequence = sequence,
        .deadline_ns = held ? deadline_of(helper, report, selection->place, now) : 0,
        .time_ns = helper->host->wall_ns(),
    };
    struct cbp_event_message *message = cbpd_begin_message(helper, cbpd_event_message_size(report), &slot);
    if (!message)
        return false;
    cbpd_fill_event_message(message, report, &telling);
    return cbpd_commit_message(helper, message, slot, held, &selection->answerable);
}

/* Tells one session, and lets the operation wait for its answer if it is asked. Gives the first sequence
 * number. Without memory (is_lacking: for the operation) the session's events are lost, and what it could have
 * refused is refused. */
static uint64_t tell_session(struct cbpd_helper *helper, const struct cbpd_report *report,
                             const struct cbpd_selection *selection, struct cbpd_held *held, bool is_lacking,
                             uint64_t now, struct cbpd_refusal *refusal)
{
    struct cbpd_session *session = &helper->policy.sessions[selection->place];
    uint64_t sequence = session->sequence + 1;
    uint32_t code = 0, added_flags = held ? CBP_EVENT_FLAG_HELD : 0;
    session->sequence += selection->item_count;
    if (held && is_overdue(helper, report, selection->place, now)) {
        code = cbpd_count_timeout(helper, selection->place, selection->answerable.is_creation);
        held = NULL;
        added_flags = CBP_EVENT_FLAG_TIMED_OUT;
    }
    if (is_lacking || !send_selection(helper, report, selection, held, added_flags, sequence, now)) {
        cbp_add_u64(&cbpd_channel_of(helper, selection->place)->lost, selection->item_count);
        if ((is_lacking || held) && selection->answerable.refusable_items != 0)
            code = CBP_ERROR_NOT_ENOUGH_MEMORY;
    }
    if (refusal->code == 0)
        refusal->code = code;
    return sequence;
}

static uint32_t select_for_all(struct cbpd_helper *helper, const struct cbpd_report *report,
                               struct cbpd_selection *selections, bool *asked, struct cbpd_refusal *refusal)
{
    const struct cbpd_policy *policy = &helper->policy;
    uint32_t count = 0;
    for (uint32_t i = 0; i < policy->session_count && !helper->leaving; i++) {
        struct cbpd_selection *selection = &selections[count];
        struct cbp_channel_session *counters = cbpd_channel_of(helper, policy->order[i]);
        cbpd_select(policy, &report->request, policy->order[i], selection, refusal);
        if (selection->refused_count > 0)
            cbp_add_u64(&counters->refused, selection->refused_count);
        if (selection->decided_items != 0)
            cbp_add_u64(&counters->decided, 1);
        *asked |= selection->asked;
        count += selection->item_count > 0;
    }
    return count;
}

void cbpd_post(struct cbpd_helper *helper, const struct cbpd_report *report, struct cbpd_held **held,
               struct cbpd_refusal *refusal, uint64_t *sequences)
{
    struct cbpd_selection selections[CBP_SESSION_MAX];
    struct cbpd_refusal by_rule = {.code = refusal->code};
    bool asked = false;
    uint64_t now = helper->host->now_ns();
    uint32_t count = select_for_all(helper, report, selections, &asked, &by_rule);
    bool is_new = !*held;
    bool is_needed = is_new && asked && by_rule.code == 0 && !by_rule.is_stripped && !report->is_past;
    if (sequences)
        memset(sequences, 0, CBP_SESSION_MAX * sizeof *sequences);
    if (is_needed)
        *held = cbpd_allocate_surely(helper->host->held_size);
    for (uint32_t i = 0; i < count; i++) {
        const struct cbpd_selection *selection = &selections[i];
        bool waits = selection->asked && !report->is_past;
        uint64_t sequence = tell_session(helper, report, selection, waits ? *held : NULL,
                                         waits && is_needed && !*held, now, &by_rule);
        if (sequences && selection->items[0] == 0) /* its first item is the report's first */
            sequences[selection->place] = sequence;
    }
    if (is_new && *held && (*held)->base.unanswered_count == 0) {
        cbpd_free_surely(*held);
        *held = NULL;
    }
    refusal->code = by_rule.code;
    refusal->is_stripped |= by_rule.is_stripped;
    if (*held)
        cbpd_refuse_by_rules(&helper->policy, &by_rule, &(*held)->base);
}

void cbpd_tell_past(struct cbpd_helper *helper, struct cbpd_report *report)
{
    struct cbpd_held *nobody_waits = NULL;
    struct cbpd_refusal refusal = {0};
    report->is_past = true;
    cbpd_post(helper, report, &nobody_waits, &refusal, NULL);
}
