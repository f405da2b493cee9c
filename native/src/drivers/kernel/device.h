/* Is the way to the device of cbprocess.sys: requests, which complete at once, and receives, which wait for a
 * message. Knows the bytes that travel (cbp_kernel_control.h), but no session and no order of messages.
 * device.c implements it; tests have a device of their own. Any thread. */
#ifndef CBPI_KERNEL_DEVICE_H
#define CBPI_KERNEL_DEVICE_H

#include "cbp_kernel_control.h"

#include <stdbool.h>
#include <stddef.h>

/* A device is open for one session: all of its receives complete in one place. */
struct cbpi_kernel_device;

/* A receive waits for a message. The memory is the caller's, and must stay until take has given it back. */
struct cbpi_kernel_receive {
    void *system[4]; /* the device's own */
    struct cbp_kernel_receive request;
    void *buffer; /* aligned to 8 */
    uint32_t buffer_size;
    uint32_t size; /* the next two are set by take: the bytes that came */
    /* 0; CBP_ERROR_INSUFFICIENT_BUFFER: the buffer has the message's fixed part alone;
     * CBP_ERROR_OPERATION_ABORTED: it was cancelled; CBP_ERROR_BROKEN_PIPE: the driver has gone. */
    uint32_t error;
};

/* Opens the device. CBP_ERROR_FILE_NOT_FOUND: no driver runs; CBP_ERROR_ACCESS_DENIED: the caller is no
 * administrator; CBP_ERROR_NOT_ENOUGH_MEMORY, CBP_ERROR_NO_SYSTEM_RESOURCES, CBP_ERROR_GEN_FAILURE. */
uint32_t cbpi_kernel_device_open(struct cbpi_kernel_device **device);

/* Ends all that the driver knows of this device. Every receive has come out of take, or is never freed. */
void cbpi_kernel_device_close(struct cbpi_kernel_device *device);

/* Says whether a request or a receive has seen that the driver has gone. */
bool cbpi_kernel_device_has_gone(const struct cbpi_kernel_device *device);

/* Sends size bytes and gets a reply of exactly reply_size. CBP_ERROR_INVALID_DATA: the driver does not
 * understand the request, or replies something else; CBP_ERROR_BROKEN_PIPE, CBP_ERROR_NO_SYSTEM_RESOURCES,
 * CBP_ERROR_SERVICE_REQUEST_TIMEOUT after some seconds. */
uint32_t cbpi_kernel_device_request(struct cbpi_kernel_device *device, const void *request, size_t size,
                                    void *reply, uint32_t reply_size);

/* Gets the message with the request's id, of exactly size bytes. Errors as for a request; CBP_ERROR_NOT_FOUND:
 * there is no such message any more. */
uint32_t cbpi_kernel_device_fetch(struct cbpi_kernel_device *device, const struct cbp_kernel_receive *request,
                                  void *message, uint32_t size);

/* Begins a receive, whose request, buffer and buffer_size the caller has set. After an error it has not
 * begun. CBP_ERROR_NO_SYSTEM_RESOURCES: perhaps later; CBP_ERROR_BROKEN_PIPE: the session or the driver has
 * gone. */
uint32_t cbpi_kernel_device_receive(struct cbpi_kernel_device *device, struct cbpi_kernel_receive *receive);

/* Says whether a receive that has begun is complete, and will come out of take. */
bool cbpi_kernel_device_is_complete(const struct cbpi_kernel_receive *receive);

/* Waits up to timeout_ms (UINT32_MAX: no limit) for a receive that is complete. Gives 0 and NULL for a
 * wake-up. CBP_ERROR_TIMEOUT. */
uint32_t cbpi_kernel_device_take(struct cbpi_kernel_device *device, uint32_t timeout_ms,
                                 struct cbpi_kernel_receive **receive);

/* Wakes one take, now or later. */
void cbpi_kernel_device_wake(struct cbpi_kernel_device *device);

/* Cancels all receives, which then come out of take. */
void cbpi_kernel_device_cancel(struct cbpi_kernel_device *device);

#endif
