/* Tells and asks sessions of what the callbacks see: a report becomes one message for each session that wants
 * it, and the answers become what is done with the operation. Knows what the policy makes of a report, but no
 * callback; how a message travels is left to the deliveries.
 *
 * Sessions are asked at once, the one with the highest altitude first. The thread waits without the books, so
 * nothing that it had found in them is looked at afterwards, except sessions by their places. */
#include "kernel.h"

/* An operation goes through the sessions with all of this. */
struct matter {
    struct cbpd_policy *policy;
    const struct cbpd_kernel_report *report;
    struct cbpd_request request; /* the report's, as muted sessions see it */
    struct cbp_stance originator[CBP_SESSION_MAX];
    uint32_t own_places; /* bits: sessions of the controller that acts */
    uint32_t selection_count;
    struct cbpd_selection selections[CBP_SESSION_MAX];
    uint64_t serials[CBP_SESSION_MAX]; /* of the sessions by place: a place is used again */
    struct cbpd_refusal refusal;
    struct cbpd_pending *pending; /* NULL: nobody is asked */
    uint32_t asked_count;         /* messages on their way that wait for an answer */
    bool is_lacking;              /* somebody is to be asked, and there is no memory */
    uint64_t now_ns;
};

struct cbpd_kernel_report cbpd_report_begin(struct cbpd_policy *policy, struct cbpd_kernel_process *process,
                                            struct cbpd_kernel_process *originator, uint32_t originator_tid)
{
    return (struct cbpd_kernel_report){
        .base = {.request.originator = originator ? cbpd_stances_of(policy, &originator->base) : NULL,
                 .request.subject = cbpd_stances_of(policy, &process->base),
                 .process = &process->base,
                 .image = process->base.image,
                 .capabilities = CBP_KERNEL_CAPABILITIES,
                 .originator_pid = originator ? originator->base.pid : 0,
                 .originator_tid = originator_tid},
        .parent_pid = process->parent_pid,
        .is_exempt = process->is_exempt || (originator && originator->is_exempt),
    };
}

void cbpd_report_lost(const struct cbpd_policy *policy)
{
    for (uint32_t i = 0; i < policy->session_count; i++)
        cbpd_count(policy->order[i], CBPD_COUNT_LOST, 1);
}

/* ---- Who is told ---- */

/* Says whether the session's own controller acts. What it launches is told like anybody's creation. */
static bool is_own(const struct matter *matter, const struct cbpd_session *session)
{
    const struct cbpd_kernel_report *report = matter->report;
    return !report->is_launch && report->base.originator_pid != 0 &&
           cbpd_controller_pid(session->controller) == report->base.originator_pid;
}

/* Finds the sessions that are not to hear of the operation: for these the originator is an ignored one. Rules
 * that deny and strip hold nevertheless. */
static void mute(struct matter *matter)
{
    const struct cbpd_policy *policy = matter->policy;
    uint32_t muted_places = 0;
    matter->request = matter->report->base.request;
    for (uint32_t i = 0; i < policy->session_count; i++) {
        uint32_t place = policy->order[i];
        const struct cbpd_session *session = &policy->sessions[place];
        bool is_of_it = is_own(matter, session);
        bool hears_own = (session->settings.flags & CBP_SESSION_FLAG_OWN_REQUESTS) != 0;
        matter->serials[place] = session->opened;
        matter->own_places |= (uint32_t) is_of_it << place;
        muted_places |= (uint32_t) (matter->report->is_exempt || (is_of_it && !hears_own)) << place;
    }
    if (muted_places == 0)
        return;
    for (uint32_t place = 0; place < CBP_SESSION_MAX; place++) {
        if (matter->request.originator)
            matter->originator[place] = matter->request.originator[place];
        matter->originator[place].ignored |= (muted_places >> place & 1u) != 0;
    }
    matter->request.originator = matter->originator;
}

/* Says whether the session's answer is awaited. */
static bool is_to_answer(const struct matter *matter, const struct cbpd_selection *selection)
{
    return selection->asked && !matter->report->base.is_past &&
           (matter->own_places >> selection->place & 1u) == 0;
}

static void select_for_all(struct matter *matter)
{
    const struct cbpd_policy *policy = matter->policy;
    bool is_anybody_asked = false;
    matter->refusal.code = matter->request.result_code;
    for (uint32_t i = 0; i < policy->session_count; i++) {
        struct cbpd_selection *selection = &matter->selections[matter->selection_count];
        cbpd_select(policy, &matter->request, policy->order[i], selection, &matter->refusal);
        if (selection->refused_count > 0)
            cbpd_count(selection->place, CBPD_COUNT_REFUSED, selection->refused_count);
        if (selection->decided_items != 0)
            cbpd_count(selection->place, CBPD_COUNT_DECIDED, 1);
        is_anybody_asked |= is_to_answer(matter, selection);
        matter->selection_count += selection->item_count > 0;
    }
    /* Rights that rules take leave others, about which handlers decide. */
    if (!is_anybody_asked || matter->refusal.code != 0)
        return;
    matter->pending = cbpd_pending_create();
    matter->is_lacking = !matter->pending;
}

/* ---- Telling ---- */

/* Sends one session's message. False: it is lost. */
static bool send(const struct matter *matter, const struct cbpd_selection *selection,
                 struct cbpd_pending *pending, uint32_t added_flags, uint64_t sequence)
{
    const struct cbpd_report *report = &matter->report->base;
    uint32_t place = selection->place;
    const struct cbpd_telling telling = {
        .selection = selection,
        .session_id = matter->policy->sessions[place].settings.session_id,
        .parent_pid = matter->report->parent_pid,
        .added_flags = added_flags,
        .sequence = sequence,
        .deadline_ns = pending ? cbpd_deadline_of(matter->policy, place, matter->now_ns) : 0,
        .time_ns = cbpd_wall_ns(),
    };
    struct cbp_event_message *message = cbpd_pool_allocate(cbpd_event_message_size(report));
    if (!message)
        return false;
    cbpd_fill_event_message(message, report, &telling);
    return cbpd_pending_send(pending, place, message, &selection->answerable);
}

/* Counts an operation that timed out. Gives the code with which the session refuses it, or 0. */
static uint32_t count_timeout(const struct cbpd_policy *policy, uint32_t place, bool is_creation)
{
    uint32_t code = cbpd_timeout_code(policy, place, is_creation);
    cbpd_count(place, CBPD_COUNT_TIMED_OUT, 1);
    if (code != 0)
        cbpd_count(place, CBPD_COUNT_REFUSED, 1);
    return code;
}

/* Tells one session, and waits for its answer later if it is asked. A silent one is not waited for. Without
 * memory the session's events are lost, and what it could have refused is refused. */
static void tell_session(struct matter *matter, const struct cbpd_selection *selection)
{
    uint32_t place = selection->place, code = 0;
    struct cbpd_session *session = &matter->policy->sessions[place];
    bool waits = is_to_answer(matter, selection);
    struct cbpd_pending *pending = waits ? matter->pending : NULL;
    bool is_lacking = waits && matter->is_lacking;
    uint32_t added_flags = pending ? CBP_EVENT_FLAG_HELD : 0;
    uint64_t sequence = session->sequence + 1;
    session->sequence += selection->item_count;
    if (pending && cbpd_session_is_silent(place, matter->now_ns)) {
        code = count_timeout(matter->policy, place, selection->answerable.is_creation);
        pending = NULL;
        added_flags = CBP_EVENT_FLAG_TIMED_OUT;
    }
    if (is_lacking || !send(matter, selection, pending, added_flags, sequence)) {
        cbpd_count(place, CBPD_COUNT_LOST, selection->item_count);
        if ((is_lacking || pending) && selection->answerable.refusable_items != 0)
            code = CBP_ERROR_NOT_ENOUGH_MEMORY;
    } else if (pending) {
        matter->asked_count++;
    }
    if (matter->refusal.code == 0)
        matter->refusal.code = code;
}

/* ---- Answers ---- */

static void apply_answer(const struct matter *matter, const struct cbpd_answer *answer,
                         struct cbpd_operation *operation)
{
    const struct cbpd_policy *policy = matter->policy;
    uint32_t place = answer->place;
    const struct cbpd_session *session = &policy->sessions[place];
    if (answer->is_answered)
        cbpd_count(place, CBPD_COUNT_REFUSED,
                   cbpd_apply_answer(policy, place, &answer->answerable, answer->items, operation));
    else if (!answer->is_let_go && session->open && session->opened == matter->serials[place])
        cbpd_refuse(policy, place, count_timeout(policy, place, answer->answerable.is_creation), operation);
}

/* Waits for all answers. The books are held on return, as they were before. */
static void await_answers(const struct matter *matter, struct cbpd_operation *operation)
{
    const struct cbpd_answer *answers;
    cbpd_books_unlock();
    uint32_t count = cbpd_pending_wait(matter->pending, &answers);
    (void) cbpd_books_lock();
    for (uint32_t i = 0; i < count; i++)
        apply_answer(matter, &answers[i], operation);
}

void cbpd_report_send(struct cbpd_policy *policy, const struct cbpd_kernel_report *report,
                      struct cbpd_kernel_outcome *outcome)
{
    struct matter matter = {.policy = policy, .report = report, .now_ns = cbpd_now_ns()};
    struct cbpd_operation operation = {0};
    mute(&matter);
    select_for_all(&matter);
    for (uint32_t i = 0; i < matter.selection_count; i++)
        tell_session(&matter, &matter.selections[i]);
    cbpd_refuse_by_rules(policy, &matter.refusal, &operation);
    if (matter.asked_count > 0)
        await_answers(&matter, &operation);
    cbpd_books_unlock();
    cbpd_pending_destroy(matter.pending);
    outcome->result_code = operation.result_code;
    outcome->lost_access = operation.lost_access;
}
