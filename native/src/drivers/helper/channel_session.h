/* Opens a session with a helper: its requests are those of helper_session.h, and its deliveries come over the
 * memory that a link has made (channel_deliveries.h). */
#ifndef CBPI_CHANNEL_SESSION_H
#define CBPI_CHANNEL_SESSION_H

#include "helper_session.h"

/* Joins a helper of the driver and opens a session with it. */
uint32_t cbpi_channel_open(const struct cbpi_helper_driver *driver,
                           const struct cbpi_session_settings *settings, struct cbpi_transport **transport);

#endif
