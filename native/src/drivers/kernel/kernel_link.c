/* Implements link.h to the kernel driver. A request is complete when send returns; receive gives its reply. */
#include "kernel_link.h"

#include "errors.h"

#include <stdlib.h>
#include <string.h>

struct kernel_link {
    struct cbpi_link base;
    struct cbpi_kernel_device *device;
    struct cbp_reply reply; /* to the last request; its id is 0 once it was taken */
};

static struct kernel_link *own(struct cbpi_link *link)
{
    return (struct kernel_link *) link;
}

struct cbpi_kernel_device *cbpi_kernel_link_device(struct cbpi_link *link)
{
    return own(link)->device;
}

static uint32_t open_link(struct cbpi_link **opened)
{
    struct kernel_link *link = calloc(1, sizeof *link);
    if (!link)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory for the kernel driver's link");
    uint32_t error = cbpi_kernel_device_open(&link->device);
    if (error == 0)
        *opened = &link->base;
    else
        free(link);
    return error;
}

static void shut(struct cbpi_link *link)
{
    cbpi_kernel_device_close(own(link)->device);
    free(link);
}

static enum cbpi_link_state look(struct cbpi_link *link)
{
    return cbpi_kernel_device_has_gone(own(link)->device) ? CBPI_LINK_GONE : CBPI_LINK_RUNS;
}

static uint32_t send_request(struct cbpi_link *link, const struct cbp_message_header *request,
                             const struct cbpi_link_parcel *parcel)
{
    struct kernel_link *kernel = own(link);
    if (parcel)
        return cbpi_fail(CBP_ERROR_NOT_SUPPORTED, "the request cannot be sent to the kernel driver");
    return cbpi_kernel_device_request(kernel->device, request, request->size, &kernel->reply,
                                      sizeof kernel->reply);
}

/* The driver gets the block behind the message. */
static uint32_t send_rules(struct cbpi_link *link, struct cbp_rules *request, const void *block)
{
    struct kernel_link *kernel = own(link);
    if (request->block_size > CBP_KERNEL_RULES_SIZE_MAX)
        return cbpi_fail(CBP_ERROR_NO_SYSTEM_RESOURCES, "the rules take more than %u MiB",
                         (unsigned) (CBP_KERNEL_RULES_SIZE_MAX >> 20));
    size_t size = sizeof *request + (size_t) request->block_size;
    unsigned char *bytes = malloc(size);
    if (!bytes)
        return cbpi_fail(CBP_ERROR_NOT_ENOUGH_MEMORY, "no memory to send the rules");
    memcpy(bytes, request, sizeof *request);
    memcpy(bytes + sizeof *request, block, (size_t) request->block_size);
    uint32_t error =
        cbpi_kernel_device_request(kernel->device, bytes, size, &kernel->reply, sizeof kernel->reply);
    free(bytes);
    return error;
}

static uint32_t receive(struct cbpi_link *link, uint64_t deadline_ns, struct cbp_reply *reply)
{
    struct kernel_link *kernel = own(link);
    (void) deadline_ns;
    *reply = kernel->reply;
    kernel->reply.header.id = 0;
    return reply->header.id != 0 ? 0 : cbpi_fail(CBP_ERROR_INVALID_DATA, "the driver's reply is malformed");
}

const struct cbpi_link_ops cbpi_kernel_link_ops = {
    .is_for_one_session = true,
    .open = open_link,
    .shut = shut,
    .look = look,
    .send = send_request,
    .send_rules = send_rules,
    .receive = receive,
};
