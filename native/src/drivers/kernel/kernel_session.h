/* Opens a session with the kernel driver: its requests are those of helper_session.h, and its deliveries come
 * over the device (kernel_deliveries.h). */
#ifndef CBPI_KERNEL_SESSION_H
#define CBPI_KERNEL_SESSION_H

#include "helper_session.h"

uint32_t cbpi_kernel_session_open(const struct cbpi_session_settings *settings,
                                  struct cbpi_transport **transport);

/* Tell the driver what the calling thread is. */
uint32_t cbpi_kernel_session_enter_worker(struct cbpi_transport *transport);
void cbpi_kernel_session_leave_worker(struct cbpi_transport *transport);

int64_t cbpi_kernel_session_token(struct cbpi_transport *transport, const struct cbpi_delivery *delivery);

#endif
