/* The channel of a launch on Linux. */
#ifndef CBPI_LAUNCH_TYPES_H
#define CBPI_LAUNCH_TYPES_H

/* Descriptors, -1 where closed or given away. */
struct cbpi_launch_channel {
    int launcher_fd;      /* inherited by the launcher */
    int driver_fd;        /* the driver's end of the launcher's pair */
    int result_fd;        /* the core's end of the result pair */
    int driver_result_fd; /* the driver's end of it */
};

#endif
