/* States what the I/O manager's two files tell each other: irps.c has requests, loading.c has the driver and its
 * devices. */
#ifndef LOADER_IO_H
#define LOADER_IO_H

#include "loader.h"

/* Finds the device by its name and opens it: the driver is not unloaded before it is closed. */
DEVICE_OBJECT *device_open(const char *name, NTSTATUS *status);
void device_close(DEVICE_OBJECT *device);

#endif
