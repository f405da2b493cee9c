/* Implements transport.h for the debug driver: what this machine lets it do, and launches. The rest is made
 * of the two halves in drivers/helper. */
#include "cbp_atomic.h"
#include "cbp_debug_control.h"
#include "channel_session.h"
#include "debug_link.h"
#include "errors.h"
#include "launch.h"
#include "os_error.h"
#include "windows_api.h"

#include <stdio.h>

static uint32_t probe(char *reason, uint64_t size)
{
    if (!cbpi_debug_helper_is_there()) {
        snprintf(reason, (size_t) size, "the program cbprocess-debug.exe is missing from the package");
        return 0;
    }
    snprintf(reason, (size_t) size,
             "a creation is refused by ending the new process before its first instruction; handle "
             "operations need the kernel driver");
    return CBP_DEBUG_CAPABILITIES;
}

/* Says what is in the way, and what can be done about it. */
static const char *attach_obstacle(uint32_t error)
{
    if (error == CBP_ERROR_BUSY)
        return "a debugger, or another controller, has it and has to let go of it first";
    if (error == CBP_ERROR_ACCESS_DENIED)
        return "it belongs to another user, is protected, or runs with more privileges; run as its user, or "
               "as "
               "an administrator";
    return NULL;
}

static uint32_t check_settings(const struct cbpi_session_settings *settings)
{
    if (settings->policy.flags & CBP_SESSION_FLAG_SCOPE_SIGNALS)
        return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "ScopeSignals is not possible on Windows");
    if (settings->policy.flags & CBP_SESSION_FLAG_SCOPE_PROC_FILES)
        return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "ScopeProcFiles is not possible on Windows");
    return 0;
}

static const struct cbpi_helper_driver helper_driver = {
    .link_ops = &cbpi_debug_link_ops,
    .check_settings = check_settings,
    .attach_obstacle = attach_obstacle,
};

static uint32_t open_session(const struct cbpi_session_settings *settings, struct cbpi_transport **transport)
{
    return cbpi_channel_open(&helper_driver, settings, transport);
}

/* ---- Launches: the caller's own thread creates the process, for the helper's debug object ---- */

static struct cbpi_debug_link *link_of(struct cbpi_transport *transport)
{
    return (struct cbpi_debug_link *) cbpi_helper_session(transport)->link;
}

static uint32_t enter(struct cbpi_transport *transport, struct cbpi_launch_channel *channel)
{
    const struct cbpi_debug_link *link = link_of(transport);
    HANDLE theirs = (HANDLE) (uintptr_t) link->control->debug_object, mine = NULL;
    *channel = (struct cbpi_launch_channel){0};
    if (!DuplicateHandle(link->process, theirs, GetCurrentProcess(), &mine, 0, FALSE, DUPLICATE_SAME_ACCESS))
        return cbpi_fail_os(GetLastError(), "cannot get at the debug helper's debug object");
    (void) cbp_add_u32(&link->control->launch_count, 1);
    channel->is_counted = true;
    cbpi_launch_channel_enter(channel, mine);
    return 0;
}

/* Tells the helper the new process. The helper gets copies of the section and the event by which the result
 * comes. */
static uint32_t name_process(struct cbpi_transport *transport, struct cbpi_launch_channel *channel,
                             uint32_t process_id, uint32_t rule_id)
{
    struct cbpi_debug_link *link = link_of(transport);
    void *memory;
    HANDLE section = cbpi_debug_make_section(sizeof *channel->result, &memory);
    uint32_t error = CBP_ERROR_NO_SYSTEM_RESOURCES;
    channel->result = memory;
    channel->event = CreateEventW(NULL, TRUE, FALSE, NULL);
    if (!channel->result || !channel->event ||
        !DuplicateHandle(GetCurrentProcess(), link->process, GetCurrentProcess(), &channel->helper, 0, FALSE,
                         DUPLICATE_SAME_ACCESS)) {
        error = cbpi_fail_os(GetLastError(), "cannot make the launch's event");
        goto cleanup;
    }
    struct cbp_launch_process message = {
        .header = {.size = sizeof message, .type = CBP_MESSAGE_LAUNCH_PROCESS},
        .session_id = cbpi_helper_session(transport)->session_id,
        .rule_id = rule_id,
        .thread_id = cbpi_thread_id(),
        .process_id = process_id,
        .section_handle = cbpi_debug_give(link->process, section),
        .event_handle = cbpi_debug_give(link->process, channel->event)};
    error = cbpi_link_request(&link->base, &message.header, NULL, NULL);
cleanup:
    if (section)
        CloseHandle(section);
    return error;
}

/* Ends a launch. Until it is off the count the helper keeps processes waiting that may belong to it. */
static uint32_t claim(struct cbpi_transport *transport, struct cbpi_launch_channel *channel,
                      uint32_t process_id, uint32_t rule_id)
{
    uint32_t error = process_id != 0 ? name_process(transport, channel, process_id, rule_id) : 0;
    if (channel->is_counted)
        (void) cbp_subtract_u32(&link_of(transport)->control->launch_count, 1);
    channel->is_counted = false;
    return error;
}

static const struct cbpi_launch_ops launch_ops = {
    .ways = CBPI_LAUNCH_BY_CALLER, .enter = enter, .claim = claim, .forget = cbpi_helper_forget_launch};

const struct cbpi_driver cbpi_debug_driver = {
    .name = "debug",
    .probe = probe,
    .open = open_session,
    .launches = &launch_ops,
};
