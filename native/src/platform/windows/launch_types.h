/* The channel of a launch on Windows: handles, NULL where there is none. */
#ifndef CBPI_LAUNCH_TYPES_H
#define CBPI_LAUNCH_TYPES_H

struct cbp_launch_result;

struct cbpi_launch_channel {
    int launcher_fd, driver_fd, result_fd, driver_result_fd; /* of launches that this system has not: -1 */
    void *debug_object;               /* the helper's, while the caller's thread creates processes for it */
    void *own_debug_object;           /* which that thread had before */
    int is_counted;                   /* the helper counts it among the launches that go on */
    void *helper;                     /* the helper process */
    void *event;                      /* set once the result stands */
    struct cbp_launch_result *result; /* in memory shared with the helper */
};

#endif
