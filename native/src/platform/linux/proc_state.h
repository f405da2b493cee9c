/* Whether /proc is there, and is ours. */
#ifndef CBPI_PROC_STATE_H
#define CBPI_PROC_STATE_H

/* What is wrong with /proc, in a sentence; NULL if nothing is. One that was mounted for another PID namespace
 * shows its ids, under which other processes live here. */
const char *cbpi_proc_obstacle(void);

#endif
