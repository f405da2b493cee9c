/* cbprocess-debug: debugs the trees that a controller starts or attaches to, holds their operations while the
 * controller's handlers decide, and lets everything go when the controller is gone. Started by the core with
 * the handle of the section of cbp_debug_control.h as its only argument; it has no other interface.
 *
 * It waits for all that can happen at once: the debug object, the answer bell, a request, the controller's
 * end. */
#include <stdlib.h>

#include "cbp_atomic.h"
#include "cbp_wtf8.h"
#include "debugger.h"

__declspec(dllimport) LONG NTAPI DbgUiConnectToDbg(void);
__declspec(dllimport) HANDLE NTAPI DbgUiGetThreadDebugObject(void);

#define LOOK_AGAIN_NS UINT64_C(100000000)
#define NS_PER_MS 1000000u

struct debugger self;

static HANDLE handle_of(uint64_t value)
{
    return (HANDLE) (uintptr_t) value;
}

/* The number behind the last space of the command line. */
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

static bool map_channel(void)
{
    HANDLE section = section_argument();
    unsigned char *memory = MapViewOfFile(section, FILE_MAP_ALL_ACCESS, 0, 0, CBP_DEBUG_SECTION_SIZE);
    if (memory == NULL)
        return false;
    self.section = section;
    self.helper.channel = (struct cbp_channel *) (void *) memory;
    self.control = (struct cbp_debug_control *) (void *) (memory + CBP_DEBUG_CONTROL_OFFSET);
    self.controller = handle_of(self.control->controller_handle);
    self.answer_event = handle_of(self.control->answer_event);
    self.request_event = handle_of(self.control->request_event);
    self.reply_event = handle_of(self.control->reply_event);
    bool all = is_open(self.controller) && is_open(self.answer_event) && is_open(self.request_event) &&
               is_open(self.reply_event);
    for (uint32_t id = 0; id < CBP_SESSION_MAX; id++) {
        self.bells[id] = handle_of(self.control->bells[id]);
        all = all && is_open(self.bells[id]);
    }
    return all && self.helper.channel->magic == CBP_PROTOCOL_MAGIC &&
           self.helper.channel->version == CBP_PROTOCOL_VERSION &&
           self.helper.channel->size == CBP_CHANNEL_SIZE;
}

/* What is debugged must outlive this process, however it ends. */
static bool make_debug_object(void)
{
    if (DbgUiConnectToDbg() < 0 || !DebugSetProcessKillOnExit(FALSE))
        return false;
    self.debug_object = DbgUiGetThreadDebugObject();
    self.control->debug_object = (uint64_t) (uintptr_t) self.debug_object;
    return true;
}

static void wake_worker(uint32_t session_id)
{
    (void) ReleaseSemaphore(self.bells[session_id], 1, NULL);
}

static const void *name_units(void *context, const char *name, uint32_t size, size_t *count)
{
    /* A name that found no memory would match no rule; none is longer than what read_facts() reads. */
    static uint16_t units[NAME_SIZE_MAX];
    (void) context;
    if (size > sizeof units / sizeof units[0])
        return NULL;
    *count = cbp_wtf8_decode(name, size, units);
    return *count != SIZE_MAX ? units : NULL;
}

static void discard_slot(void *slot, size_t size)
{
    (void) slot; /* a section's memory stays the section's */
    (void) size;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a != 0 && (a < b || b == 0) ? a : b;
}

static DWORD wait_ms(void)
{
    uint64_t now = now_ns(), until = earlier(cbpd_next_deadline_ns(), next_stray_look_ns());
    if (has_unclaimed() || has_open_claims())
        until = earlier(now + LOOK_AGAIN_NS, until);
    if (until == 0)
        return INFINITE;
    uint64_t left = until > now ? (until - now + NS_PER_MS - 1) / NS_PER_MS : 0;
    return left < INFINITE - 1 ? (DWORD) left : INFINITE - 1;
}

static void wait_for_something(void)
{
    const HANDLE control = is_loading_rules() ? rules_loaded_event() : self.request_event;
    const HANDLE handles[] = {self.debug_object, self.answer_event, control, self.controller};
    cbp_store_u32(&self.helper.channel->driver_sleeping, 1);
    if (!cbpd_answers_are_there(&self.helper)) {
        DWORD found = WaitForMultipleObjects(4, handles, FALSE, wait_ms());
        if (found == WAIT_OBJECT_0 + 2) /* taken by the wait: serve_control looks for it */
            (void) SetEvent(control);
        else if (found == WAIT_FAILED) /* one of them is closed or no such object: it would fail for ever */
            leave();
    }
    cbp_store_u32(&self.helper.channel->driver_sleeping, 0);
}

/* A process that has just been attached to has not told of its threads yet. */
void publish_counts(void)
{
    uint32_t count = self.helper.task_count > self.helper.policy.process_count
                         ? self.helper.task_count
                         : self.helper.policy.process_count;
    cbp_store_relaxed_u32(&self.helper.channel->supervised_count, count);
    if (count > 0)
        cbp_store_relaxed_u32(&self.helper.channel->supervised_ever, 1);
}

/* A process of Windows begins with its program, so that which file that is need not be asked later. */
static void identify_programs(void)
{
}

/* Every process sees the files of a volume by the same paths: paths lead to files. */
static const struct cbpd_host policy_host = {.allocate = cbpd_allocate,
                                             .release = cbpd_free_surely,
                                             .process_size = sizeof(struct process),
                                             .name_comparison = CBP_COMPARE_UTF16,
                                             .name_units = name_units};
static uint32_t parent_pid_of(const struct cbpd_process *process)
{
    return parent_of(process_of(process));
}

static const struct cbpd_helper_host helper_host = {.task_size = sizeof(struct task),
                                                    .held_size = sizeof(struct operation),
                                                    .now_ns = now_ns,
                                                    .wall_ns = wall_ns,
                                                    .wake_worker = wake_worker,
                                                    .parent_pid_of = parent_pid_of,
                                                    .discard_slot = discard_slot,
                                                    .attach_process = attach_process,
                                                    .attach_matching = attach_matching,
                                                    .let_released_go = let_released_go,
                                                    .identify_programs = identify_programs};

int main(void)
{
    (void) SetDefaultDllDirectories(LOAD_LIBRARY_SEARCH_SYSTEM32);
    if (!map_channel() || !cbpd_helper_init(&self.helper, &helper_host, &policy_host) ||
        !make_debug_object() || !prepare_rule_loading())
        return EXIT_FAILURE;
    cbp_store_u32(&self.helper.channel->driver_process_id, GetCurrentProcessId());
    while (!self.helper.leaving) {
        handle_debug_events();
        serve_control();
        cbpd_collect_answers(&self.helper);
        cbpd_expire_operations(&self.helper);
        apply_settled();
        settle_unclaimed();
        look_for_strays();
        forget_ended();
        expire_claims();
        publish_counts();
        if (!self.helper.leaving)
            wait_for_something();
    }
    return EXIT_SUCCESS;
}
