/* Offers the link to the kernel driver: the device of a session, as helper_session.c needs it. Knows nothing
 * of deliveries. */
#ifndef CBPI_KERNEL_LINK_H
#define CBPI_KERNEL_LINK_H

#include "device.h"
#include "link.h"

extern const struct cbpi_link_ops cbpi_kernel_link_ops;

struct cbpi_kernel_device *cbpi_kernel_link_device(struct cbpi_link *link);

#endif
