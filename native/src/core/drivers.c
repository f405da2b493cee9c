/* Finds drivers by name, and answers for what not every driver has: no other file asks whether one has it.
 * The build makes the list of drivers (cmake/drivers.cmake). */
#include "core.h"
#include "version.h"

#include <stdio.h>
#include <string.h>

/* Gives the first driver that is what "auto" means here for this product; the last resort is the first of
 * those that always are. */
static const struct cbpi_driver *automatic_driver(const char *product_guid)
{
    const struct cbpi_driver *const *driver = cbpi_drivers;
    while ((*driver)->is_automatic && !(*driver)->is_automatic(product_guid))
        driver++;
    return *driver;
}

const struct cbpi_driver *cbpi_driver_find(const char *name, const char *product_guid)
{
    if (strcmp(name, "auto") == 0)
        return automatic_driver(product_guid);
    for (const struct cbpi_driver *const *driver = cbpi_drivers; *driver; driver++)
        if (strcmp((*driver)->name, name) == 0)
            return *driver;
    return NULL;
}

bool cbpi_is_driver_name(const char *name)
{
    for (const char *const *known = cbpi_driver_names; name && *known; known++)
        if (strcmp(*known, name) == 0)
            return true;
    return false;
}

/* ---- What not every driver has ---- */

uint32_t cbpi_driver_check_launch(const struct cbpi_driver *driver, uint32_t way)
{
    if (!driver->launches)
        return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "the %s driver cannot start programs", driver->name);
    if (!(driver->launches->ways & way))
        return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "with the %s driver %s", driver->name,
                         way == CBPI_LAUNCH_BY_LAUNCHER
                             ? "the caller creates the process: cbp_launch_enter()"
                             : "the caller cannot create the process: cbp_launch_begin()");
    return 0;
}

bool cbpi_driver_plays(const struct cbpi_driver *driver)
{
    return driver->scripts;
}

uint32_t cbpi_driver_list_processes(bool with_arguments, bool is_asked_for, cbpi_process_visitor *visit,
                                    void *context)
{
    for (const struct cbpi_driver *const *driver = cbpi_drivers; *driver; driver++)
        if ((*driver)->list_processes)
            return (*driver)->list_processes(with_arguments, is_asked_for, visit, context);
    return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "no driver of this build lists processes");
}

void cbpi_drivers_forget(void)
{
    for (const struct cbpi_driver *const *driver = cbpi_drivers; *driver; driver++)
        if ((*driver)->forget_after_fork)
            (*driver)->forget_after_fork();
}

static bool machine_process_lives(uint32_t process_id, uint64_t start_time)
{
    uint64_t found;
    return cbpi_process_start_time(process_id, &found) == 0 && found == start_time;
}

/* A start time tells the machine's processes apart. */
static bool machine_process_is_of_earlier(struct cbpi_transport *transport, uint32_t rule_id,
                                          uint32_t process_id)
{
    (void) transport;
    (void) rule_id;
    (void) process_id;
    return false;
}

static uint32_t machine_process_name(struct cbpi_transport *transport, uint32_t process_id, char *buffer,
                                     uint64_t size, uint64_t *needed)
{
    (void) transport;
    return cbpi_process_path(process_id, buffer, size, needed);
}

const struct cbpi_process_ops *cbpi_driver_processes(const struct cbpi_driver *driver)
{
    static const struct cbpi_process_ops machine = {.start_time = cbpi_process_start_time,
                                                    .lives = machine_process_lives,
                                                    .is_of_earlier = machine_process_is_of_earlier,
                                                    .name = machine_process_name,
                                                    .token = cbpi_process_token};
    return driver->processes ? driver->processes : &machine;
}

uint32_t cbpi_driver_enter_worker(const struct cbpi_driver *driver, struct cbpi_transport *transport)
{
    return driver->workers ? driver->workers->enter(transport) : 0;
}

void cbpi_driver_leave_worker(const struct cbpi_driver *driver, struct cbpi_transport *transport)
{
    if (driver->workers)
        driver->workers->leave(transport);
}

int64_t cbpi_driver_originator_token(const struct cbpi_driver *driver, struct cbpi_transport *transport,
                                     const struct cbpi_delivery *delivery)
{
    return driver->originator_token ? driver->originator_token(transport, delivery) : -1;
}

/* A driver that comes with the library runs from its folder. */

static uint32_t carried_status(const char *product_guid, uint32_t *status)
{
    (void) product_guid;
    *status = CBP_MODULE_STATUS_RUNNING;
    return 0;
}

static uint32_t carried_version(const char *product_guid, uint64_t *version)
{
    (void) product_guid;
    *version = cbpi_version_words(CBP_VERSION);
    return 0;
}

static uint32_t carried_prepare(const char *product_guid)
{
    (void) product_guid;
    return 0;
}

static uint32_t carried_change(const struct cbpi_installation_request *request, bool *must_reboot)
{
    (void) request;
    *must_reboot = false;
    return 0;
}

const struct cbpi_installation_ops *cbpi_driver_installation(const struct cbpi_driver *driver)
{
    static const struct cbpi_installation_ops carried = {.status = carried_status,
                                                         .version = carried_version,
                                                         .prepare = carried_prepare,
                                                         .install = carried_change,
                                                         .uninstall = carried_change};
    return driver->installation ? driver->installation : &carried;
}

/* ---- The public functions ---- */

uint32_t cbp_driver_probe(const char *driver, uint32_t *capabilities, char *reason, uint64_t size)
{
    if (!cbpi_is_driver_name(driver))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "there is no driver of this name");
    if (!capabilities || (!reason && size != 0))
        return cbpi_fail(CBP_ERROR_INVALID_PARAMETER, "capabilities and reason must not be NULL");
    const struct cbpi_driver *found = cbpi_driver_find(driver, "");
    if (found) {
        if (size > 0)
            reason[0] = '\0';
        *capabilities = found->probe(reason, size);
    } else {
        snprintf(reason, (size_t) size, "the %s driver is not part of this build (%s)", driver,
                 cbpi_platform_name());
        *capabilities = 0;
    }
    return 0;
}
