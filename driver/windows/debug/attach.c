/* Takes running processes under the filter. Nothing is injected into them: the system only begins to send
 * their debug events. Knows no requests. */
#include "debugger.h"

static struct facts facts;

static uint32_t attach_to(struct debugger *self, uint32_t pid, HANDLE handle)
{
    if (!cbpd_read_facts(handle, NULL, &facts))
        return CBP_ERROR_ACCESS_DENIED;
    if (!cbpd_start_debugging(self, handle))
        return cbpd_who_debugs(self, handle) == DEBUGGER_NOBODY ? CBP_ERROR_ACCESS_DENIED : CBP_ERROR_BUSY;
    cbpd_hide_debugger(handle, NULL);
    struct process *parent = find_process(&self->helper, facts.parent_pid);
    struct process *process = cbpd_begin_process(self, pid, cbpd_read_start_time(handle), parent, &facts);
    if (!process) {
        cbpd_carry_out(self, pid, 0, (struct disposition){.what = DISPOSE_LET_GO});
        return CBP_ERROR_NOT_ENOUGH_MEMORY;
    }
    process->handle = handle;
    process->base.attached = true;
    process->attached_time = cbpd_file_time_now();
    return 0;
}

static uint32_t attach_one(struct debugger *self, uint32_t pid)
{
    HANDLE handle = cbpd_open_process(self, pid);
    if (!handle)
        return GetLastError() == ERROR_INVALID_PARAMETER ? CBP_ERROR_INVALID_PARAMETER
                                                         : CBP_ERROR_ACCESS_DENIED;
    uint32_t error = attach_to(self, pid, handle);
    if (error != 0)
        CloseHandle(handle);
    return error;
}

static uint64_t start_time_of(uint32_t pid) /* 0: not known */
{
    HANDLE handle = cbpd_open_process_to_look(pid);
    uint64_t start_time = handle ? cbpd_read_start_time(handle) : 0;
    close_handle(handle);
    return start_time;
}

/* Looks once at all processes and attaches to children in the root's tree that are not debugged yet. *count
 * counts them. A child that cannot be attached to is skipped, unless memory is lacking. */
static uint32_t attach_new_children(struct debugger *self, uint32_t root_pid, uint32_t *count)
{
    const struct process *root = find_process(&self->helper, root_pid);
    struct listing listing = {0};
    uint32_t error = 0, pid, parent_pid;
    cbpd_begin_search(&self->helper.policy, &root->base);
    while (cbpd_next_listed_process(&listing, &pid, &parent_pid)) {
        struct process *parent = find_process(&self->helper, parent_pid);
        if (!find_process(&self->helper, pid) && parent &&
            (parent == root || cbpd_branch_of(&self->helper.policy, &parent->base)) &&
            /* By now the parent's id may belong to a younger process. */
            start_time_of(pid) >= parent->base.start_time) {
            uint32_t failure = attach_one(self, pid);
            *count += failure == 0;
            if (failure == CBP_ERROR_NOT_ENOUGH_MEMORY)
                error = failure;
        }
    }
    return listing.has_failed ? CBP_ERROR_NOT_ENOUGH_MEMORY : error;
}

static uint32_t attach_tree(struct debugger *self, uint32_t pid, bool children)
{
    uint32_t error = !find_process(&self->helper, pid) ? attach_one(self, pid) : 0;
    for (uint32_t count = 1; error == 0 && children && count > 0;) {
        count = 0;
        error = attach_new_children(self, pid, &count);
    }
    return error;
}

uint32_t cbpd_attach_process(struct cbpd_helper *helper, uint32_t pid, uint64_t start_time, bool children)
{
    return start_time_of(pid) != start_time ? CBP_ERROR_INVALID_PARAMETER
                                            : attach_tree(debugger_of(helper), pid, children);
}

/* Reads from the rule set what it wants of a process. False: no memory. */
static bool wish_for(struct debugger *self, uint32_t pid, struct cbpd_rule_set *set, uint32_t wanted_rule_id,
                     enum cbpd_attachment *wish)
{
    HANDLE handle = cbpd_open_process(self, pid);
    bool is_ours = handle && cbpd_is_own_user(handle);
    bool is_known = is_ours && cbpd_read_facts(handle, NULL, &facts);
    struct cbpd_image *image = is_known ? cbpd_image_of(self, &facts) : NULL;
    *wish = image ? cbpd_attachment_for(image, set, wanted_rule_id) : CBPD_ATTACH_NOTHING;
    cbpd_release_image(&self->helper.policy, image);
    close_handle(handle);
    return image || !is_ours || (!is_known && !facts.is_lacking);
}

uint32_t cbpd_attach_matching(struct cbpd_helper *helper, struct cbpd_rule_set *set, uint32_t wanted_rule_id)
{
    struct debugger *self = debugger_of(helper);
    struct listing listing = {0};
    uint32_t error = 0, pid, parent_pid;
    while (cbpd_next_listed_process(&listing, &pid, &parent_pid)) {
        enum cbpd_attachment wish;
        uint32_t failure = 0;
        if (find_process(&self->helper, pid))
            continue;
        if (!wish_for(self, pid, set, wanted_rule_id, &wish))
            failure = CBP_ERROR_NOT_ENOUGH_MEMORY;
        else if (wish != CBPD_ATTACH_NOTHING)
            failure = attach_tree(self, pid, wish == CBPD_ATTACH_TREE);
        if (failure == CBP_ERROR_NOT_ENOUGH_MEMORY)
            error = failure;
    }
    return listing.has_failed ? CBP_ERROR_NOT_ENOUGH_MEMORY : error;
}
