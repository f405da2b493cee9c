/* Implements transport.h for the debug driver: what this machine lets it do. The rest is made of the two
 * halves in drivers/helper. */
#include "cbp_debug_control.h"
#include "channel_session.h"
#include "debug_launch.h"
#include "debug_link.h"

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
    return cbpi_helper_refuse_scopes(settings, "Windows");
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

const struct cbpi_driver cbpi_debug_driver = {
    .name = "debug",
    .probe = probe,
    .open = open_session,
    .launches = &cbpi_debug_launch_ops,
};
