/* Lists of rules that processes are remembered to have: shared by all that have the same, and made of what is
 * gathered for them. Without memory for one there is unknown_rules, by which everything is refused. Knows no
 * process and no set of rules. */
#include <string.h>

#include "rule_lists.h"
#include "supervisor.h"

void release_rule_list(struct rule_list *list)
{
    if (list != NULL && --list->reference_count == 0)
        free_surely(list);
}

struct rule_list *share_rule_list(struct rule_list *list)
{
    if (list != NULL)
        list->reference_count++;
    return list;
}

/* Whoever has it is refused everything: there was no memory to remember its rules. */
struct rule_list unknown_rules = {.reference_count = 1};

struct rule_list *make_rule_list(const struct rule_ref *refs, uint32_t count)
{
    if (count == 0)
        return NULL;
    struct rule_list *list = allocate_surely(sizeof *list + count * sizeof list->refs[0]);
    if (list == NULL)
        return share_rule_list(&unknown_rules);
    list->reference_count = 1;
    list->count = count;
    memcpy(list->refs, refs, count * sizeof list->refs[0]);
    return list;
}

/* ---- Rules that are remembered ---- */

struct rule_ref make_ref(uint32_t session_id, uint32_t rule_id, bool is_launch)
{
    return (struct rule_ref){.session_id = session_id,
                             .session_serial = (uint32_t) self.sessions[session_id].opened,
                             .rule_id = rule_id,
                             .is_launch = is_launch};
}

bool is_of_session(const struct rule_ref *ref, uint32_t session_id)
{
    return ref->rule_id != 0 && ref->session_id == session_id &&
           ref->session_serial == (uint32_t) self.sessions[session_id].opened;
}

bool is_same_ref(const struct rule_ref *a, const struct rule_ref *b)
{
    return a->session_id == b->session_id && a->session_serial == b->session_serial &&
           a->rule_id == b->rule_id && a->is_launch == b->is_launch;
}

static bool is_among(const struct rule_ref *refs, uint32_t count, const struct rule_ref *ref)
{
    uint32_t i = 0;
    while (i < count && !is_same_ref(&refs[i], ref))
        i++;
    return i < count;
}

bool has_ref(const struct rule_list *list, const struct rule_ref *ref)
{
    return list != NULL && is_among(list->refs, list->count, ref);
}

/* ---- Gathering ---- */

struct gathering gathered;

void begin_gathering(void)
{
    gathered.count = 0;
    gathered.is_incomplete = false;
}

void gather(struct rule_ref ref)
{
    if (gathered.count == gathered.capacity) {
        uint32_t capacity = gathered.capacity * 2 + 16;
        struct rule_ref *refs = allocate_surely(capacity * sizeof *refs);
        if (refs == NULL) {
            gathered.is_incomplete = true;
            return;
        }
        if (gathered.count > 0)
            memcpy(refs, gathered.refs, gathered.count * sizeof *refs);
        free_surely(gathered.refs);
        gathered.refs = refs;
        gathered.capacity = capacity;
    }
    gathered.refs[gathered.count++] = ref;
}

void gather_list(const struct rule_list *list)
{
    gathered.is_incomplete |= list == &unknown_rules;
    for (uint32_t i = 0; list != NULL && i < list->count; i++)
        gather(list->refs[i]);
}

bool is_gathered(const struct rule_ref *ref)
{
    return is_among(gathered.refs, gathered.count, ref);
}

static bool is_what_was_gathered(const struct rule_list *list)
{
    if (list == NULL || list->count != gathered.count)
        return false;
    for (uint32_t i = 0; i < list->count; i++)
        if (!is_same_ref(&list->refs[i], &gathered.refs[i]))
            return false;
    return true;
}

struct rule_list *take_gathered(struct rule_list *at_hand)
{
    if (gathered.is_incomplete)
        return share_rule_list(&unknown_rules);
    if (is_what_was_gathered(at_hand))
        return share_rule_list(at_hand);
    return make_rule_list(gathered.refs, gathered.count);
}
