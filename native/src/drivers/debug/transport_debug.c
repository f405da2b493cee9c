/* transport.h for the debug driver: what this machine lets it do, and launches. The rest is every tree
 * driver's (tree_session.c). */
#include "debug_link.h"
#include "errors.h"

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

/* Says what can be done about a process that the helper could not attach to. */
static uint32_t explain_attach(uint32_t error, uint32_t process_id)
{
    if (error == CBP_ERROR_BUSY)
        return cbpi_fail(
            error,
            "process %u cannot be attached to: a debugger, or another controller, has it and has "
            "to let go of it first",
            process_id);
    if (error == CBP_ERROR_ACCESS_DENIED)
        return cbpi_fail(
            error,
            "process %u cannot be attached to: it belongs to another user, is protected, or runs "
            "with more privileges; run as its user, or as an administrator",
            process_id);
    if (error == CBP_ERROR_INVALID_PARAMETER)
        return cbpi_fail(error, "no process with the id %u lives any more", process_id);
    return error;
}

static uint32_t set_rules(struct cbpi_transport *transport, const struct cbpi_rules_change *change)
{
    uint32_t process_id;
    uint32_t error = cbpi_tree_set_rules(transport, change, &process_id);
    return process_id != 0 ? explain_attach(error, process_id) : error;
}

static uint32_t launch_enter(struct cbpi_transport *transport, struct cbpi_launch_channel *channel)
{
    return cbpi_debug_launch_enter(transport->link, channel);
}

static uint32_t check_settings(const struct cbpi_session_settings *settings)
{
    if (settings->scope_signals)
        return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "ScopeSignals is not possible on Windows");
    if (settings->scope_proc_files)
        return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "ScopeProcFiles is not possible on Windows");
    return 0;
}

static uint32_t open_session(const struct cbpi_session_settings *settings, struct cbpi_transport **transport)
{
    uint32_t error = check_settings(settings);
    return error != 0 ? error : cbpi_tree_open(settings, transport);
}

static uint32_t update(struct cbpi_transport *transport, const struct cbpi_session_settings *settings)
{
    uint32_t error = check_settings(settings);
    return error != 0 ? error : cbpi_tree_update(transport, settings);
}

const struct cbpi_transport_ops cbpi_debug_transport = {
    CBPI_TREE_TRANSPORT_OPS,
    .name = "debug",
    .probe = probe,
    .open = open_session,
    .update = update,
    .set_rules = set_rules,
    .launch_enter = launch_enter,
    .launch_claim = cbpi_debug_launch_claim,
};
