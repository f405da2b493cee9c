/* Whether /proc is there, and is ours; and where in it a process is to be looked up. */
#ifndef CBPI_PROC_STATE_H
#define CBPI_PROC_STATE_H

#include <stdint.h>

/* What is wrong with /proc, in a sentence; NULL if nothing is. One that was mounted for another PID namespace
 * shows its ids, under which other processes live here. */
const char *cbpi_proc_obstacle(void);

/* A thread that lives, of a process whose first one has ended: the files in /proc/PID that tell of memory and
 * folders are the first thread's, and are empty or gone then; those in /proc/PID/task/TID are there. 0: there
 * is none. */
uint32_t cbpi_proc_living_thread(uint32_t process_id);

#endif
