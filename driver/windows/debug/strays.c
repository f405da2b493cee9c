/* Finds descendants without debug events: the child of a program that debugs it, or that has told the system
 * not to debug its children. A look at all processes finds them, a few times a second. One without a debugger
 * is taken under the filter, and its creation is told late. One with another debugger is ended. */
#include "debugger.h"

#define LOOK_NS (250 * CBP_NS_PER_MS)

enum { TOLD_MAX = 64 };

static struct facts facts;
static uint64_t next_look_ns;
static struct {
    uint32_t pid;
    uint64_t start_time;
} told[TOLD_MAX]; /* processes that cannot be dealt with, so that each is counted once */
static uint32_t told_count;

static void tell_lost(struct debugger *self, uint32_t pid, uint64_t start_time)
{
    for (uint32_t i = 0; i < TOLD_MAX; i++)
        if (told[i].pid == pid && told[i].start_time == start_time)
            return;
    told[told_count % TOLD_MAX].pid = pid;
    told[told_count++ % TOLD_MAX].start_time = start_time;
    cbpd_count_lost(&self->helper);
}

/* Ends a stray and tells of its creation as refused. Its end is not told. */
static void refuse_stray(struct debugger *self, uint32_t pid, struct process *parent, HANDLE handle,
                         uint64_t start_time)
{
    bool is_known = cbpd_read_facts(handle, NULL, &facts);
    cbpd_carry_out(self, pid, 0, (struct disposition){.victim = handle, .refusal = CBP_ERROR_BUSY});
    struct process *process = cbpd_begin_process(self, pid, start_time, parent, is_known ? &facts : NULL);
    cbpd_count_for_all(&self->helper, offsetof(struct cbp_channel_session, refused));
    if (!process) {
        cbpd_count_lost(&self->helper);
        return;
    }
    process->refused = true;
    process->parent_pid = parent->base.pid;
    cbpd_tell_refused(self, process, &facts);
    cbpd_forget_process(self, process);
}

static void deal_with(struct debugger *self, uint32_t pid, struct process *parent, HANDLE handle,
                      uint64_t start_time)
{
    switch (cbpd_who_debugs(self, handle)) {
    case DEBUGGER_OURSELVES:
        return; /* it was created suspended, or its first event is coming */
    case DEBUGGER_ANOTHER:
        refuse_stray(self, pid, parent, handle, start_time);
        return;
    case DEBUGGER_NOBODY:
        if (cbpd_start_debugging(self, handle)) /* its first event comes like any other process's */
            return;
        break;
    case DEBUGGER_UNKNOWN:
        break;
    }
    tell_lost(self, pid, start_time);
}

/* Deals with a stray, unless it is older than its parent's attachment. */
static void consider(struct debugger *self, uint32_t pid, uint32_t parent_pid)
{
    HANDLE handle = cbpd_open_process(self, pid), weak = handle;
    if (!handle)
        weak = cbpd_open_process_to_look(pid);
    uint64_t start_time = weak ? cbpd_read_start_time(weak) : 0;
    struct process *parent = cbpd_find_creator(self, parent_pid, start_time);
    if (start_time != 0 && parent && start_time > parent->attached_time) {
        if (handle)
            deal_with(self, pid, parent, handle, start_time);
        else
            tell_lost(self, pid, start_time);
    }
    close_handle(weak);
}

void cbpd_look_for_strays(struct debugger *self)
{
    struct listing listing = {0};
    uint32_t pid, parent_pid;
    uint64_t now = cbpd_now_ns();
    if (!cbpd_anybody_was_ours(self) || self->helper.leaving || now < next_look_ns)
        return;
    while (cbpd_next_listed_process(&listing, &pid, &parent_pid))
        if (pid != self->controller_pid && pid != GetCurrentProcessId() &&
            !find_process(&self->helper, pid) && cbpd_was_ours(self, parent_pid))
            consider(self, pid, parent_pid);
    next_look_ns = cbpd_now_ns() + LOOK_NS;
}

uint64_t cbpd_next_stray_look_ns(struct debugger *self)
{
    return cbpd_anybody_was_ours(self) ? next_look_ns : 0;
}
