/* The ends of the link to the helper on Linux. */
#ifndef CBPI_LINK_TYPES_H
#define CBPI_LINK_TYPES_H

struct cbpi_link_ends {
    int control_fd;
    int process_fd; /* a pidfd of the helper, -1 where there is none */
    int state_fd;   /* its /proc/PID/stat, kept open for repeated looks; -1 where there is none */
};

#endif
