/* Tells and asks sessions: what happens becomes a message for each session that wants it, and an operation
 * that waits if one of them is asked. Knows what the policy makes of a report. How the task is held is left to
 * the caller, and how messages reach workers to tellings.c. */
#include "machine.h"

#include <stdlib.h>
#include <string.h>

/* A matter goes through the sessions with all of this. */
struct round {
    struct cbpi_machine *machine;
    struct cbpi_matter *matter;
    struct cbp_stance originator[CBP_SESSION_MAX];
    bool is_own; /* the controller acts: nothing is held */
    uint64_t now_ns, wall_ns;
};

void cbpi_matter_begin(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                       struct cbpi_machine_process *originator, uint32_t originator_tid, uint32_t thread_id,
                       struct cbpi_matter *matter)
{
    memset(matter, 0, offsetof(struct cbpi_matter, sequences));
    memset(&matter->refusal, 0, sizeof matter->refusal);
    matter->operation = NULL;
    matter->process = process;
    matter->originator = originator;
    struct cbpd_report *report = &matter->report;
    report->process = &process->base;
    report->image = process->base.image;
    report->capabilities = machine->capabilities;
    report->thread_id = thread_id;
    report->user_id = process->user_id;
    report->originator_pid = originator ? originator->base.pid : 0;
    report->originator_tid = originator_tid;
    report->is_past = true;
    report->request.subject = cbpd_stances_of(&machine->policy, &process->base);
    report->request.originator = originator ? cbpd_stances_of(&machine->policy, &originator->base) : NULL;
}

void cbpi_matter_begin_creation(struct cbpi_machine *machine, struct cbpi_machine_process *process,
                                uint32_t thread_id, struct cbpi_matter *matter)
{
    struct cbpi_machine_process *creator = process;
    uint32_t creator_tid = thread_id;
    if (!process->base.executed) {
        /* The creator of a process counts after its end, too. An ancestor may stand for one that is forgotten. */
        creator = cbpi_machine_process(process->base.parent);
        creator_tid = process->creator_tid;
    }
    cbpi_matter_begin(machine, process, creator, creator_tid, thread_id, matter);
    if (!process->base.executed)
        matter->report.originator_pid = process->creator_pid;
}

void cbpi_matter_add_first_thread(struct cbpi_matter *matter)
{
    if (matter->process->is_first_unreported)
        cbpd_add_item(&matter->report, CBP_PROC_EVT_THREAD_CREATION, 0);
    matter->process->is_first_unreported = false;
}

/* For sessions that are not to hear of it the originator is an ignored one. Rules that deny and strip hold
 * nevertheless, but for the processes that are exempt from everything. */
static void mute(struct round *round)
{
    struct cbpd_request *request = &round->matter->report.request;
    const struct cbpd_policy *policy = &round->machine->policy;
    uint32_t muted_places = 0;
    const struct cbpi_machine_process *originator = round->matter->originator;
    round->is_own = originator && originator->base.pid == round->machine->controller_pid;
    for (uint32_t i = 0; i < policy->session_count && round->is_own; i++)
        if (!(policy->sessions[policy->order[i]].settings.flags & CBP_SESSION_FLAG_OWN_REQUESTS))
            muted_places |= 1u << policy->order[i];
    if (muted_places == 0)
        return;
    for (uint32_t place = 0; place < CBP_SESSION_MAX; place++) {
        round->originator[place] = request->originator ? request->originator[place] : (struct cbp_stance){0};
        if (muted_places >> place & 1u)
            round->originator[place].ignored = 1;
    }
    request->originator = round->originator;
}

static bool waits_for(const struct round *round, const struct cbpd_selection *selection)
{
    return selection->asked && !round->matter->report.is_past && !round->is_own;
}

/* Gives the number of sessions that are told; *asks says whether one of them is asked. */
static uint32_t select_for_all(struct round *round, struct cbpd_selection *selections, bool *asks)
{
    struct cbpi_machine *machine = round->machine;
    const struct cbpd_policy *policy = &machine->policy;
    struct cbpi_matter *matter = round->matter;
    uint32_t count = 0;
    *asks = false;
    for (uint32_t i = 0; i < policy->session_count; i++) {
        struct cbpd_selection *selection = &selections[count];
        struct cbpi_machine_session *session = machine->sessions[policy->order[i]];
        cbpd_select(policy, &matter->report.request, policy->order[i], selection, &matter->refusal);
        session->counts.refused += selection->refused_count;
        session->counts.decided += selection->decided_items != 0;
        *asks |= waits_for(round, selection);
        count += selection->item_count > 0;
    }
    return count;
}

/* Sends one session's message. False: it is lost. */
static bool send(const struct round *round, const struct cbpd_selection *selection,
                 struct cbpi_machine_operation *operation, uint64_t sequence)
{
    const struct cbpi_matter *matter = round->matter;
    struct cbpi_machine_session *session = round->machine->sessions[selection->place];
    uint64_t happened_ns = matter->happened_ns != 0 ? matter->happened_ns : round->now_ns;
    const struct cbpd_telling telling = {
        .selection = selection,
        .session_id = selection->place,
        .parent_pid = matter->process->parent_pid,
        .added_flags = operation ? (uint32_t) CBP_EVENT_FLAG_HELD : 0,
        .sequence = sequence,
        .deadline_ns =
            operation ? cbpd_deadline_of(&round->machine->policy, selection->place, round->now_ns) : 0,
        .time_ns = round->wall_ns - (round->now_ns - happened_ns),
    };
    struct cbpi_told *told = cbpi_told_make(session, cbpd_event_message_size(&matter->report), operation);
    if (!told)
        return false;
    cbpd_fill_event_message(&told->message, &matter->report, &telling);
    told->ends_process = matter->ends_process && selection->asked && !round->is_own;
    cbpi_told_send(told, operation, &selection->answerable);
    return true;
}

/* Tells one session, and lets the operation wait for its answer if it is asked. Without memory its events are
 * lost, and what it could have refused is refused. */
static void tell_session(struct round *round, const struct cbpd_selection *selection, bool is_lacking)
{
    struct cbpi_matter *matter = round->matter;
    struct cbpi_machine_session *session = round->machine->sessions[selection->place];
    struct cbpd_session *known = &round->machine->policy.sessions[selection->place];
    bool waits = waits_for(round, selection);
    uint64_t sequence = known->sequence + 1;
    known->sequence += selection->item_count;
    if (selection->items[0] == 0) /* its first item is the report's first */
        matter->sequences[selection->place] = sequence;
    bool is_lost =
        (waits && is_lacking) || !send(round, selection, waits ? matter->operation : NULL, sequence);
    if (!is_lost)
        return;
    session->counts.lost += selection->item_count;
    if (waits && selection->answerable.refusable_items != 0 && matter->refusal.code == 0)
        matter->refusal.code = CBP_ERROR_NOT_ENOUGH_MEMORY;
}

void cbpi_matter_post(struct cbpi_machine *machine, struct cbpi_matter *matter)
{
    struct cbpd_selection selections[CBP_SESSION_MAX];
    struct round round = {.machine = machine, .matter = matter};
    bool asks;
    memset(matter->sequences, 0, sizeof matter->sequences);
    if (machine->policy.session_count == 0 || matter->is_exempt || matter->process->is_exempt ||
        (matter->originator && matter->originator->is_exempt))
        return;
    mute(&round);
    uint32_t count = select_for_all(&round, selections, &asks);
    if (count == 0)
        return;
    round.now_ns = cbpi_now_ns();
    round.wall_ns = cbpi_wall_ns();
    bool is_needed = asks && matter->refusal.code == 0 && !matter->refusal.is_stripped;
    if (is_needed)
        matter->operation = calloc(1, sizeof *matter->operation);
    for (uint32_t i = 0; i < count; i++)
        tell_session(&round, &selections[i], is_needed && !matter->operation);
    if (matter->operation && matter->operation->base.unanswered_count == 0) {
        free(matter->operation);
        matter->operation = NULL;
    }
    if (matter->operation)
        cbpd_refuse_by_rules(&machine->policy, &matter->refusal, &matter->operation->base);
}
