/* Follows processes that the controller has created, from their claim until they run or are refused. */
#include <stdlib.h>

#include "debugger.h"

#define CLAIM_MAX_NS (10 * CBP_NS_PER_S)

/* A launch lasts from the controller's claim of a process until it runs or is refused. */
struct launch {
    struct launch *next;
    struct process *process; /* NULL until its first event has come */
    struct cbp_launch_result *result;
    HANDLE event;
    uint32_t session_id, rule_id, thread_id, process_id;
    uint64_t claimed_ns;
};

static struct launch *launches;

void cbpd_end_launch(struct launch *launch, uint32_t status, uint32_t os_error)
{
    struct launch **link = &launches;
    while (*link != launch)
        link = &(*link)->next;
    *link = launch->next;
    struct cbp_launch_result result = {
        .header = {.size = sizeof result, .type = CBP_MESSAGE_LAUNCH_RESULT},
        .status = status,
        .os_error = os_error,
        .process_id = launch->process_id,
        .start_time = launch->process ? launch->process->base.start_time : 0,
    };
    if (launch->process)
        launch->process->launch = NULL;
    *launch->result = result;
    (void) UnmapViewOfFile(launch->result);
    (void) SetEvent(launch->event);
    CloseHandle(launch->event);
    free(launch);
}

/* Connects a claim with its process. */
static void begin_launch(struct debugger *self, struct launch *launch, struct process *process)
{
    launch->process = process;
    process->launch = launch;
    process->seen_ns = 0;
    process->creator_tid = launch->thread_id;
    if (launch->rule_id != 0 && self->helper.policy.sessions[launch->session_id].open)
        cbpd_add_launch_rule(&self->helper.policy, launch->session_id, launch->rule_id, &process->base);
}

bool cbpd_find_claim(struct debugger *self, struct process *process)
{
    struct launch *launch = launches;
    while (launch && (launch->process || launch->process_id != process->base.pid))
        launch = launch->next;
    if (!launch)
        return false;
    process->is_root = true;
    begin_launch(self, launch, process);
    return true;
}

/* Gives a handle that a request names, unless it is one of those that the helper itself needs. */
static HANDLE foreign_handle(struct debugger *self, uint64_t value)
{
    HANDLE handle = (HANDLE) (uintptr_t) value;
    bool is_own = handle == self->section || handle == self->controller || handle == self->answer_event ||
                  handle == self->request_event || handle == self->reply_event ||
                  handle == self->debug_object || handle == cbpd_rules_loaded_event();
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++)
        is_own = is_own || handle == self->bells[id];
    return is_own ? NULL : handle;
}

/* Maps the section for the result, and closes it in any case. NULL: there is none. */
static struct cbp_launch_result *map_result(HANDLE section)
{
    struct cbp_launch_result *result = section ? MapViewOfFile(section, FILE_MAP_ALL_ACCESS, 0, 0, 0) : NULL;
    close_handle(section);
    if (!result || cbpd_view_holds(result, sizeof *result))
        return result;
    (void) UnmapViewOfFile(result);
    return NULL;
}

uint32_t cbpd_claim_process(struct debugger *self, const struct cbp_launch_process *request,
                            struct process **claimed)
{
    HANDLE event = foreign_handle(self, request->event_handle);
    *claimed = NULL;
    struct cbp_launch_result *result = map_result(foreign_handle(self, request->section_handle));
    bool is_whole = result && event && ResetEvent(event); /* only an event can be reset */
    struct launch *launch = is_whole ? calloc(1, sizeof *launch) : NULL;
    if (!launch) {
        close_handle(event);
        if (result)
            (void) UnmapViewOfFile(result);
        return is_whole ? CBP_ERROR_NOT_ENOUGH_MEMORY : CBP_ERROR_INVALID_DATA;
    }
    launch->result = result;
    launch->event = event;
    launch->session_id = request->session_id;
    launch->rule_id = request->rule_id;
    launch->thread_id = request->thread_id;
    launch->process_id = request->process_id;
    launch->claimed_ns = cbpd_now_ns();
    launch->next = launches;
    launches = launch;
    struct process *process = find_process(&self->helper, request->process_id);
    if (process && process->is_root && !process->launch && process->seen_ns != 0) {
        begin_launch(self, launch, process);
        *claimed = process;
    }
    return 0;
}

bool cbpd_has_open_claims(void)
{
    struct launch *launch = launches;
    while (launch && launch->process)
        launch = launch->next;
    return launch;
}

/* Ends claims of processes that do not come, because they were not created for this helper. */
void cbpd_expire_claims(void)
{
    uint64_t now = cbpd_now_ns();
    for (struct launch *launch = launches, *next; launch; launch = next) {
        next = launch->next;
        if (!launch->process && now - launch->claimed_ns > CLAIM_MAX_NS)
            cbpd_end_launch(launch, CBP_ERROR_NOT_FOUND, 0);
    }
}

void cbpd_end_every_launch(void)
{
    while (launches)
        cbpd_end_launch(launches, CBP_ERROR_BROKEN_PIPE, 0);
}
