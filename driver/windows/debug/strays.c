/* Descendants that the system does not tell us of: a program that debugs its child itself, or that has told
 * the system that its children are nobody's, makes such. A look at all processes finds them, a few times a
 * second. Who has no debugger is taken under the filter, as a child whose creation is told late; who has
 * another one cannot be, and is ended. */
#include "cbp_atomic.h"
#include "debugger.h"

#define LOOK_NS UINT64_C(250000000)

enum { TOLD_MAX = 64 };

static struct facts facts;
static uint64_t next_look_ns;
static struct {
    uint32_t pid;
    uint64_t start_time;
} told[TOLD_MAX]; /* those that nothing can be done about, to count each once */
static uint32_t told_count;

static void tell_lost(uint32_t pid, uint64_t start_time)
{
    for (uint32_t i = 0; i < TOLD_MAX; i++)
        if (told[i].pid == pid && told[i].start_time == start_time)
            return;
    told[told_count % TOLD_MAX].pid = pid;
    told[told_count++ % TOLD_MAX].start_time = start_time;
    count_lost();
}

/* It is told as a creation that has been refused; nothing of its end. */
static void refuse_stray(uint32_t pid, HANDLE handle, struct process *parent)
{
    struct process *process = begin_process(pid, parent);
    bool is_known = read_facts(handle, NULL, &facts);
    end_by_force(handle, refusal_status(CBP_ERROR_BUSY));
    count_refused();
    if (process == NULL) {
        count_lost();
        return;
    }
    process->refused = true;
    process->parent_pid = parent->base.pid;
    process->base.start_time = read_start_time(handle);
    if (is_known)
        process->base.image = image_of(&facts);
    cbpd_inherit_rules(&self.helper.policy, &process->base, &parent->base);
    tell_refused(process, &facts);
    forget_process(process);
}

static void deal_with(uint32_t pid, struct process *parent, HANDLE handle, uint64_t start_time)
{
    switch (debugger_of(handle)) {
    case DEBUGGER_OURSELVES:
        return; /* it has been created suspended, or its first event is on its way */
    case DEBUGGER_ANOTHER:
        refuse_stray(pid, handle, parent);
        return;
    case DEBUGGER_NOBODY:
        if (start_debugging(handle)) /* its first event comes like any other's */
            return;
        break;
    case DEBUGGER_UNKNOWN:
        break;
    }
    tell_lost(pid, start_time);
}

/* Children from before their parent was attached to are not ours. */
static void consider(uint32_t pid, uint32_t parent_pid)
{
    HANDLE handle = open_process(pid), weak = handle;
    if (handle == NULL)
        weak = open_process_to_look(pid);
    uint64_t start_time = weak != NULL ? read_start_time(weak) : 0;
    struct process *parent = find_creator(parent_pid, start_time);
    if (start_time != 0 && parent != NULL && start_time > parent->attached_time) {
        if (handle != NULL)
            deal_with(pid, parent, handle, start_time);
        else
            tell_lost(pid, start_time);
    }
    if (weak != NULL)
        CloseHandle(weak);
}

void look_for_strays(void)
{
    struct listing listing = {0};
    uint32_t pid, parent_pid;
    uint64_t now = now_ns();
    if (!anybody_was_ours() || self.helper.leaving || now < next_look_ns)
        return;
    while (next_listed_process(&listing, &pid, &parent_pid))
        if (pid != self.controller_pid && pid != GetCurrentProcessId() && find_process(pid) == NULL &&
            was_ours(parent_pid))
            consider(pid, parent_pid);
    next_look_ns = now_ns() + LOOK_NS;
}

uint64_t next_stray_look_ns(void)
{
    return anybody_was_ours() ? next_look_ns : 0;
}
