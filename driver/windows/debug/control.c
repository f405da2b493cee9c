/* Requests of the core, and the launches that they announce. A request is copied before it is looked at,
 * because the core can still write to it. */
#include <stdlib.h>
#include <string.h>

#include "cbp_atomic.h"
#include "cbp_message_check.h"
#include "debugger.h"

#define CLAIM_MAX_NS UINT64_C(10000000000)

/* A process that the controller has created for us: from its claim until it runs or is refused. */
struct launch {
    struct launch *next;
    struct process *process; /* NULL until its first event has come */
    struct cbp_launch_result *result;
    HANDLE event;
    uint32_t session_id, rule_id, thread_id, process_id;
    uint64_t claimed_ns;
};

static struct launch *launches;
static union {
    uint64_t alignment;
    unsigned char bytes[CBP_DEBUG_REQUEST_SIZE_MAX];
} buffer;

/* ---- Launches ---- */

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
        .start_time = launch->process != NULL ? launch->process->base.start_time : 0,
    };
    if (launch->process != NULL)
        launch->process->launch = NULL;
    *launch->result = result;
    (void) UnmapViewOfFile(launch->result);
    (void) SetEvent(launch->event);
    CloseHandle(launch->event);
    free(launch);
}

/* Process and claim have found each other. */
static void begin_launch(struct debugger *self, struct launch *launch, struct process *process)
{
    launch->process = process;
    process->launch = launch;
    process->seen_ns = 0;
    process->creator_tid = launch->thread_id;
    if (launch->rule_id != 0 && self->helper.policy.sessions[launch->session_id].open)
        cbpd_add_launch_rule(&self->helper.policy, launch->session_id, launch->rule_id, &process->base);
    cbpd_report_creation(self, process);
}

bool cbpd_find_claim(struct debugger *self, struct process *process)
{
    struct launch *launch = launches;
    while (launch != NULL && (launch->process != NULL || launch->process_id != process->base.pid))
        launch = launch->next;
    if (launch == NULL)
        return false;
    process->is_root = true;
    begin_launch(self, launch, process);
    return true;
}

/* A handle that a request names, and that is none of those that the helper lives by. */
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

static void close_foreign(HANDLE handle)
{
    if (handle != NULL)
        CloseHandle(handle);
}

/* The place for the result, behind a section that is closed in any case; NULL: there is none. */
static struct cbp_launch_result *map_result(HANDLE section)
{
    struct cbp_launch_result *result =
        section != NULL ? MapViewOfFile(section, FILE_MAP_ALL_ACCESS, 0, 0, 0) : NULL;
    close_foreign(section);
    if (result == NULL || cbpd_view_holds(result, sizeof *result))
        return result;
    (void) UnmapViewOfFile(result);
    return NULL;
}

static uint32_t claim_process(struct debugger *self, const struct cbp_launch_process *request)
{
    HANDLE event = foreign_handle(self, request->event_handle);
    struct cbp_launch_result *result = map_result(foreign_handle(self, request->section_handle));
    bool is_whole = result != NULL && event != NULL && ResetEvent(event); /* which only an event can be */
    struct launch *launch = is_whole ? calloc(1, sizeof *launch) : NULL;
    if (launch == NULL) {
        close_foreign(event);
        if (result != NULL)
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
    struct process *process = find_process(self, request->process_id);
    if (process != NULL && process->is_root && process->launch == NULL && process->seen_ns != 0)
        begin_launch(self, launch, process);
    return 0;
}

bool cbpd_has_open_claims(void)
{
    struct launch *launch = launches;
    while (launch != NULL && launch->process != NULL)
        launch = launch->next;
    return launch != NULL;
}

/* Claims of processes that are not coming: they were not created for us. */
void cbpd_expire_claims(void)
{
    uint64_t now = cbpd_now_ns();
    for (struct launch *launch = launches, *next; launch != NULL; launch = next) {
        next = launch->next;
        if (launch->process == NULL && now - launch->claimed_ns > CLAIM_MAX_NS)
            cbpd_end_launch(launch, CBP_ERROR_NOT_FOUND, 0);
    }
}

/* ---- Requests ---- */

static uint32_t accept_hello(struct debugger *self, const struct cbp_hello *hello)
{
    if (hello->magic != CBP_PROTOCOL_MAGIC || hello->version != CBP_PROTOCOL_VERSION)
        return CBP_ERROR_INVALID_KERNEL_INFO_VERSION;
    self->controller_pid = hello->process_id;
    /* Deadlines are told in the controller's clock: it must be ours. */
    return hello->clock_ns > cbpd_now_ns() ? CBP_ERROR_APP_INIT_FAILURE : 0;
}

static uint32_t query_process(struct debugger *self, const struct cbp_process_query *query, uint64_t *value)
{
    const struct process *process = find_process(self, query->process_id);
    if (process == NULL)
        return CBP_ERROR_NOT_FOUND;
    *value = cbpd_capabilities_of(process);
    return 0;
}

static uint32_t serve(struct debugger *self, uint32_t type, uint64_t *value)
{
    const void *request = buffer.bytes;
    switch (type) {
    case CBP_MESSAGE_HELLO:
        return accept_hello(self, request);
    case CBP_MESSAGE_SESSION:
        return cbpd_serve_session(&self->helper, request);
    case CBP_MESSAGE_SESSION_CLOSE:
        return cbpd_serve_session_close(&self->helper,
                                        ((const struct cbp_session_close *) request)->session_id);
    case CBP_MESSAGE_LAUNCH_FORGET:
        return cbpd_serve_launch_forget(&self->helper, request);
    case CBP_MESSAGE_LAUNCH_PROCESS:
        return claim_process(self, request);
    case CBP_MESSAGE_PROCESS_QUERY:
        return query_process(self, request, value);
    default:
        return CBP_ERROR_INVALID_DATA;
    }
}

static void reply(struct debugger *self, uint64_t id, uint32_t status, uint64_t value)
{
    self->control->reply = (struct cbp_reply){
        .header = {.size = sizeof self->control->reply, .type = CBP_MESSAGE_REPLY, .id = id},
        .status = status,
        .version = CBP_PROTOCOL_VERSION,
        .value = value,
        .clock_ns = cbpd_now_ns(),
    };
    cbpd_publish_counts(self);
    (void) SetEvent(self->reply_event);
}

static void serve_request(struct debugger *self)
{
    uint32_t size = cbp_load_relaxed_u32(&self->control->request_size);
    const struct cbp_message_header *header = (const void *) buffer.bytes;
    uint64_t value = CBP_DEBUG_CAPABILITIES;
    uint32_t status = CBP_ERROR_INVALID_DATA;
    if (size > sizeof buffer.bytes)
        size = 0;
    memset(buffer.bytes, 0, sizeof *header);
    memcpy(buffer.bytes, self->control->request, size);
    if (header->type != CBP_MESSAGE_EVENT && cbp_message_check(buffer.bytes, size, header->type) == 0) {
        if (header->type == CBP_MESSAGE_RULES) {
            cbpd_begin_loading_rules(self, (const void *) buffer.bytes);
            return;
        }
        status = serve(self, header->type, &value);
    }
    reply(self, header->id, status, value);
}

static void finish_rules(struct debugger *self)
{
    struct cbp_rules request;
    uint32_t status;
    uint64_t value = 0;
    if (cbpd_finish_loading_rules(self, &request, &status, &value))
        reply(self, request.header.id, status, value);
}

void cbpd_leave(struct debugger *self)
{
    self->helper.controller_gone = true;
    cbpd_release_every_slot(&self->helper);
    cbpd_apply_settled(self);
    self->helper.leaving = true;
    cbpd_let_everything_go(self);
    while (launches != NULL)
        cbpd_end_launch(launches, CBP_ERROR_BROKEN_PIPE, 0);
}

void cbpd_serve_control(struct debugger *self)
{
    bool is_over = cbp_load_u32(&self->control->is_closing) != 0 ||
                   WaitForSingleObject(self->controller, 0) != WAIT_TIMEOUT;
    if (is_over)
        cbpd_leave(self);
    else if (cbpd_is_loading_rules()) /* what follows rules waits until they are in force */
        finish_rules(self);
    else if (WaitForSingleObject(self->request_event, 0) == WAIT_OBJECT_0)
        serve_request(self);
}
