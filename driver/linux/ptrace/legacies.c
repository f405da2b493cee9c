/* Keeps the legacies of processes that have ended or execute another program by now: their stances and the
 * rules that their children inherit. A child whose creator is not known gets the legacies of all processes
 * that may be its creator. Knows no stops.
 *
 * Of several legacies every obligation counts (ask, deny, strip), but of the exemptions (ignore, allow) only
 * those that all have: a guess must never exempt a process. */
#include <stdlib.h>
#include <string.h>

#include "tracer.h"

enum { LEGACY_COUNT_MAX = 64 };

struct legacy {
    struct cbpd_rule_list *bequest;
    struct cbp_stance stances[CBP_SESSION_MAX];
    uint32_t rules_generation; /* of the rules that the stances are for */
    uint32_t filter_parts;
    bool attached;
    uint64_t last_tick; /* when the last process with this legacy left it; 0: there was none */
};

/* Equal legacies share a row, so a tree has one or two. The first row sums up all that found no room. */
static struct legacy rows[LEGACY_COUNT_MAX];
static uint32_t row_count = 1;

/* Makes a stand-in for a creator that is not known. NULL without memory. */
static struct process *make_nobody(void)
{
    struct process *process = cbpd_allocate_surely(sizeof *process);
    if (process)
        process->base.ended = true; /* no id leads to it */
    return process;
}

static struct legacy legacy_of(struct tracer *self, struct process *process)
{
    struct legacy legacy = {.filter_parts = process->filter_parts, .attached = process->base.attached};
    memcpy(legacy.stances, stances_of(&self->helper, process), sizeof legacy.stances);
    legacy.rules_generation = self->helper.policy.rules_generation;
    legacy.bequest = cbpd_bequest_of(&self->helper.policy, &process->base);
    return legacy;
}

/* ---- The sum of several legacies ---- */

static struct {
    struct legacy legacy;
    struct text refs; /* of all lists, one after the other */
    uint32_t list_count;
    uint32_t stamp; /* lists in the sum carry it */
    bool is_empty, has_empty_list, is_incomplete;
} sum;

static void begin_sum(struct tracer *self)
{
    memset(&sum.legacy, 0, sizeof sum.legacy);
    sum.legacy.rules_generation = self->helper.policy.rules_generation;
    sum.refs.size = 0;
    sum.list_count = 0;
    sum.stamp++;
    sum.is_empty = true;
    sum.has_empty_list = sum.is_incomplete = false;
}

static void add_list(struct cbpd_rule_list *list)
{
    sum.has_empty_list |= !list;
    sum.is_incomplete |= list == cbpd_unknown_rules();
    if (!list || list == cbpd_unknown_rules() || list->stamp == sum.stamp)
        return;
    list->stamp = sum.stamp;
    sum.list_count++;
    sum.is_incomplete |=
        !text_append(&sum.refs, (const char *) list->refs, list->count * sizeof list->refs[0]);
}

static void add_stance(struct cbp_stance *stance, const struct cbp_stance *other)
{
    stance->asked |= other->asked;
    stance->ignored &= other->ignored;
    stance->allowed &= other->allowed;
    stance->strip_mask |= other->strip_mask;
    cbpd_denial_add(&stance->deny, &other->deny);
}

static void add_to_sum(struct tracer *self, const struct legacy *legacy)
{
    static const struct cbp_stance nothing[CBP_SESSION_MAX];
    /* After a change of the rules only the list says what is still in force. */
    bool is_current = legacy->rules_generation == self->helper.policy.rules_generation;
    const struct cbp_stance *stances = is_current ? legacy->stances : nothing;
    if (sum.is_empty) {
        memcpy(sum.legacy.stances, stances, sizeof sum.legacy.stances);
        sum.legacy.attached = true;
    }
    sum.is_empty = false;
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        add_stance(&sum.legacy.stances[id], &stances[id]);
    sum.legacy.filter_parts |= legacy->filter_parts;
    sum.legacy.attached &= legacy->attached;
    if (sum.legacy.last_tick < legacy->last_tick)
        sum.legacy.last_tick = legacy->last_tick;
    add_list(legacy->bequest);
}

static int compare_refs(const void *left, const void *right)
{
    const struct cbpd_rule_ref *one = left, *other = right;
    if (one->place != other->place)
        return one->place < other->place ? -1 : 1;
    if (one->session_serial != other->session_serial)
        return one->session_serial < other->session_serial ? -1 : 1;
    if (one->rule_id != other->rule_id)
        return one->rule_id < other->rule_id ? -1 : 1;
    return (int) one->is_launch - (int) other->is_launch;
}

/* Gives the sum. The caller releases its list. */
static struct legacy take_sum(struct tracer *self)
{
    struct legacy legacy = sum.legacy;
    struct cbpd_rule_ref *refs = (struct cbpd_rule_ref *) (void *) sum.refs.bytes;
    uint32_t count = (uint32_t) (sum.refs.size / sizeof *refs), kept = 0;
    if (count > 0)
        qsort(refs, count, sizeof *refs, compare_refs);
    for (uint32_t i = 0, same; i < count; i += same) {
        for (same = 1; i + same < count && compare_refs(&refs[i], &refs[i + same]) == 0;)
            same++;
        bool all_have_it = same == sum.list_count && !sum.has_empty_list;
        if (all_have_it || !cbpd_is_exemption(&self->helper.policy, &refs[i]))
            refs[kept++] = refs[i];
    }
    legacy.bequest = sum.is_incomplete ? cbpd_share_list(cbpd_unknown_rules())
                                       : cbpd_make_list(&self->helper.policy, refs, kept);
    return legacy;
}

/* ---- Leaving a legacy ---- */

static bool is_same(const struct legacy *one, const struct legacy *other)
{
    return one->bequest == other->bequest && one->rules_generation == other->rules_generation &&
           one->filter_parts == other->filter_parts && one->attached == other->attached &&
           memcmp(one->stances, other->stances, sizeof one->stances) == 0;
}

/* Gives a free row. If there is none, the oldest row is added to the first one. */
static struct legacy *make_room(struct tracer *self)
{
    if (row_count < LEGACY_COUNT_MAX)
        return &rows[row_count++];
    struct legacy *oldest = &rows[1];
    for (uint32_t i = 2; i < row_count; i++)
        if (rows[i].last_tick < oldest->last_tick)
            oldest = &rows[i];
    begin_sum(self);
    add_to_sum(self, oldest);
    if (rows[0].last_tick != 0)
        add_to_sum(self, &rows[0]);
    struct legacy both = take_sum(self);
    cbpd_release_list(&self->helper.policy, rows[0].bequest);
    cbpd_release_list(&self->helper.policy, oldest->bequest);
    rows[0] = both;
    return oldest;
}

void cbpd_leave_legacy(struct tracer *self, struct process *process)
{
    struct legacy legacy = legacy_of(self, process);
    uint64_t tick = cbpd_boot_ticks();
    for (uint32_t i = 1; i < row_count; i++)
        if (is_same(&rows[i], &legacy)) {
            rows[i].last_tick = tick;
            return;
        }
    struct legacy *row = make_room(self);
    *row = legacy;
    row->last_tick = tick;
    (void) cbpd_share_list(row->bequest);
}

/* ---- Guessing ---- */

static bool may_be_of(uint32_t filter_parts, const struct status_facts *facts)
{
    return filter_parts == 0 || facts->has_filter;
}

/* Sums up all that may have created a child that began at this time, or without facts all that is known. */
static void sum_up(struct tracer *self, const struct status_facts *facts, uint64_t start_time)
{
    begin_sum(self);
    for (struct process *process = first_process(&self->helper); process; process = next_process(process))
        if (!facts || (process->base.start_time <= start_time && may_be_of(process->filter_parts, facts))) {
            struct legacy legacy = legacy_of(self, process);
            add_to_sum(self, &legacy);
        }
    for (uint32_t i = 0; i < row_count; i++)
        if (rows[i].last_tick != 0 &&
            (!facts || (rows[i].last_tick >= start_time && may_be_of(rows[i].filter_parts, facts))))
            add_to_sum(self, &rows[i]);
}

struct process *cbpd_guess_creator(struct tracer *self, const struct status_facts *facts, uint64_t start_time)
{
    sum_up(self, facts, start_time);
    if (sum.is_empty)
        sum_up(self, NULL, 0);
    struct legacy legacy = take_sum(self);
    struct process *creator = make_nobody();
    if (!creator) {
        cbpd_release_list(&self->helper.policy, legacy.bequest);
        return NULL;
    }
    creator->filter_parts = legacy.filter_parts;
    creator->base.attached = legacy.attached;
    creator->base.standing.inherited = legacy.bequest;
    cbpd_oblige(&self->helper.policy, &creator->base, legacy.stances);
    return creator;
}
