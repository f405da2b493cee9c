/* Is the row of the kernel driver with the device of fake_device.c, for builds without the system that has it. */
#include "kernel_launch.h"
#include "kernel_session.h"

static uint32_t probe(char *reason, uint64_t size)
{
    (void) reason;
    (void) size;
    return CBP_KERNEL_CAPABILITIES;
}

static const struct cbpi_worker_ops worker_ops = {
    .enter = cbpi_kernel_session_enter_worker,
    .leave = cbpi_kernel_session_leave_worker,
};

const struct cbpi_driver cbpi_kernel_driver = {
    .name = "kernel",
    .probe = probe,
    .open = cbpi_kernel_session_open,
    .launches = &cbpi_kernel_launch_ops,
    .workers = &worker_ops,
    .originator_token = cbpi_kernel_session_token,
};
