/* Is cbprocess-debug: debugs the trees that a controller starts or attaches to, holds their operations while
 * the controller's handlers decide, and lets everything go when the controller is gone. The core starts it
 * with the handle of cbp_debug_control.h's section as its only argument; it has no other interface.
 *
 * It waits for everything at once: the debug object, the answer bell, a request, the controller's end. */
#include <stdlib.h>

#include "cbp_atomic.h"
#include "debugger.h"

__declspec(dllimport) LONG NTAPI DbgUiConnectToDbg(void);
__declspec(dllimport) HANDLE NTAPI DbgUiGetThreadDebugObject(void);

#define LOOK_AGAIN_NS (100 * CBP_NS_PER_MS)

static HANDLE handle_of(uint64_t value)
{
    return (HANDLE) (uintptr_t) value;
}

/* Gives the number after the last space of the command line. */
static HANDLE section_argument(void)
{
    const WCHAR *at = GetCommandLineW();
    uint64_t value = 0;
    for (; *at != 0; at++)
        value = *at >= '0' && *at <= '9' ? value * 10 + (uint64_t) (*at - '0') : 0;
    return handle_of(value);
}

static bool is_open(HANDLE handle)
{
    DWORD flags;
    return GetHandleInformation(handle, &flags) != 0;
}

static bool map_channel(struct debugger *self)
{
    HANDLE section = section_argument();
    unsigned char *memory = MapViewOfFile(section, FILE_MAP_ALL_ACCESS, 0, 0, CBP_DEBUG_SECTION_SIZE);
    if (!memory)
        return false;
    self->section = section;
    self->helper.channel = (struct cbp_channel *) (void *) memory;
    self->control = (struct cbp_debug_control *) (void *) (memory + CBP_DEBUG_CONTROL_OFFSET);
    self->controller = handle_of(self->control->controller_handle);
    self->answer_event = handle_of(self->control->answer_event);
    self->request_event = handle_of(self->control->request_event);
    self->reply_event = handle_of(self->control->reply_event);
    bool all = is_open(self->controller) && is_open(self->answer_event) && is_open(self->request_event) &&
               is_open(self->reply_event);
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++) {
        self->bells[id] = handle_of(self->control->bells[id]);
        all = all && is_open(self->bells[id]);
    }
    return all && self->helper.channel->magic == CBP_PROTOCOL_MAGIC &&
           self->helper.channel->version == CBP_PROTOCOL_VERSION &&
           self->helper.channel->size == CBP_CHANNEL_SIZE;
}

/* Debugged processes must outlive this process, however it ends. */
static bool make_debug_object(struct debugger *self)
{
    if (DbgUiConnectToDbg() < 0 || !DebugSetProcessKillOnExit(FALSE))
        return false;
    self->debug_object = DbgUiGetThreadDebugObject();
    self->control->debug_object = (uint64_t) (uintptr_t) self->debug_object;
    return true;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a != 0 && (a < b || b == 0) ? a : b;
}

static DWORD wait_ms(struct debugger *self)
{
    uint64_t now = cbpd_now_ns(),
             until = earlier(cbpd_next_deadline_ns(&self->helper), cbpd_next_stray_look_ns(self));
    if (cbpd_has_unclaimed(self) || cbpd_has_open_claims())
        until = earlier(now + LOOK_AGAIN_NS, until);
    if (until == 0)
        return INFINITE;
    uint64_t left = until > now ? (until - now + CBP_NS_PER_MS - 1) / CBP_NS_PER_MS : 0;
    return left < INFINITE - 1 ? (DWORD) left : INFINITE - 1;
}

static void wait_for_something(struct debugger *self)
{
    bool is_loading = !cbpd_is_loading(&self->helper, CBPD_LOADING_IDLE);
    const HANDLE control = is_loading ? cbpd_rules_loaded_event() : self->request_event;
    const HANDLE handles[] = {self->debug_object, self->answer_event, control, self->controller};
    cbp_store_u32(&self->helper.channel->driver_sleeping, 1);
    if (!cbpd_answers_are_there(&self->helper)) {
        DWORD found = WaitForMultipleObjects(4, handles, FALSE, wait_ms(self));
        if (found == WAIT_OBJECT_0 + 2 && control == self->request_event)
            (void) SetEvent(control);  /* the wait has reset it, and cbpd_serve_control() looks at it */
        else if (found == WAIT_FAILED) /* one is closed or no such object: every wait would fail */
            cbpd_leave(self);
    }
    cbp_store_u32(&self->helper.channel->driver_sleeping, 0);
}

static struct debugger whole; /* too large for a stack */

int main(void)
{
    struct debugger *self = &whole;
    (void) SetDefaultDllDirectories(LOAD_LIBRARY_SEARCH_SYSTEM32);
    if (!map_channel(self) || !cbpd_helper_init(&self->helper, &cbpd_helper_host, &cbpd_policy_host) ||
        !make_debug_object(self) || !cbpd_prepare_rule_loading())
        return EXIT_FAILURE;
    cbp_store_u32(&self->helper.channel->driver_process_id, GetCurrentProcessId());
    while (!self->helper.leaving) {
        cbpd_handle_debug_events(self);
        cbpd_serve_control(self);
        cbpd_collect_answers(&self->helper);
        cbpd_expire_operations(&self->helper);
        cbpd_apply_settled(self);
        cbpd_settle_unclaimed(self);
        cbpd_look_for_strays(self);
        cbpd_forget_ended(self);
        cbpd_expire_claims();
        cbpd_publish_counts(self);
        if (!self->helper.leaving)
            wait_for_something(self);
    }
    return EXIT_SUCCESS;
}
